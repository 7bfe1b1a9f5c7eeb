"""Takes one course archive from the landing zone into landing objects and raw tables: one pass, all or nothing.

What the archive holds is read once and completely before anything is written. Objects that are there already stay; rows are replaced by
:class:`include.jobs.openedx.courses.tables.CourseTables`. So a load that was killed is completed by the next one, and one that is repeated changes nothing.
"""

from __future__ import annotations

import argparse
import logging
import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

import fsspec

from include.config.environments import current_environment
from include.contract import JobResult, PermanentError, TableResult, TransientError
from include.jobs.openedx.courses.extract import extract
from include.jobs.openedx.courses.landing import CourseObjects, Landing
from include.jobs.openedx.courses.refusals import RefusedArchiveError
from include.jobs.openedx.courses.rows import Course, CourseKey
from include.jobs.openedx.courses.tables import CourseTables, Export
from include.lake.catalog import open_catalog
from include.lake.commits import CommitConflictError, WriteResult
from include.lake.snapshots import state_of

log = logging.getLogger(__name__)
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Archive:
    """An archive to load: its address, the course it is to be of, what was published when it was exported, and when it was retrieved (UTC)."""

    url: str
    key: CourseKey
    published_version: str
    retrieved_at: datetime


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    parser.add_argument("--deployment", required=True, help="the Open edX deployment, for example mitxonline")
    parser.add_argument("--course", required=True, help="the course run's id; the archive must say the same")
    parser.add_argument("--archive", required=True, help="the tar.gz of the export; when its name is a SHA-256, its content must have it")
    parser.add_argument("--landing", required=True, help="the landing zone, for example s3://bucket")
    parser.add_argument("--published-version", required=True, help="the version that was published when the export began")
    parser.add_argument("--retrieved-at", help="when the export was retrieved (ISO 8601 with zone); when the archive was written, if absent")
    parser.add_argument("--run-key", required=True, help="names the run; with course and archive the key of every write")


def run(arguments: argparse.Namespace) -> JobResult:
    """One :class:`TableResult` a table. Raises ``PermanentError`` for an archive that cannot be loaded, having kept the reason in the quarantine."""
    archive = _archive(arguments)
    objects = CourseObjects(Landing(arguments.landing), _deployment(arguments.deployment), str(archive.key))
    with tempfile.TemporaryDirectory(prefix="course-") as folder:
        static = Path(folder) / "static.tar.gz"
        try:
            course = read(archive, arguments.deployment, static)
        except RefusedArchiveError as error:
            log.error("%s; kept at %s", error, objects.quarantine([error.line()]))
            raise
        links = objects.write(course, static)
    if kept := objects.quarantine(course.quarantined):
        links["quarantine"] = kept
        log.warning("%s: %d members are in the quarantine: %s", archive.url, len(course.quarantined), kept)
    export = Export(str(archive.key), archive.published_version, course.archive_sha256, archive.retrieved_at)
    environment = current_environment()
    tables = CourseTables(open_catalog(environment), environment, arguments.deployment)
    try:
        written = tables.write(course, export, arguments.deployment, arguments.run_key)
    except CommitConflictError as error:
        raise TransientError(str(error)) from error
    if written is None:
        log.warning("%s: a newer export of %s is in the tables; they stay as they are", archive.url, archive.key)
    else:
        objects.publish_manifest(course)
    return JobResult(tables=_results(tables, written or {}, arguments.run_key), facts=_facts(course, export, superseded=written is None), links=links)


def read(archive: Archive, deployment: str, static: Path) -> Course:
    """The archive's content; its static files go to ``static``. Raises :class:`RefusedArchiveError`, ``PermanentError`` when there is no such archive."""
    try:
        with fsspec.open(archive.url, "rb") as stream, static.open("wb") as target:
            source: BinaryIO = stream
            course = extract(source, source=archive.url, key=archive.key, deployment=deployment, retrieved_at=archive.retrieved_at.isoformat(), static=target)
    except FileNotFoundError as error:
        raise PermanentError(f"archive: found nothing at {archive.url}; allowed: the object that the export left") from error
    named = _DIGEST.match(archive.url.rpartition("/")[2])
    if named and named[0] != course.archive_sha256:
        found = f"content with the SHA-256 {course.archive_sha256}"
        raise RefusedArchiveError(archive.url, found, "the content that the archive's name says", offset=0, compressed=True)
    return course


def _archive(arguments: argparse.Namespace) -> Archive:
    try:
        key = CourseKey.parse(arguments.course)
    except ValueError as error:
        raise PermanentError(str(error)) from error
    if not arguments.published_version.strip():
        raise PermanentError("published version: found nothing; allowed: the version that was published when the export began")
    return Archive(arguments.archive, key, arguments.published_version, _retrieved_at(arguments.archive, arguments.retrieved_at))


def _retrieved_at(url: str, given: str | None) -> datetime:
    """The time of the export: the same however often the archive is delivered, so that rows are the same."""
    if given is None:
        files, path = fsspec.url_to_fs(url)
        try:
            moment: datetime = files.modified(path)
        except FileNotFoundError as error:
            raise PermanentError(f"archive: found nothing at {url}; allowed: the object that the export left") from error
        except NotImplementedError as error:
            raise PermanentError(f"archive: {url} has no time of its own; allowed: --retrieved-at beside it") from error
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    try:
        moment = datetime.fromisoformat(given)
    except ValueError:
        moment = datetime.min  # refused below, as it has no zone
    if moment.tzinfo is None:
        raise PermanentError(f"retrieved at: found {given!r}; allowed: ISO 8601 with a zone; for example: 2026-11-20T06:00:00+00:00")
    return moment.astimezone(UTC)


def _deployment(name: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9]*", name):
        raise PermanentError(f"deployment: found {name!r}; allowed: lower-case letters and digits; for example: mitxonline")
    return name


def _results(tables: CourseTables, written: dict[str, WriteResult], run_key: str) -> dict[str, TableResult]:
    results = {}
    for part, name in tables.names.items():
        state = state_of(tables[part].refresh())
        write = written.get(part)
        extra: dict[str, str | int | float | bool | None] = {"course_rows": write.rows, "committed": write.committed} if write else {"committed": False}
        results[str(name)] = TableResult(rows=state.rows, bytes=state.bytes, snapshot_id=state.snapshot_id, run_key=run_key, extra=extra)
    return results


def _facts(course: Course, export: Export, *, superseded: bool) -> dict[str, object]:
    return {
        "course": export.course_id,
        "published_version": export.published_version,
        "archive_sha256": export.archive_sha256,
        "retrieved_at": export.retrieved_at.isoformat(),
        "data_version": course.data_version,
        "blocks": len(course.blocks),
        "videos": len(course.videos),
        "policies": len(course.policies),
        "signatories": len(course.signatories),
        "static_files": len(course.static),
        "skipped": course.skipped,
        "quarantined": len(course.quarantined),
        "inflated_bytes": course.inflated_bytes,
        "superseded": superseded,
    }
