"""``make demo``: one complete lane on this machine, from the application databases to checked reports, and a summary of it."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TextIO

import psycopg
import requests
import trino.exceptions

from include.config.environments import current_environment
from include.config.load import load_units_strictly
from include.local.airflow_api import AirflowApiError, Run
from include.local.data.generate import DATABASES, advance, generate, read_state
from include.local.paths import Paths
from include.local.platform import Part, Platform, lane_parts, running_platform
from include.local.rounds import LaneError, Round
from include.local.summary import print_summary

WAREHOUSE = "warehouse"
SCALE = 0.1  # of the generator: about 2,000 learners
SEED = 7
LAKE = ("postgres", "trino")  # all that the summary asks
OUTAGES = (AirflowApiError, psycopg.OperationalError, trino.exceptions.Error, requests.RequestException)  # a server is away, or refuses


@dataclass
class Lane(Round):
    """The main lane: all connections are synced, and the warehouse follows their assets."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.connections = [unit.dag_id for unit in load_units_strictly("airbyte", self.settings)]

    @property
    def dag_ids(self) -> list[str]:
        """Every connection's DAG, and the warehouse."""
        return [*self.connections, WAREHOUSE]

    def begin(self) -> None:
        """Starts the syncs."""
        for dag_id in self.connections:
            self.api.trigger(dag_id)

    def news_left(self, runs: Sequence[Run]) -> bool:
        """Whether the warehouse has news that it has not built."""
        return self.api.queued_asset_events(WAREHOUSE) > 0

    def forget_news(self) -> None:
        """Otherwise the warehouse would start before this round's syncs have come in."""
        self.api.forget_asset_events(WAREHOUSE)


def next_day(platform: Platform, scale: float, out: TextIO) -> int:
    """Fills the source databases on the first round and lets a day pass on each later one; the day they are at now.

    A round that was killed while it wrote is completed first: databases are never a day apart.
    """
    dsn = platform.postgres_dsn
    begin = time.monotonic()
    counts = advance(dsn) if read_state(dsn, DATABASES[0]) else generate(dsn, scale=scale, seed=SEED, day=0)
    state = read_state(dsn, DATABASES[0])
    day = state.day if state else 0
    rows = sum(sum(tables.values()) for tables in counts.values())
    out.write(f"source databases at day {day}: {rows:,} rows in {sum(len(tables) for tables in counts.values())} tables ({time.monotonic() - begin:.1f} s)\n")
    return day


def perform(
    paths: Paths | None, parts: Sequence[Part], *, services: str, wrong: str, afterwards: str = "", work: Callable[[Platform], bool], out: TextIO
) -> int:
    """Starts the platform (or uses the one that runs), does the work and says how it ended. What was started ends with it.

    0 when the work finds everything right, 1 when it does not (``wrong`` says what is then wrong) or fails. ``afterwards`` is said when it came to its end.
    """
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(line_buffering=True)  # progress is to be seen while it is made, in a pipe too
    begin = time.monotonic()
    with running_platform(paths, parts, out=out) as platform:
        out.write(f"platform ready after {time.monotonic() - begin:.1f} s: {services}, Airflow at {platform.airflow_url}\n")
        try:
            right = work(platform)
        except LaneError as error:
            out.write(f"\nFAILED after {time.monotonic() - begin:.1f} s\n{error}\n")
            return 1
        except OUTAGES as error:
            platform.check()  # when a program of the platform has ended, that says more
            out.write(f"\nFAILED after {time.monotonic() - begin:.1f} s\n{type(error).__name__}: {error}\n  logs: {platform.paths.logs}\n")
            return 1
        out.write(f"\n{'done' if right else f'FAILED: {wrong}'} after {time.monotonic() - begin:.1f} s\n{afterwards}")
        return 0 if right else 1


def demo(scale: float = SCALE, paths: Paths | None = None, out: TextIO = sys.stdout) -> int:
    """One round of the lane and its summary: 0 when the lane succeeded and the reports are right, 1 otherwise; see :func:`perform`."""

    def work(platform: Platform) -> bool:
        settings = current_environment()
        next_day(platform, scale, out)
        runs = Lane(platform, settings, out).run()
        platform.stop(only_own=True, keep=LAKE)  # Airflow would go on tidying up, beside the summary
        return print_summary(platform, settings, runs, out)

    services, wrong = "Trino, PostgreSQL, Airbyte stand-in", "a report is not what the sources say"
    afterwards = "next: make up (Airflow's UI), make lake (query the tables), docs/howto (add a connection, a model)\n"
    return perform(paths, lane_parts(paths), services=services, wrong=wrong, afterwards=afterwards, work=work, out=out)
