"""Normalises one day of a deployment's tracking logs: NDJSON in the landing zone, one partition of the raw table, all or nothing.

The same day may be run again at any time: whatever log files it has then replace what the partition held. With ``--look-back-days`` the days
before it whose log files have changed since are run again, too, each like a run of its own.
"""

from __future__ import annotations

import argparse
import logging
import re
import time
from datetime import date
from typing import Any

from pyiceberg.table import Table

from include.config.environments import current_environment
from include.contract import JobResult, PermanentError, TableResult, TransientError
from include.jobs.openedx.tracking_logs.day import FEW_BROKEN, DayLoad, Loaded, Settings
from include.jobs.openedx.tracking_logs.lookback import Late, days_before, look_back
from include.jobs.openedx.tracking_logs.sources import Prefix
from include.jobs.openedx.tracking_logs.table import ensure_logs_table, table_of
from include.jobs.openedx.tracking_logs.workers import PROCESSES, Workers
from include.lake.catalog import open_catalog
from include.lake.names import TableRef
from include.lake.snapshots import state_of

log = logging.getLogger(__name__)
SETTLE, PATIENCE = 60.0, 1800.0
MAX_BROKEN = 0.01


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    parser.add_argument("--deployment", type=_word, required=True, help="the deployment's word in tables and keys, for example mitxonline")
    parser.add_argument("--day", type=date.fromisoformat, required=True, help="the day that the log files' names say, YYYY-MM-DD")
    parser.add_argument("--source", required=True, help="URL prefix below which the log files lie")
    parser.add_argument("--day-folder", default="", help="the folder of a day below it, as strftime writes it, where each day has one: %%Y-%%m-%%d")
    parser.add_argument("--landing", required=True, help="URL of the landing zone")
    parser.add_argument("--run-key", required=True, help="names the run; one that has loaded the very log files of now already does nothing")
    parser.add_argument("--look-back-days", type=_number, default=0, help="days before it to open again when their log files have changed (default: none)")
    parser.add_argument("--first-day", type=date.fromisoformat, help="the day before which the look back does not go")
    parser.add_argument("--settle", type=float, default=SETTLE, help="seconds for which no log file may change before it is read (default: %(default)s)")
    parser.add_argument("--patience", type=float, default=PATIENCE, help="seconds to wait for that at most (default: %(default)s)")
    help_ = f"share of a day's lines that may be broken; {FEW_BROKEN} lines always may (default: %(default)s)"
    parser.add_argument("--max-broken", type=float, default=MAX_BROKEN, help=help_)
    parser.add_argument("--leave-out", action="append", default=[], metavar="NAME", help="a log file, below the prefix, that is known to be lost; repeatable")
    parser.add_argument("--processes", type=int, default=PROCESSES, help="processes that read log files (default: %(default)s)")


def run(arguments: argparse.Namespace) -> JobResult:
    """Loads the day, and days before it whose log files have changed.

    Raises ``PermanentError`` for log files that cannot be read and for too many broken lines, ``TransientError`` when there are none yet, when they
    do not stop changing, and when the lake stays busy. The partition in question then is as it was; other days of the run are written all the same.
    """
    with Workers(arguments.processes) as workers:
        return _Run(arguments, workers).run()


def _word(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9]*", text):
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: a lower-case word; for example: mitxonline")
    return text


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: a number of days, 0 to 999")
    return int(text)


class _Run:
    def __init__(self, arguments: argparse.Namespace, workers: Workers) -> None:
        self.arguments, self.workers = arguments, workers
        self.day: date = arguments.day
        self.settings = Settings(
            deployment=arguments.deployment,
            prefix=Prefix(arguments.source, arguments.day_folder),
            landing=arguments.landing,
            run_key=arguments.run_key,
            settle=arguments.settle,
            patience=arguments.patience,
            max_broken=arguments.max_broken,
        )
        self.begin = time.monotonic()
        self.loaded: dict[date, Loaded] = {}
        self.failed: dict[date, PermanentError | TransientError] = {}

    def run(self) -> JobResult:
        environment = current_environment()
        ref = table_of(environment, self.arguments.deployment)
        with open_catalog(environment) as catalog:  # or its connections stay until the process ends
            table = ensure_logs_table(catalog, ref)
            self._load(table, self.day, frozenset(self.arguments.leave_out))
            late = self._look_back(table)
            if self.failed:
                raise self._error()
            return self._result(ref, table, late)

    def _look_back(self, table: Table) -> Late:
        """Also when the day itself has failed: how long its files are missing says nothing of those before."""
        days = days_before(self.day, self.arguments.look_back_days, self.arguments.first_day)
        table.refresh()
        late = look_back(self.settings, table, days)
        for day, left_out in late.open.items():
            self._load(table, day, left_out)
        return late

    def _load(self, table: Table, day: date, left_out: frozenset[str]) -> None:
        try:
            self.loaded[day] = DayLoad(self.settings, self.workers, table, day, left_out).run()
        except (PermanentError, TransientError) as error:  # raised when the other days have had their turn
            log.error("%s: %s", day, error)
            self.failed[day] = error

    def _error(self) -> PermanentError | TransientError:
        """That of the day itself, if it has one; else those of the days before, together."""
        if own := self.failed.get(self.day):
            return own
        texts = "\n".join(f"{day}: {error}" for day, error in self.failed.items())
        kind = TransientError if any(isinstance(error, TransientError) for error in self.failed.values()) else PermanentError
        return kind(f"{self.day} is loaded, but not all log files that came late for days before it:\n{texts}")

    def _result(self, ref: TableRef, table: Table, late: Late) -> JobResult:
        own = self.loaded.pop(self.day)
        table.refresh()
        state = state_of(table)
        before: dict[date, dict[str, Any]] = {day: {"events": one.events, "manifest": one.manifest, "repeated": True} for day, one in late.done.items()}
        for day, one in self.loaded.items():
            before[day] = {"events": one.facts["events"], "manifest": one.manifest, "repeated": one.facts["repeated"], "replaced": one.write.replaced}
        facts = own.facts | {"late": {str(day): told for day, told in sorted(before.items())}}
        facts["not_opened"] = {str(day): reason for day, reason in late.kept.items()}
        extra = {name: own.facts.get(name) for name in ("day", "events", "quarantined", "other_day")} | {"replaced": own.write.replaced}
        extra["late_days"] = " ".join(facts["late"])
        landing = self.settings.landing_of(self.day)
        links = {"landing": landing.data, "quarantine": landing.quarantine, "manifest": own.manifest}
        snapshot_id = [own, *self.loaded.values()][-1].write.snapshot_id
        seconds = round(time.monotonic() - self.begin, 3)
        return JobResult(tables={str(ref): TableResult(state.rows, state.bytes, snapshot_id, seconds, own.key, extra)}, facts=facts, links=links)
