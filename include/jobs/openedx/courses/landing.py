"""The objects that one archive leaves in the landing zone, under the keys that their readers know.

=============================================================================== ======================================================
``<dep>/openedx/processed_data/course_metadata/<course>/<sha>.json``            one JSON object
``…/course_video/<course>/<sha>.json``                                          JSON lines
``…/course_xml_blocks/<dep>/<course>/<sha>.json``                               JSON lines
``…/course_policy/<dep>/<course>/<sha>.json``                                   JSON lines
``…/course_certificate_signatory/<dep>/<course>/<sha>.json``                    JSON lines
``…/course_static_assets/<dep>/<course>/<version>.tar.gz``                      the static files
``…/course_static_assets_manifest/<dep>/<course>/<version>.json``               their manifest
``…/course_static_assets_manifest/<dep>/<course>/manifest.json``                the manifest of the newest export
``<dep>/openedx/quarantine/course_xml/<course>/<hash of the lines>.jsonl``      what was not taken
=============================================================================== ======================================================

``<sha>`` is the archive's SHA-256, ``<version>`` that of the static files. None of these is ever written again, since a new ETag breaks whoever is
reading, but one: ``manifest.json`` has a fixed name so that a reader finds the present version without knowing it. It is replaced when the
version differs, after everything that it names is there, and only by the newest export.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import fsspec
import msgspec
import orjson
from fsspec.implementations.local import LocalFileSystem

from include.atomic import replacing
from include.jobs.openedx.courses.refusals import Quarantined
from include.jobs.openedx.courses.rows import Course
from include.jobs.openedx.courses.static import manifest


class Landing:
    """A landing zone at a URL that fsspec knows, for example ``s3://bucket`` or ``file:///…/landing``."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._files, root = fsspec.url_to_fs(self.url)
        self._root = root.rstrip("/")

    def address(self, key: str) -> str:
        """The object's URL."""
        return f"{self.url}/{key}"

    def put_once(self, key: str, content: bytes | Path) -> bool:
        """Writes the object unless it is there; true when it was written. It is seen whole or not at all."""
        if self._files.exists(f"{self._root}/{key}"):
            return False
        self.put(key, content)
        return True

    def put(self, key: str, content: bytes | Path) -> None:
        """Writes the object in one step, over the one that is there."""
        path = f"{self._root}/{key}"
        if isinstance(self._files, LocalFileSystem):
            _put_file(Path(path), content)
        elif isinstance(content, bytes):
            self._files.pipe_file(path, content)
        else:
            self._files.put_file(str(content), path)

    def read(self, key: str) -> bytes | None:
        """The object's content, or nothing."""
        try:
            content: bytes = self._files.cat_file(f"{self._root}/{key}")
        except FileNotFoundError:
            return None
        return content


def _put_file(path: Path, content: bytes | Path) -> None:
    with replacing(path) as partial:
        if isinstance(content, bytes):
            partial.write_bytes(content)
        else:
            shutil.copyfile(content, partial)


class CourseObjects:
    """The objects of one course run of a deployment."""

    def __init__(self, landing: Landing, deployment: str, course_id: str) -> None:
        self._landing, self._deployment, self._course_id = landing, deployment, course_id
        self._processed = f"{deployment}/openedx/processed_data"

    def write(self, course: Course, static: Path) -> dict[str, str]:
        """Everything that is never written again; addresses by name. ``static`` is the tar.gz of the static files."""
        sha, own = course.archive_sha256, f"{self._deployment}/{self._course_id}"
        objects: dict[str, bytes | Path] = {
            f"course_static_assets/{own}/{course.data_version}.tar.gz": static,
            f"course_metadata/{self._course_id}/{sha}.json": msgspec.json.encode(course.metadata),
            f"course_video/{self._course_id}/{sha}.json": lines(course.videos),
            f"course_xml_blocks/{own}/{sha}.json": lines(course.blocks),
            f"course_policy/{own}/{sha}.json": lines(course.policies),
            f"course_certificate_signatory/{own}/{sha}.json": lines([signatory.line() for signatory in course.signatories]),
            f"course_static_assets_manifest/{own}/{course.data_version}.json": _manifest(course),
        }
        addresses = {}
        for name, content in objects.items():
            key = f"{self._processed}/{name}"
            self._landing.put_once(key, content)
            addresses[name.partition("/")[0]] = self._landing.address(key)
        return addresses

    def publish_manifest(self, course: Course) -> bool:
        """Makes ``manifest.json`` that of this course's static files; true when it was another's."""
        key = f"{self._processed}/course_static_assets_manifest/{self._deployment}/{self._course_id}/manifest.json"
        content = _manifest(course)
        if self._landing.read(key) == content:
            return False
        self._landing.put(key, content)
        return True

    def quarantine(self, refused: Sequence[Quarantined]) -> str | None:
        """Keeps what was not taken, once; the address of the lines, nothing when there are none."""
        if not refused:
            return None
        content = lines(refused)
        key = f"{self._deployment}/openedx/quarantine/course_xml/{self._course_id}/{hashlib.sha256(content).hexdigest()}.jsonl"
        self._landing.put_once(key, content)
        return self._landing.address(key)


def lines(rows: Iterable[Any]) -> bytes:
    """One JSON object a line."""
    return b"".join(msgspec.json.encode(row) + b"\n" for row in rows)


def _manifest(course: Course) -> bytes:
    return orjson.dumps(manifest(course.static, course.data_version), option=orjson.OPT_INDENT_2) + b"\n"
