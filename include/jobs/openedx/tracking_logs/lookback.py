"""Days before a run's own whose log files are no longer those that their partitions were made of: files came late, or grew.

The daily run looks for them itself and opens each of them again, one after the other, in the job of its own day. Nothing else fits as well: a
run has one partition, and a task may neither start nor clear runs of others; a pod that only compares would be started every day for
a listing that this one can have, and mostly to find nothing. Every day is its own write with its own key, so an attempt after ``kill -9``
finds those that are done and does the rest. A backfill does not look back: its days have runs of their own.

Nothing is read for it but listings, manifests and the table's metadata.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from pyiceberg.table import Table

from include.jobs.openedx.tracking_logs.day import Settings
from include.jobs.openedx.tracking_logs.history import Written, made_of, refusal_of
from include.jobs.openedx.tracking_logs.sources import States, states

log = logging.getLogger(__name__)


@dataclass
class Late:
    """What looking back found: days to open, each with the log files to leave out; days that this run has opened in an earlier attempt; and days
    that differ and stay as they are, with the reason."""

    open: dict[date, frozenset[str]] = field(default_factory=dict)
    done: dict[date, Written] = field(default_factory=dict)
    kept: dict[date, str] = field(default_factory=dict)


def days_before(day: date, count: int, first: date | None) -> tuple[date, ...]:
    """The last ``count`` days before a day, oldest first, none before ``first``."""
    days = (day - timedelta(days=number) for number in range(count, 0, -1))
    return tuple(one for one in days if first is None or one >= first)


def look_back(settings: Settings, table: Table, days: tuple[date, ...]) -> Late:
    """Compares the listing of each day with what its partition was made of. ``table`` as it was loaded."""
    late = Late()
    for day, sources in settings.prefix.by_day(days).items() if days else ():
        now = states(sources)
        if not now:  # not delivered yet, or no longer kept; either way there is nothing to write
            continue
        before = made_of(table, settings.landing_of(day))
        if before and before.states == now:
            if before.run_key == settings.run_key:
                late.done[day] = before
        elif reason := _reason_to_keep(settings, day, now, before):
            log.warning("%s is not opened again: %s", day, reason)
            late.kept[day] = reason
        else:
            log.info("%s is opened again: %s", day, ", ".join(_news(now, before.states if before else {})[:10]))
            late.open[day] = before.still_left_out(now) if before else frozenset()
    return late


def _news(now: States, before: Mapping[str, tuple[int, str]]) -> list[str]:
    """The log files that came or are others than they were."""
    return [name for name, state in now.items() if before.get(name) != state]


def _reason_to_keep(settings: Settings, day: date, now: States, before: Written | None) -> str | None:
    """Why a day that differs is not opened by itself, or nothing."""
    if before and not _news(now, before.states):  # a bucket's rule may have removed them: their events must not go by themselves
        gone = sorted(before.states.keys() - now.keys())
        return f"log files are gone and none came: {', '.join(gone[:10])}; clear the day's run if their events shall go, too"
    if refused := refusal_of(settings.landing_of(day), now):  # its own run, or the one that looked first, has failed with it
        return f"it was refused with these files before: {refused}"
    return None
