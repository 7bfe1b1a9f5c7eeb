"""What a course archive yields. Field names and order are those of the landing objects; values are the archive's own text unless stated."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec

from include.jobs.openedx.courses.refusals import Quarantined

_COURSE = re.compile(r"course-v1:([^+/\s]+)\+([^+/\s]+)\+([^+/\s]+)")


@dataclass(frozen=True)
class CourseKey:
    """A course run's key, for example ``course-v1:MITxT+14.310x+1T2026``."""

    org: str
    number: str
    run: str

    def __str__(self) -> str:
        return f"course-v1:{self.org}+{self.number}+{self.run}"

    @classmethod
    def parse(cls, text: str) -> CourseKey:
        """Raises ``ValueError`` for anything but ``course-v1:<organisation>+<number>+<run>``."""
        match = _COURSE.fullmatch(text)
        if not match:
            raise ValueError(f"course: found {text!r}; allowed: course-v1:<organisation>+<number>+<run>; for example: course-v1:MITxT+14.310x+1T2026")
        return cls(*match.groups())


class Metadata(msgspec.Struct, frozen=True, gc=False):
    """The course run itself: attributes of ``course/<run>.xml``. ``self_paced`` is false where the attribute is absent, none where it cannot be read."""

    enrollment_start: str | None
    enrollment_end: str | None
    course_start: str | None
    course_end: str | None
    instructor_info: str | None
    self_paced: bool | None
    title: str | None
    course_id: str
    course_number: str
    semester: str
    institution: str


class Video(msgspec.Struct, frozen=True, gc=False):
    """A file under ``video/``. ``duration`` is in seconds, as text; none where the archive does not say."""

    video_block_id: str
    edx_video_id: str | None
    duration: str | None
    course_id: str


class Block(msgspec.Struct, frozen=True, gc=False):
    """One XML file: a block of the course. The last five fields are of videos (two) and problems (three)."""

    course_id: str
    source_system: str
    block_id: str
    block_type: str
    block_display_name: str
    xml_attributes: dict[str, str]
    xml_path: str
    raw_xml: str
    retrieved_at: str
    edx_video_id: str | None = None
    duration: str | None = None
    max_attempts: str | None = None
    weight: str | None = None
    markdown: str | None = None


class Policy(msgspec.Struct, frozen=True):
    """A course's entry in ``policies/<run>/policy.json``, with the grading policy beside it. ``policy`` is the whole entry."""

    course_id: str
    advanced_modules: Any
    discussions_settings: Any
    display_coursenumber: Any
    self_paced: Any
    tabs: Any
    tags: Any
    policy: dict[str, Any]
    grading_policy: Any = None


class Signatory(msgspec.Struct, frozen=True):
    """Somebody who signs a certificate of the course: ``fields`` as the policy has them."""

    course_id: str
    certificate_id: str | None
    fields: dict[str, Any]

    def line(self) -> dict[str, Any]:
        """The landing object's line: the fields, and whose they are."""
        return {**self.fields, "course_id": self.course_id, "certificate_id": self.certificate_id}


class StaticFile(msgspec.Struct, frozen=True, gc=False):
    """A file that is no block: its path below the course's folder, its MIME type by name, its size in bytes and the SHA-256 of its content."""

    path: str
    mime_type: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Course:
    """Everything of one archive. ``data_version`` is that of the static files; ``skipped`` counts files of folders that hold neither them nor blocks."""

    key: CourseKey
    archive_sha256: str
    metadata: Metadata
    videos: list[Video]
    blocks: list[Block]
    policies: list[Policy]
    signatories: list[Signatory]
    static: list[StaticFile]
    data_version: str
    quarantined: list[Quarantined] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)
    inflated_bytes: int = 0
