"""One day: its log files, once they have stopped growing, become objects of the landing zone and its partition of the table, all or nothing."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from pyiceberg.table import Table

from include.contract import PermanentError, TransientError
from include.jobs.openedx.tracking_logs.history import listed, made_of
from include.jobs.openedx.tracking_logs.landing import Landing
from include.jobs.openedx.tracking_logs.normalise import FileOutcome
from include.jobs.openedx.tracking_logs.sources import Prefix, Source, States, check_unchanged, settled, states, without_copies
from include.jobs.openedx.tracking_logs.workers import Done, Target, Task, Workers
from include.lake.files import delete_files
from include.lake.writes import WriteResult, replace_by_files, written

log = logging.getLogger(__name__)
FEW_BROKEN = 10


@dataclass(frozen=True)
class Settings:
    """What all days of a run have in common: the job's flags."""

    deployment: str
    prefix: Prefix
    landing: str
    run_key: str
    settle: float
    patience: float
    max_broken: float

    def landing_of(self, day: date) -> Landing:
        """The places of a day."""
        return Landing(self.landing, self.deployment, day)


@dataclass(frozen=True)
class Loaded:
    """A day's write under its ``key``, now or by an earlier attempt; what is to be told of it; its manifest's address."""

    write: WriteResult
    key: str
    facts: dict[str, Any]
    manifest: str


class DayLoad:
    """The load of one day. ``left_out`` are names of log files that are known to be lost."""

    def __init__(self, settings: Settings, workers: Workers, table: Table, day: date, left_out: frozenset[str]) -> None:
        self.settings, self.workers, self.table, self.day, self.left_out = settings, workers, table, day, left_out
        self.landing = settings.landing_of(day)

    def run(self) -> Loaded:
        """Loads the day, unless the run did that and the files are the same. Errors are those of :func:`.job.run`."""
        sources = self._sources()
        now = states(sources)
        key, known = self._key(now)
        if known:
            return known
        read, copies = without_copies(self.settings.prefix, tuple(source for source in sources if source.name not in self.left_out))
        target = Target(self.table.metadata, self.table.io, datetime.now(UTC))
        done = self.workers.run(Task(self.settings.prefix, read, self.landing, target))
        try:
            self._check(done, read, now)
            facts = self._facts(done, copies)
            manifest = self.landing.put_manifest(facts | self._origin(now, key, target))
        except BaseException:
            delete_files(self.table.io, done.files)
            raise
        result = replace_by_files(self.table, done.files, f"log_day = '{self.day}'", key)
        log.info("%s: %d events of %d log files, %d lines in quarantine", self.day, facts["events"], len(read), facts["quarantined"])
        return Loaded(result, key, facts, manifest)

    def _sources(self) -> tuple[Source, ...]:
        prefix = self.settings.prefix
        found = settled(lambda: prefix.list(self.day), interval=self.settings.settle, patience=self.settings.patience)
        if not found:
            allowed = f"at least one object with {self.day} or {self.day:%Y%m%d} in its path"
            raise TransientError(f"{prefix.url}: found no log file of the day; allowed: {allowed}")
        names = {source.name for source in found}
        if unknown := sorted(self.left_out - names):
            raise PermanentError(f"--leave-out: found {', '.join(unknown)}; allowed: {', '.join(sorted(names))}")
        return found

    def _key(self, now: States) -> tuple[str, Loaded | None]:
        """The key of this run's write of these files, and that write when it was made before and the partition still is of these files.

        The same files may be there, gone or changed, and there again, all under one run: the second write of them has another key, which
        follows from the first one's snapshot. So two attempts that live at the same time still have one key.
        """
        key = self._derived(json.dumps([listed(now), sorted(self.left_out)]))
        while known := written(self.table, key):
            present = made_of(self.table, self.landing)
            if present and (present.states, present.left_out) == (now, self.left_out):
                log.info("%s: the run has loaded these files already, under the key %s", self.day, key)
                return key, Loaded(known, key, {"day": str(self.day), "events": known.rows, "repeated": True}, present.manifest)
            key = self._derived(f"{key} {known.snapshot_id}")
        return key, None

    def _derived(self, text: str) -> str:
        return f"{self.settings.run_key}:{self.day}:{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def _check(self, done: Done, read: tuple[Source, ...], now: States) -> None:
        try:
            _check_readable(done.outcomes)
            _check_broken(done.outcomes, self.settings.max_broken, self.landing.quarantine)
        except PermanentError as error:
            self.landing.put_refusal({"day": str(self.day), "listed": listed(now), "left_out": sorted(self.left_out), "reason": str(error)})
            raise
        check_unchanged(read, self.settings.prefix.list(self.day))

    def _facts(self, done: Done, copies: dict[str, str]) -> dict[str, Any]:
        outcomes = done.outcomes
        totals = {name: sum(getattr(one, name) for one in outcomes) for name in ("bytes", "lines", "events", "quarantined", "blank", "other_day")}
        files = [one.to_json() for one in outcomes]
        return {"day": str(self.day), **totals, "files": files, "copies": copies, "left_out": sorted(self.left_out), "repeated": False}

    def _origin(self, now: States, key: str, target: Target) -> dict[str, Any]:
        """What else a manifest says: whose write it is of which listing, and the moment that all its rows have."""
        moment = target.retrieved_at.isoformat(timespec="microseconds")
        return {"deployment": self.settings.deployment, "run_key": self.settings.run_key, "key": key, "listed": listed(now), "retrieved_at": moment}


def _check_readable(outcomes: Iterable[FileOutcome]) -> None:
    if unreadable := [one.unreadable for one in outcomes if one.unreadable]:
        allowed = "whole log files; deliver them again, or run with --leave-out NAME for one that is lost"
        raise PermanentError(f"{len(unreadable)} log files cannot be read, nothing was written to the table; allowed: {allowed}\n" + "\n".join(unreadable))


def _check_broken(outcomes: Iterable[FileOutcome], share: float, quarantine: str) -> None:
    outcomes = tuple(outcomes)
    lines, broken = sum(one.lines for one in outcomes), sum(one.quarantined for one in outcomes)
    if broken > max(FEW_BROKEN, share * lines):
        worst = max(outcomes, key=lambda one: one.quarantined)
        found = f"found {broken:,} of {lines:,} lines broken ({broken / lines:.1%}), most of them in {worst.name} ({worst.quarantined:,} of {worst.lines:,})"
        raise PermanentError(f"{found}; allowed: {share:.1%}, or {FEW_BROKEN} lines; see {quarantine}")
