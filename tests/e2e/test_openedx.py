"""``make demo DOMAIN=openedx`` as a user runs it, and thirty days of logs by Airflow's own backfill, with a kill in the middle."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path

import httpx
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from include.config.environments import current_environment
from include.config.files import ROOT
from include.config.load import load_units_strictly
from include.config.vocabulary import Layer
from include.lake.catalog import open_catalog
from include.lake.names import table_in
from include.local.airflow_api import AirflowApi
from include.local.data.openedx_logs import DayLogs, invented_roster, write_day
from include.local.openedx import DEPLOYMENTS
from include.local.paths import Paths
from include.local.platform import Platform
from include.local.ports import Ports
from include.local.programs import ServiceError
from tests.backfills import ask_for, kill, states, wait_until
from tests.openedx_service import EXPORTS
from tests.variables import without_platform

DAG_ID, TABLE = "openedx__mitx__tracking_logs", "raw__mitx__openedx__tracking_logs"
FIRST, DAYS, EVENTS = date(2026, 1, 15), 30, 240  # before the demo's days
KILLED_AFTER = 6  # days loaded
PATIENCE = 1800.0  # seconds
EXPORT = {"states": ["Pending", "In Progress"], "seconds": 3.5}
"""How exports go: ended when their triggers first ask, after eight seconds, and under way long enough that those of one sweep would meet."""
pytestmark = [pytest.mark.live, pytest.mark.timeout(7200)]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("openedx") / "state"
    yield folder
    Platform(Paths(state=folder)).clean()


@dataclass
class Studios:
    """The exports of a demo, looked at while it runs, since it ends what it started: how many each deployment's Studio has begun, and built at a time."""

    state: Path
    begun: dict[str, int] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Studios:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def _look(self) -> None:
        told = False
        with httpx.Client(trust_env=False, timeout=20) as http:
            while not self._over.wait(0.5):
                try:
                    root = f"http://127.0.0.1:{Ports(self.state / 'ports.json').known('openedx')}"
                    if not told:
                        told = http.post(f"{root}/_faults", json=[{"match": EXPORTS, "count": None, "export": EXPORT}]).is_success
                    for name in DEPLOYMENTS:
                        found = http.get(f"{root}/_exports/{name}").raise_for_status().json()
                        self.begun[name], self.most[name] = len(found["tasks"]), found["most_at_once"]
                except (ServiceError, httpx.TransportError):
                    continue  # not started yet, or ended


def demo(state: Path) -> str:
    """Runs the demo; what it printed. It must end by itself with exit 0: the lake and MIT Learn hold what the sources do."""
    command = [sys.executable, "-m", "include.local", "--state", str(state), "demo", "--domain", "openedx", "--scale", "0.005"]
    done = subprocess.run(command, cwd=ROOT, env=without_platform(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=2700)
    assert done.returncode == 0, done.stdout[-6000:]
    assert "DIFFERENT" not in done.stdout
    return done.stdout


def test_two_days(state: Path) -> None:
    """The second day adds what changed, and what was deleted at the sources is told as such."""
    with Studios(state) as studios:
        first = demo(state)
    slots = {unit.id: unit.export_slots for unit in load_units_strictly("openedx", current_environment())}
    assert set(studios.begun) == set(slots)
    assert any(studios.begun[name] > count for name, count in slots.items()), "or the slots were never full"
    assert {name: most for name, most in studios.most.items() if not 1 <= most <= slots[name]} == {}, slots
    for deployment in DEPLOYMENTS:
        assert re.search(rf"openedx__{deployment}__course +[1-9]\d* success", first), first[-6000:]
        assert re.search(rf"{deployment}: events by type +equal", first)
        assert re.search(rf"{deployment}: totals of the engagement reports +equal", first)
    assert re.search(r"course runs that MIT Learn knows of +equal", first)
    assert "source databases at day 1" in demo(state)
    left = Platform(Paths(state=state)).processes.records()
    assert [record.name for record in left if record.alive] == [], "the demo ends what it started"


def test_thirty_days_of_logs_by_one_command(state: Path) -> None:
    """The scheduler is killed and every job with it; the next start goes on. Thirty partitions, each with its day's events once."""
    platform = Platform(Paths(state=state), ("lake", "openedx", "airflow"))
    platform.start()
    try:
        written = {day: logs_of(platform, day) for day in (FIRST + timedelta(days=number) for number in range(DAYS))}
        api = AirflowApi(platform.airflow_url, *platform.airflow_login)
        api.wait_for_dags({DAG_ID}, 240)
        ask_for(platform, DAG_ID, FIRST, FIRST + timedelta(days=DAYS))
        catalog = open_catalog(current_environment(), platform.catalog_properties())
        wait_until(lambda: len(partitions(catalog)) >= KILLED_AFTER, PATIENCE)
        kill(platform, "airflow-scheduler")  # with the tasks and jobs below it
        assert len(partitions(catalog)) < DAYS, "it was over before the kill"
        platform.start()
        wait_until(lambda: states(api, DAG_ID).get("success", 0) >= DAYS, PATIENCE)
        assert states(api, DAG_ID) == {"success": DAYS}
        assert partitions(catalog) == {day: logs.events for day, logs in written.items()}
        assert doubled_events(catalog) == 0
    finally:
        platform.stop()


def logs_of(platform: Platform, day: date) -> DayLogs:
    folder = platform.paths.state / "landing" / "tracking_logs" / "mitx"
    written = write_day(folder, invented_roster("mitx", seed=11, learners=40), day, seed=11, events=EVENTS)
    for path in written.files:
        os.utime(path, (time.time() - 7200,) * 2)  # nobody writes them any more
    return written


def loaded(catalog: Catalog) -> pa.Table:
    """Where each row that the backfill has loaded comes from."""
    columns = ("log_day", "source_object", "source_offset")
    name = table_in(current_environment(), Layer.RAW, TABLE).identifier
    if not catalog.table_exists(name):
        return pa.table({column: [] for column in columns})
    days = f"log_day >= '{FIRST}' and log_day < '{FIRST + timedelta(days=DAYS)}'"
    return catalog.load_table(name).scan(row_filter=days, selected_fields=columns).to_arrow()


def partitions(catalog: Catalog) -> dict[date, int]:
    """Rows of each day."""
    return Counter(loaded(catalog).column("log_day").to_pylist())


def doubled_events(catalog: Catalog) -> int:
    """Rows beyond the first of one line of one file."""
    rows = loaded(catalog)
    return int(rows.num_rows - rows.group_by(rows.column_names).aggregate([]).num_rows)
