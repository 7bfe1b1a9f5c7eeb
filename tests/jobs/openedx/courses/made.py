"""Archives for the tests: of the generator's courses, and of a few files put together by hand."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

from include.jobs.openedx.courses.extract import extract
from include.jobs.openedx.courses.refusals import Limits
from include.jobs.openedx.courses.rows import Course, CourseKey
from include.local.data.olx.archive import Extras, OlxCourse, olx_course, tar_parts
from include.local.data.olx.plan import CourseRun

COURSE = "course-v1:MITxT+14.310x+1T2026"
RUN = CourseRun(COURSE, "Foundations of Household Data", "2026-01-26T00:00:00Z", "2026-05-08T00:00:00Z", self_paced=True)
RETRIEVED = "2026-03-02T06:00:00+00:00"
ROOT_FILE = b'<course url_name="1T2026" org="MITxT" course="14.310x"/>'
RUN_FILE = b'<course display_name="T" start="2026-01-26T00:00:00Z"><chapter url_name="a"/></course>'


def course(blocks: int = 60, *, malformed: int = 0, version: int = 0, run: CourseRun = RUN, static_bytes: int = 20_000) -> OlxCourse:
    return olx_course(run, seed=7, blocks=blocks, version=version, extras=Extras(static_bytes, malformed=malformed))


def archive_of(files: dict[str, bytes], root: str = "course") -> bytes:
    """A tar.gz of these files, with the two that every course has unless they are given."""
    present = {"course.xml": ROOT_FILE, "course/1T2026.xml": RUN_FILE, **files}
    return gzip.compress(b"".join(tar_parts(root, present)), 1, mtime=0)


def packed(*parts: bytes) -> bytes:
    """A tar.gz of members that the caller made; the archive's end is added."""
    return gzip.compress(b"".join(parts) + bytes(1024), 1, mtime=0)


def parsed(archive: bytes, *, course_id: str = COURSE, limits: Limits | None = None, static: io.BytesIO | None = None) -> Course:
    return extract(
        io.BytesIO(archive),
        source="a.tar.gz",
        key=CourseKey.parse(course_id),
        deployment="mitxonline",
        retrieved_at=RETRIEVED,
        static=io.BytesIO() if static is None else static,
        limits=limits,
    )


def written(folder: Path, archive: bytes, name: str = "export.xml.tar.gz") -> str:
    """The archive as a file; its URL."""
    path = folder / name
    path.write_bytes(archive)
    return path.as_uri()
