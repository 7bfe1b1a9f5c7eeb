"""Normalises one day of a deployment's tracking logs: NDJSON in the landing zone, one partition of the raw table, all or nothing.

The same day may be run again at any time: whatever log files it has then replace what the partition held.
"""

from __future__ import annotations

import argparse
import logging
import re
import time
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import Any

from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from include.config.environments import current_environment
from include.contract import JobResult, PermanentError, TableResult, TransientError
from include.jobs.openedx.tracking_logs.landing import Landing
from include.jobs.openedx.tracking_logs.normalise import FileOutcome
from include.jobs.openedx.tracking_logs.sources import Prefix, Source, check_unchanged, settled, without_copies
from include.jobs.openedx.tracking_logs.table import ensure_logs_table, table_of
from include.jobs.openedx.tracking_logs.workers import PROCESSES, Done, Target, Task, Workers
from include.lake.catalog import open_catalog
from include.lake.files import delete_files
from include.lake.names import TableRef
from include.lake.snapshots import state_of
from include.lake.writes import WriteResult, replace_by_files, written

log = logging.getLogger(__name__)
SETTLE, PATIENCE = 60.0, 1800.0
MAX_BROKEN, FEW_BROKEN = 0.01, 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    parser.add_argument("--deployment", type=_word, required=True, help="the deployment's word in tables and keys, for example mitxonline")
    parser.add_argument("--day", type=date.fromisoformat, required=True, help="the day that the log files' names say, YYYY-MM-DD")
    parser.add_argument("--source", required=True, help="URL prefix below which the log files lie")
    parser.add_argument("--landing", required=True, help="URL of the landing zone")
    parser.add_argument("--run-key", required=True, help="names the run; a run whose key is in the table does nothing")
    parser.add_argument("--settle", type=float, default=SETTLE, help="seconds for which no log file may change before it is read (default: %(default)s)")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds to wait for that at most (default: %(default)s)")
    parser.add_argument("--max-broken", type=float, default=MAX_BROKEN, help="share of the day's lines that may be broken (default: %(default)s)")
    parser.add_argument("--leave-out", action="append", default=[], metavar="NAME", help="a log file, below the prefix, that is known to be lost; repeatable")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="processes that read log files (default: %(default)s)")


def run(arguments: argparse.Namespace) -> JobResult:
    """Loads the day. Raises ``PermanentError`` for log files that cannot be read and for too many broken lines, ``TransientError`` when
    there are none yet, when they do not stop changing, and when the lake stays busy. The table then is as it was."""
    with Workers(arguments.processes) as workers:
        return _Run(arguments, workers).run()


def _word(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9]*", text):
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: a lower-case word; for example: mitxonline")
    return text


class _Run:
    def __init__(self, arguments: argparse.Namespace, workers: Workers) -> None:
        self.arguments, self.workers = arguments, workers
        self.day: date = arguments.day
        self.prefix = Prefix(arguments.source)
        self.landing = Landing(arguments.landing, arguments.deployment, arguments.day)
        self.begin = time.monotonic()

    def run(self) -> JobResult:
        environment = current_environment()
        ref = table_of(environment, self.arguments.deployment)
        with open_catalog(environment) as catalog:  # or its connections stay until the process ends
            return self._load(ref, ensure_logs_table(catalog, ref))

    def _load(self, ref: TableRef, table: Table) -> JobResult:
        if known := written(table, self.arguments.run_key):
            log.info("%s: the run %s is in the table already", ref, self.arguments.run_key)
            return self._result(ref, table, known, {"day": str(self.day), "events": known.rows, "repeated": True})
        sources = self._sources()
        read, copies = without_copies(self.prefix, sources)
        target = Target(table.metadata, table.io, datetime.now(UTC))
        done = self.workers.run(Task(self.prefix, read, self.landing, target))
        manifest, facts = self._check(table, done, read, copies)
        result = replace_by_files(table, done.files, f"log_day = '{self.day}'", self.arguments.run_key)
        log.info("%s, %s: %d events of %d log files, %d lines in quarantine", ref, self.day, facts["events"], len(read), facts["quarantined"])
        return self._result(ref, table, result, facts, manifest)

    def _sources(self) -> tuple[Source, ...]:
        def listed() -> tuple[Source, ...]:
            return self.prefix.list(self.day)

        found = settled(listed, interval=self.arguments.settle, patience=self.arguments.patience)
        if not found:
            allowed = f"at least one object with {self.day} or {self.day:%Y%m%d} in its path"
            raise TransientError(f"{self.arguments.source}: found no log file of the day; allowed: {allowed}")
        names = {source.name for source in found}
        if unknown := [name for name in self.arguments.leave_out if name not in names]:
            raise PermanentError(f"--leave-out: found {', '.join(unknown)}; allowed: {', '.join(sorted(names))}")
        return tuple(source for source in found if source.name not in self.arguments.leave_out)

    def _check(self, table: Table, done: Done, read: tuple[Source, ...], copies: dict[str, str]) -> tuple[str, dict[str, Any]]:
        """The manifest's address and what it says, when all is well; otherwise the data files go and the reason is raised."""
        try:
            _check_readable(done.outcomes)
            _check_broken(done.outcomes, self.arguments.max_broken, self.landing.quarantine)
            check_unchanged(read, self.prefix.list(self.day))
            facts = self._facts(done, copies)
            return self.landing.put_manifest({**facts, "deployment": self.arguments.deployment, "run_key": self.arguments.run_key}), facts
        except BaseException:
            _remove(table, done.files)
            raise

    def _facts(self, done: Done, copies: dict[str, str]) -> dict[str, Any]:
        outcomes = done.outcomes
        totals = {name: sum(getattr(one, name) for one in outcomes) for name in ("bytes", "lines", "events", "quarantined", "blank", "other_day")}
        files = [one.to_json() for one in outcomes]
        return {"day": str(self.day), **totals, "files": files, "copies": copies, "left_out": sorted(self.arguments.leave_out), "repeated": False}

    def _result(self, ref: TableRef, table: Table, write: WriteResult, facts: dict[str, Any], manifest: str = "") -> JobResult:
        table.refresh()
        state = state_of(table)
        extra = {name: facts.get(name) for name in ("day", "events", "quarantined", "other_day")} | {"replaced": write.replaced}
        seconds = round(time.monotonic() - self.begin, 3)
        links = {"landing": self.landing.data, "quarantine": self.landing.quarantine} | ({"manifest": manifest} if manifest else {})
        tables = {str(ref): TableResult(state.rows, state.bytes, write.snapshot_id, seconds, self.arguments.run_key, extra)}
        return JobResult(tables=tables, facts=facts, links=links)


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


def _remove(table: Table, files: Iterable[DataFile]) -> None:
    delete_files(table.io, files)
