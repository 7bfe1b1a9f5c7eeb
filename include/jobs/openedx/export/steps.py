"""The steps of an export. Each reads and writes the run's record, so it does not matter which process does the next one, or how often.

Studio has no way to ask which exports of a course are running. So the record notes the intention before the request, and the task right after the answer. Who
finds a task joins it. Who finds only an intention was killed, or lost the answer, within those milliseconds: the export is begun once more, which costs Studio
work and harms nothing.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from include.contract import PermanentError, TransientError
from include.jobs.openedx.api.client import NotFoundError
from include.jobs.openedx.api.keys import checked
from include.jobs.openedx.api.lms import Lms
from include.jobs.openedx.api.retries import Patience
from include.jobs.openedx.api.studio import FAILED, SUCCEEDED, Studio
from include.jobs.openedx.courses.landing import Landing
from include.jobs.openedx.export.download import download
from include.jobs.openedx.export.record import ExportRecord, Phase, Records

log = logging.getLogger(__name__)
LIMIT = timedelta(minutes=60)
STARTS = 5
CLOCKS = timedelta(minutes=5)
"""How far the clocks of the bucket and of this machine may be apart."""
DOWNLOADS = Patience(attempts=5, first=0.5, longest=20.0)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Exporter:
    """The steps for the course runs of one deployment. ``limit`` is how long an export may take, ``now`` the clock."""

    deployment: str
    records: Records
    limit: timedelta = LIMIT
    downloads: Patience = DOWNLOADS
    now: Callable[[], datetime] = _now

    async def start(self, lms: Lms, studio: Studio, course_id: str, run_key: str) -> ExportRecord:
        """An export that is running or done: this run's own, another run's of the same published version, or a new one.

        Raises ``NotFoundError`` for a course without outline, ``TransientError`` when it is not known whether one was begun, and ``PermanentError`` when Studio
        refuses it or the run has asked five times.
        """
        record = self.records.read(course_id)
        if record and record.run_key == run_key and record.phase is Phase.RUNNING and not self._usable(record):
            record = await self._last_look(studio, record)
        if record and record.run_key == run_key and self._usable(record):
            log.info("%s: joining task %s, which is %s", course_id, record.task_id, record.phase)
            return record
        version = (await lms.outline(course_id)).published_version
        if record and record.phase is Phase.RUNNING and record.published_version == version and self._usable(record):
            log.info("%s: joining task %s, which run %s began for the same version", course_id, record.task_id, record.run_key)
            return self.records.write(replace(record, run_key=run_key))
        return await self._begin(studio, course_id, run_key, version, record)

    def _usable(self, record: ExportRecord) -> bool:
        """Whether the export leads somewhere: it runs and is not overdue, or it is done."""
        if record.phase is Phase.RUNNING:
            return not record.older_than(self.limit, self.now())
        return record.phase in (Phase.SUCCEEDED, Phase.FETCHED)

    async def _last_look(self, studio: Studio, record: ExportRecord) -> ExportRecord | None:
        """An export of this run that is overdue may have ended meanwhile, while nobody had a worker to look: asked before another is begun."""
        try:
            return await self.look(studio, record)
        except TransientError as error:
            last = self.records.read(record.course_id)
            if last and last.phase is Phase.RUNNING:  # Studio did not answer
                raise
            log.warning("%s; beginning another", error)
            return last

    async def _begin(self, studio: Studio, course_id: str, run_key: str, version: str, last: ExportRecord | None) -> ExportRecord:
        starts = last.starts + 1 if last and last.run_key == run_key else 1
        if starts > STARTS:
            reason = last.reason if last and last.reason else "the answer was lost each time"
            raise PermanentError(f"{course_id}: run {run_key} has asked for an export {STARTS} times; the last one: {reason}")
        if last and last.run_key == run_key and last.phase is Phase.INTENDED:
            log.warning("%s: an earlier attempt asked for an export and did not note the answer; asking again", course_id)
        record = self.records.write(ExportRecord(course_id, run_key, version, Phase.INTENDED, self.now(), starts))
        try:
            export = await studio.start(course_id)
        except (PermanentError, TransientError) as error:
            self.records.write(replace(record, reason=str(error)))
            raise
        return self.records.write(replace(record, phase=Phase.RUNNING, task_id=export.task_id, url=export.url))

    async def look(self, studio: Studio, record: ExportRecord) -> ExportRecord:
        """Asks Studio once; the record as it is afterwards: ``running`` or ``succeeded``.

        Raises ``PermanentError`` for an export that failed or was cancelled, ``TransientError`` for one that Studio has forgotten or that takes longer than
        allowed; another start then begins anew.
        """
        if record.phase is not Phase.RUNNING:
            return record
        try:
            state = await studio.state(record.course_id, record.task_id)
        except NotFoundError as error:
            raise TransientError(self._end(record, "", f"Studio does not know task {record.task_id} any more: {error}")) from error
        if state == SUCCEEDED:
            return self.records.write(replace(record, phase=Phase.SUCCEEDED, state=state))
        if state in FAILED:
            raise PermanentError(self._end(record, state, f"the export ended as {state}; see Studio's log for task {record.task_id}"))
        if record.older_than(self.limit, self.now()):
            raise TransientError(self._end(record, state, f"the export is {state!r} after {self.limit}"))
        return record if record.state == state else self.records.write(replace(record, state=state))

    def _end(self, record: ExportRecord, state: str, reason: str) -> str:
        self.records.write(replace(record, phase=Phase.ENDED, state=state, reason=reason))
        return f"{record.course_id}: {reason}"

    async def fetch(self, record: ExportRecord, landing: str) -> ExportRecord:
        """Brings the archive into the landing zone, under the hash of its content; the finished record.

        Raises ``PermanentError`` when the export has not succeeded, ``TransientError`` when the archive is not there, or is an earlier export's.
        """
        if record.phase is Phase.FETCHED:
            return record
        if record.phase is not Phase.SUCCEEDED:
            raise PermanentError(f"{record.course_id}: found an export that is {record.phase}; allowed: one that has succeeded")
        with tempfile.TemporaryDirectory(prefix="ol-export-") as folder:
            file = Path(folder) / "archive.tar.gz"
            found = await download(record.url, file, self.downloads)
            if found.modified is not None and found.modified < record.begun_at - CLOCKS:
                raise TransientError(f"{record.url}: found an archive of {found.modified.isoformat()}; allowed: one of this export, begun {record.begun_at}")
            zone, key = Landing(landing), self.key(record.course_id, found.sha256)
            url, written = zone.address(key), zone.put_once(key, file)
        log.info("%s: %d bytes, %s %s", record.course_id, found.bytes, "written to" if written else "there already:", url)
        return self.records.write(
            replace(record, phase=Phase.FETCHED, object=url, sha256=found.sha256, bytes=found.bytes, retrieved_at=self.now().replace(microsecond=0))
        )

    def key(self, course_id: str, sha256: str) -> str:
        """The archive's key in the landing zone."""
        return f"{self.deployment}/openedx/raw_data/course_xml/{checked(course_id)}/{sha256}.xml.tar.gz"
