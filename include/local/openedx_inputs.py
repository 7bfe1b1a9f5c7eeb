"""What arrives at the local platform for Open edX before a round: forums that have lived another day, and the day's tracking logs."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TextIO

from include.local.data.forum import generate_forum
from include.local.data.openedx_logs import DayLogs, Roster, invented_roster, read_roster, write_day
from include.local.data.steps import EPOCH
from include.local.openedx import DEPLOYMENTS
from include.local.platform import Platform

IN_DATABASES = ("mitxonline", "xpro")  # whose learners have a generated database
SEED = 7
EVENTS = 20_000  # a day and deployment
LEARNERS = 200  # of any other deployment
ARRIVED = 3600  # seconds ago: nobody writes these files any more


@dataclass(frozen=True)
class Inputs:
    """``day``: the day of the logs; ``forums``: documents of each deployment's forum by collection; ``logs``: each deployment's files and totals."""

    day: date
    forums: Mapping[str, Mapping[str, int]]
    logs: Mapping[str, DayLogs]


def deliver(platform: Platform, day: int, out: TextIO) -> Inputs:
    """Brings the sources to day number ``day`` of the generators, as the databases are."""
    forums = {name: _forum(platform, name) for name in DEPLOYMENTS}
    out.write(f"forums at day {day}: {sum(sum(counts.values()) for counts in forums.values()):,} documents\n")
    first: date = EPOCH.astype("datetime64[D]").astype(date)
    moment = first + timedelta(days=day)
    logs = {name: _logs(platform, name, moment) for name in DEPLOYMENTS}
    out.write(f"tracking logs of {moment}: {sum(one.events for one in logs.values()):,} events\n")
    return Inputs(moment, forums, logs)


def _forum(platform: Platform, deployment: str) -> dict[str, int]:
    roster = None if deployment in IN_DATABASES else invented_roster(deployment, seed=SEED, learners=LEARNERS)
    return generate_forum(platform.postgres_dsn, platform.mongodb_url, deployment, database=f"forum_{deployment}", roster=roster)


def _logs(platform: Platform, deployment: str, day: date) -> DayLogs:
    folder = platform.paths.state / "landing" / "tracking_logs" / deployment
    written = write_day(folder, _roster(platform, deployment, day), day, seed=SEED, events=EVENTS)
    for path in written.files:
        os.utime(path, (time.time() - ARRIVED,) * 2)
    return written


def _roster(platform: Platform, deployment: str, day: date) -> Roster:
    if deployment in IN_DATABASES:
        return read_roster(platform.postgres_dsn, deployment, day)
    return invented_roster(deployment, seed=SEED, learners=LEARNERS)
