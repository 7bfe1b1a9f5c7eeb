"""What is known of a course run's newest export, as one small JSON object that outlives whoever began it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from include.contract import PermanentError
from include.jobs.openedx.api.keys import checked
from include.jobs.openedx.courses.landing import Landing


class Phase(StrEnum):
    """How far an export is. ``intended``: asked for, and the answer has not been noted. ``ended``: it came to a bad end, ``reason`` says which."""

    INTENDED = "intended"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FETCHED = "fetched"
    ENDED = "ended"


@dataclass(frozen=True)
class ExportRecord:
    """One export. Times are UTC.

    ``published_version`` was read before the export began, so the archive holds that version or a newer one. ``starts`` counts how often this run asked for an
    export; ``url`` is where Studio puts the archive, ``object`` where it lies in the landing zone, with its SHA-256 and its size in bytes.
    """

    course_id: str
    run_key: str
    published_version: str
    phase: Phase
    begun_at: AwareDatetime
    starts: int = 1
    task_id: str = ""
    url: str = ""
    state: str = ""
    reason: str = ""
    object: str = ""
    sha256: str = ""
    bytes: int = 0
    retrieved_at: AwareDatetime | None = None

    def older_than(self, limit: timedelta, now: datetime) -> bool:
        """Whether it began longer than ``limit`` ago."""
        return now - self.begun_at > limit


_RECORD = TypeAdapter(ExportRecord)


@dataclass(frozen=True)
class Records:
    """The records of one deployment below ``prefix``, a folder or URL."""

    prefix: str
    deployment: str

    @property
    def _folder(self) -> Landing:
        return Landing(f"{self.prefix.rstrip('/')}/{self.deployment}/exports")

    def url(self, course_id: str) -> str:
        """Where a run's record is kept."""
        return self._folder.address(f"{checked(course_id)}.json")

    def read(self, course_id: str) -> ExportRecord | None:
        """A run's record, if there is one. Raises ``PermanentError`` for one that cannot be read."""
        url, data = self.url(course_id), self._folder.read(f"{course_id}.json")
        if data is None:
            return None
        try:
            return _RECORD.validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            raise PermanentError(f"{url}: {'.'.join(map(str, first['loc'])) or 'the document'}: found {data[:80]!r}; {first['msg']}") from error

    def write(self, record: ExportRecord) -> ExportRecord:
        """Keeps the record, in the place of the last one."""
        self._folder.put(f"{checked(record.course_id)}.json", _RECORD.dump_json(record))
        return record
