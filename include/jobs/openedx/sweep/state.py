"""What is known of every course run, as one compressed JSON object for each run key.

An object is never changed: a sweep reads one and writes another. Its name follows from the run key, so a task that is started again finds what its first
attempt found and asks nothing twice. ``latest.json`` beside them names the newest, for a sweep that is not told where to go on.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeVar

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from include.contract import PermanentError
from include.jobs.openedx.courses.landing import Landing

Kind = TypeVar("Kind")
Status = Literal["new", "changed", "unchanged", "returned", "gone"]


@dataclass(frozen=True)
class Known:
    """One course run. All times are UTC.

    ``version`` was seen at ``observed_at``; ``reported`` is the version that was last handed on as changed, and ``waiting_since`` tells since when a
    newer one waits for that. ``attempted_at`` orders the next sweep. A run that is ``gone_since`` some time stays known and is not asked for until it is
    listed again.
    """

    version: str = ""
    reported: str = ""
    observed_at: AwareDatetime | None = None
    attempted_at: AwareDatetime | None = None
    waiting_since: AwareDatetime | None = None
    gone_since: AwareDatetime | None = None


@dataclass(frozen=True)
class Observation:
    """One thing that a sweep learned; a row of the table. ``published_at`` is ``None`` where the server does not say, and for runs that are gone."""

    course_id: str
    status: Status
    version: str
    previous: str
    published_at: AwareDatetime | None
    at: AwareDatetime


@dataclass(frozen=True)
class Counts:
    """A sweep in numbers of course runs. ``left`` were not attempted, ``waiting`` have changed and are not reported yet."""

    listed: int = 0
    attempted: int = 0
    observed: int = 0
    new: int = 0
    changed: int = 0
    returned: int = 0
    gone: int = 0
    without_outline: int = 0
    failed: int = 0
    left: int = 0
    waiting: int = 0


@dataclass(frozen=True)
class Sweep:
    """A finished sweep: everything that the next one, the table and the task's result are made from.

    ``changed`` are the runs reported now, ``refused`` ids that cannot be used, with the reason; ``failures`` are a few problems in words. ``cut`` is what
    ended the sweep early (``deadline`` or ``requests``), ``requests`` how many it made.
    """

    deployment: str
    run_key: str
    at: AwareDatetime
    courses: dict[str, Known] = field(default_factory=dict)
    changed: tuple[str, ...] = ()
    observations: tuple[Observation, ...] = ()
    counts: Counts = Counts()
    refused: dict[str, str] = field(default_factory=dict)
    failures: tuple[str, ...] = ()
    cut: str = ""
    requests: int = 0


LATEST = "latest.json"
_SWEEP = TypeAdapter(Sweep)
_VERSIONS = TypeAdapter(dict[str, str])


@dataclass(frozen=True)
class States:
    """The state objects of one deployment below ``prefix``."""

    prefix: str
    deployment: str

    def url(self, run_key: str) -> str:
        """Where the sweep with this run key is kept."""
        return f"{self._folder}/{hashlib.sha256(run_key.encode()).hexdigest()[:24]}.json.gz"

    @property
    def _folder(self) -> str:
        return f"{self.prefix.rstrip('/')}/{self.deployment}"

    def finished(self, run_key: str) -> Sweep | None:
        """The sweep with this run key, if it was finished."""
        return self._read(self.url(run_key))

    def known(self, source: str, at: datetime) -> dict[str, Known]:
        """What is known before a sweep: from a state object's address, from versions as JSON (``{"course-v1:…": "…"}``), or the newest for an empty text.

        Raises ``PermanentError`` for anything else: to start from nothing by mistake would report every run as changed.
        """
        if source.startswith("{"):
            return {name: Known(version, version, at, at) for name, version in _validated(_VERSIONS, source.encode(), "--known").items()}
        url = source or self._newest()
        if not url:
            return {}
        found = self._read(url)
        if found is None:
            raise PermanentError(f"{url}: found nothing; allowed: a state object of an earlier sweep, or an empty text for the newest")
        if found.deployment != self.deployment:
            raise PermanentError(f"{url}: found the state of {found.deployment!r}; allowed: that of {self.deployment!r}")
        return found.courses

    def write(self, sweep: Sweep) -> str:
        """Keeps a finished sweep; its address."""
        folder, url = Landing(self._folder), self.url(sweep.run_key)
        folder.put(url.rpartition("/")[2], gzip.compress(_SWEEP.dump_json(sweep), 6, mtime=0))
        folder.put(LATEST, json.dumps({"url": url, "run_key": sweep.run_key}).encode())
        return url

    def _newest(self) -> str:
        pointer = Landing(self._folder).read(LATEST)
        return "" if pointer is None else _validated(_VERSIONS, pointer, f"{self._folder}/{LATEST}").get("url", "")

    def _read(self, url: str) -> Sweep | None:
        folder, _, name = url.rpartition("/")
        data = Landing(folder or ".").read(name)
        if data is None:
            return None
        try:
            return _validated(_SWEEP, gzip.decompress(data), url)
        except (OSError, EOFError) as error:
            raise PermanentError(f"{url}: found {data[:40]!r}, no gzip; allowed: a state object of an earlier sweep") from error


def _validated(adapter: TypeAdapter[Kind], text: bytes, what: str) -> Kind:
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the document"
        raise PermanentError(f"{what}: {place}: found {str(first['input'])[:80]!r}; {first['msg']}") from error
