"""Tracking logs of a day: gzip files as a deployment's servers leave them, and the totals that reports on them must give.

The learners and runs are those of the generated LMS database (:func:`read_roster`), so that logs and database speak of the same people;
:func:`invented_roster` needs no database. Equal seed, roster, day and size give equal files. The totals are counted while the events
are thought up, from what happened and not from what was written: awkward shapes and broken lines change nothing in them. Beside them stand the acts
of the learners as far as the lines tell them, since an odd shape may hide what an event was about: :data:`LOSSES`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import LiteralString

import numpy as np
import psycopg
from isal import igzip

from include.local.data import catalog, mitxonline_catalog
from include.local.data.acts import NOTHING, Act, Loss, Stretch
from include.local.data.names import MITXPRO, OPENEDX
from include.local.data.openedx_awkward import BROKEN, SHAPES, large
from include.local.data.openedx_events import Enrolment, Happening, Sitting
from include.local.data.people import people

AWKWARD = 0.01
EVENTS_OF_A_SITTING = 24
HOURS = 24
_COMPRESSION = 2
_HIDDEN = Loss(frozenset({"payload"}))  # the payload stands deeper than anybody looks
_WHOLE_SECONDS, _WHOLE_MILLISECONDS = Loss(precision=1_000_000), Loss(precision=1_000)
# What lines of odd shapes do not tell; those of any other shape tell everything.
LOSSES: dict[str, Loss] = {
    **dict.fromkeys(("object in a string in a string", "lone surrogate", "surrogate pair", "nested quotes", "not a number", "10 MB"), _HIDDEN),
    **dict.fromkeys(("seconds", "seconds in a string", "no fraction"), _WHOLE_SECONDS),
    **dict.fromkeys(("milliseconds", "Z and milliseconds"), _WHOLE_MILLISECONDS),
    **dict.fromkeys(("absent fields", "numbers as names"), Loss(session=True)),
    "nulls": Loss(frozenset({"page"})),
    "NUL": Loss(frozenset({"payload", "page"})),
}


@dataclass(frozen=True)
class Roster:
    """Who may be active in a deployment, and the host name of its LMS."""

    deployment: str
    host: str
    enrolments: tuple[Enrolment, ...]


@dataclass
class LogTotals:
    """What reports count.

    ``events`` by (course_id, event_type, username, day of the event in UTC); ``stretches`` of videos that were played, their ``watched`` milliseconds, and
    ``attempts`` and ``correct`` answers by (course_id, username, block id). ``acts`` are all that belong to a row of a report, as the lines tell them.
    """

    events: Counter[tuple[str, str, str, date]] = field(default_factory=Counter)
    watched: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    attempts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    correct: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    stretches: dict[tuple[str, str, str], list[Stretch]] = field(default_factory=lambda: defaultdict(list))
    acts: list[Act] = field(default_factory=list)

    def add(self, happening: Happening, loss: Loss = NOTHING) -> None:
        """Counts one event, whose line does not tell everything when there is a ``loss``."""
        who = happening.enrolment
        self.events[who.course_id, happening.event_type, who.username, happening.time.astimezone(UTC).date()] += 1
        block = (who.course_id, who.username, happening.block)
        if happening.stretch:
            begin, end = happening.stretch
            self.stretches[block].append(happening.stretch)
            self.watched[block] += end - begin
        if happening.attempt:
            self.attempts[block] += 1
            self.correct[block] += happening.correct
        if happening.act is not None and (act := happening.act.told(loss)).block:
            self.acts.append(act)


@dataclass
class DayLogs:
    """The files of one day, by path, and what is in them; ``broken`` and ``awkward`` lines by kind."""

    files: list[Path]
    totals: LogTotals = field(default_factory=LogTotals)
    awkward: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    bytes: int = 0

    @property
    def events(self) -> int:
        """Lines that are events."""
        return self.totals.events.total()


# Who has ever been active: user id, user name and run.
_ENROLLED: dict[str, tuple[str, LiteralString]] = {
    "mitxonline": (
        OPENEDX,
        """SELECT e.user_id, u.username, e.course_id FROM student_courseenrollment e JOIN auth_user u ON u.id = e.user_id
           WHERE e.is_active AND e.created < %s ORDER BY e.id""",
    ),
    # runs that partners give are not in xPRO's own Open edX
    "xpro": (
        MITXPRO,
        """SELECT e.user_id, u.username, r.courseware_id FROM courses_courserunenrollment e JOIN users_user u ON u.id = e.user_id
           JOIN courses_courserun r ON r.id = e.run_id WHERE e.active AND r.courseware_id IS NOT NULL AND r.external_course_run_id IS NULL
           AND e.created_on < %s ORDER BY e.id""",
    ),
}


def read_roster(dsn: str, deployment: str, day: date) -> Roster:
    """The active enrolments that a generated database has from before a day; ``dsn`` is the server's address.

    ``mitxonline`` and ``xpro`` have databases; for any other deployment ``ValueError`` names :func:`invented_roster`.
    """
    if deployment not in _ENROLLED:
        raise ValueError(f"deployment: found {deployment}; allowed: {', '.join(_ENROLLED)}, whose learners are in a database; else invented_roster()")
    database, query = _ENROLLED[deployment]
    with psycopg.connect(dsn, dbname=database, options="-c timezone=UTC") as connection:
        rows = connection.execute(query, (datetime(day.year, day.month, day.day),)).fetchall()
    return Roster(deployment, _host(deployment), tuple(Enrolment(*row) for row in rows))


def invented_roster(deployment: str, *, seed: int, learners: int) -> Roster:
    """People and runs like those of the LMS database, for where there is none: three runs for each learner at most."""
    rng = np.random.default_rng([seed, zlib.crc32(deployment.encode())])
    ids = np.arange(1, learners + 1)
    names = people(rng, ids)["username"].tolist()
    runs = [f"{catalog.course(index).readable_id(mitxonline_catalog.ORGANIZATION)}+{catalog.term(6)[0]}" for index in range(max(3, learners // 40))]
    enrolments = [
        Enrolment(user, name, runs[run])
        for user, name in zip(ids.tolist(), names, strict=True)
        for run in sorted(rng.choice(len(runs), size=int(rng.integers(1, 4)), replace=False).tolist())
    ]
    return Roster(deployment, _host(deployment), tuple(enrolments))


def _host(deployment: str) -> str:
    return f"courses.{deployment}.example.org"


def write_day(
    folder: Path, roster: Roster, day: date, *, seed: int, events: int, files: int = 2, awkward: float = AWKWARD, broken: bool = True, large_line: bool = False
) -> DayLogs:
    """Writes ``<folder>/tracking.log-<day>-<server>.gz`` for each server and says what is in them.

    About ``events`` events, most of the day, a few after midnight. Of the lines, ``awkward`` are of odd shapes or ``broken``;
    ``large_line`` adds an event of 10 MB. An existing file is replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    logs = DayLogs([folder / f"tracking.log-{day}-edxapp-{number + 1}.gz" for number in range(files)])
    streams = [igzip.open(path, "wb", compresslevel=_COMPRESSION) for path in logs.files]
    try:
        for hour in range(HOURS):
            rng = random.Random(f"{seed}/{roster.deployment}/{day}/{hour}")
            begin = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)
            lines = sorted(_hour(rng, roster, logs, begin, count=events // HOURS, awkward=awkward, broken=broken))
            if large_line and hour == HOURS // 2:
                lines.append(_large(rng, roster, logs, lines[-1][0]))
            for _, server, line in lines:
                logs.bytes += len(line) + 1
                streams[server % files].write(line + b"\n")
    finally:
        for stream in streams:
            stream.close()
    return logs


def _hour(
    rng: random.Random, roster: Roster, logs: DayLogs, begin: datetime, *, count: int, awkward: float, broken: bool
) -> Iterator[tuple[datetime, int, bytes]]:
    """Lines of the sittings that begin in an hour, as (moment, server, line)."""
    made = 0
    while made < count:
        server = rng.randrange(1 << 16)
        start = begin + timedelta(microseconds=rng.randrange(3_600_000_000))
        sitting = Sitting(rng, rng.choice(roster.enrolments), roster.host, start)
        for happening in sitting.events(min(rng.randrange(1, 2 * EVENTS_OF_A_SITTING), count - made)):
            made += 1
            odds = rng.random()
            if broken and odds < 0.2 * awkward:
                kind = rng.choice(tuple(BROKEN))
                logs.broken[kind] += 1
                yield happening.time, server, BROKEN[kind](happening.fields, rng)
            if odds > 1 - 0.8 * awkward:
                kind = rng.choice(tuple(SHAPES))
                logs.awkward[kind] += 1
                logs.totals.add(happening, LOSSES.get(kind, NOTHING))
                yield happening.time, server, SHAPES[kind](happening.fields, rng)
            else:
                logs.totals.add(happening)
                yield happening.time, server, json.dumps(happening.fields).encode()


def _large(rng: random.Random, roster: Roster, logs: DayLogs, after: datetime) -> tuple[datetime, int, bytes]:
    happening = next(Sitting(rng, rng.choice(roster.enrolments), roster.host, after).events(1))
    logs.totals.add(happening, LOSSES["10 MB"])
    logs.awkward["10 MB"] += 1
    return happening.time, 0, large(happening.fields)


def main(arguments: list[str] | None = None) -> int:
    """``python -m include.local.data.openedx_logs --folder logs --day 2026-03-02``: one day's files of invented learners."""
    parser = argparse.ArgumentParser(prog="python -m include.local.data.openedx_logs", description="Write a day's tracking logs of invented learners.")
    parser.add_argument("--folder", type=Path, required=True, help="where the files go")
    parser.add_argument("--deployment", default="mitxonline", help="(default: %(default)s)")
    parser.add_argument("--day", type=date.fromisoformat, required=True, help="YYYY-MM-DD")
    parser.add_argument("--events", type=int, default=20_000, help="(default: %(default)s)")
    parser.add_argument("--files", type=int, default=2, help="servers, each with its own file (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="equal seeds give equal files (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    roster = invented_roster(chosen.deployment, seed=chosen.seed, learners=max(40, chosen.events // 100))
    logs = write_day(chosen.folder, roster, chosen.day, seed=chosen.seed, events=chosen.events, files=chosen.files)
    print(f"{logs.events:,} events, {logs.awkward.total():,} of odd shapes, and {logs.broken.total():,} broken lines in {logs.bytes:,} bytes:")
    for path in logs.files:
        print(f"  {path} {path.stat().st_size:>14,}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
