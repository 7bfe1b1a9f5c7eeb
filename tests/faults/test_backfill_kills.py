"""A backfill of days over three steps whose whole Airflow is killed: every day's three results are there once, and equal to those of a straight run.

What has a schedule goes on meanwhile: a DAG that is due every five seconds starts within a minute, but for what was due while Airflow was down.
"""

from __future__ import annotations

import json
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from pyiceberg.catalog import Catalog

from benchmarks.repository import copy_code
from include.config.environments import current_environment
from include.lake.catalog import create_catalog_tables, open_catalog
from include.lake.runkeys import run_key_of
from include.local.airflow import DATABASE
from include.local.airflow_api import AirflowApi
from include.local.paths import Paths
from include.local.platform import Platform
from tests.backfills import ask_for, kill, states, wait_until
from tests.faults import daily_steps
from tests.faults.daily_steps import STEPS, make_tables, table_of

pytestmark = [pytest.mark.live, pytest.mark.timeout(7200)]

KILLED, STRAIGHT = "killed", "straight"  # the lakes
DAG_ID, FIRST = "daily_steps", date(2025, 3, 1)
FEW = 30  # days below which one kill is enough, and a killed scheduler is missed sooner
PATIENCE = 5400.0  # seconds
AIRFLOW = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
DAG_FILE = '''"""Airflow DAG of three steps of a day, each with an asset."""

from datetime import timedelta

import pendulum
from airflow.providers.standard.operators.python import PythonOperator
from airflow.sdk import DAG, CronPartitionTimetable, DeltaTriggerTimetable, chain
from daily_steps import STEPS, run_step, table_of

from include.config.environments import current_environment
from include.lake.assets import asset_of

schedule = CronPartitionTimetable("0 4 * * *", timezone="UTC", run_offset=-1, key_format="%Y-%m-%d")
start = pendulum.datetime(2025, 1, 1, tz="UTC")  # and nothing but a backfill runs
retries = {"retries": 3, "retry_delay": timedelta(seconds=2)}
with DAG("daily_steps", schedule=schedule, start_date=start, end_date=start, catchup=False, default_args=retries):
    chain(
        *(
            PythonOperator(
                task_id=step,
                python_callable=run_step,
                op_args=[step, "{{ dag_run.partition_key }}", "{{ run_id }}"],
                outlets=[asset_of(current_environment(), table_of(step))],
            )
            for step in STEPS
        )
    )
with DAG("live", schedule=DeltaTriggerTimetable(timedelta(seconds=5)), start_date=start, catchup=False, max_active_runs=16):
    PythonOperator(task_id="look", python_callable=pendulum.now)
'''
SOONER = {
    "orphaned_tasks_check_interval = 30": "orphaned_tasks_check_interval = 5\nscheduler_health_check_threshold = 15\nscheduler_heartbeat_sec = 2",
    "refresh_interval = 5": "refresh_interval = 2",
}
LIVE, LATEST = "live", 120.0  # seconds that its runs may come late, on a machine that needs less than three times as long for all
DUE = """
SELECT extract(epoch FROM r.run_after)::float8, extract(epoch FROM t.start_date)::float8
FROM dag_run r JOIN task_instance t USING (dag_id, run_id) WHERE r.dag_id = %s AND r.run_type = 'scheduled' AND t.start_date IS NOT NULL
"""
EVENTS = "SELECT a.uri, e.partition_key FROM asset_event e JOIN asset a ON a.id = e.asset_id WHERE e.source_dag_id = %s"

Results = Mapping[tuple[str, date], list[dict[str, Any]]]


@dataclass(frozen=True)
class Stage:
    """A platform with the DAG, and its lake."""

    platform: Platform
    days: tuple[date, ...]

    def properties(self, lake: str) -> dict[str, str]:
        """All that opens one of its lakes, so that no variable of this session leads anywhere else."""
        address = self.platform.postgres.dsn(lake, driver="psycopg2")
        return {"uri": address, "local.root": str(self.platform.paths.state / lake), "warehouse": "local:///warehouse"}

    def catalog(self, lake: str = KILLED) -> Catalog:
        """One of its lakes, opened."""
        return open_catalog(current_environment(), self.properties(lake))

    def make_lake(self, lake: str) -> None:
        """With the three tables, empty."""
        with psycopg.connect(self.platform.postgres_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(lake)))
        create_catalog_tables(self.platform.postgres.dsn(lake))
        make_tables(self.catalog(lake))

    def asked(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of Airflow's own tables."""
        with psycopg.connect(self.platform.postgres.dsn(DATABASE)) as connection:
            return connection.execute(query, values).fetchall()  # type: ignore[arg-type]

    def tasks(self, state: str) -> int:
        """How many tasks are in a state."""
        return int(self.asked("SELECT count(*) FROM task_instance WHERE dag_id = %s AND state = %s", DAG_ID, state)[0][0])


@pytest.fixture(scope="module")
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    """Nothing of it is the session's: it is killed."""
    number = request.config.getoption("--backfill-days", default=None) or 12  # the option is unknown to a run of all tests
    folder = Path(tempfile.mkdtemp(prefix="fault-backfill-"))
    code = copy_code(folder / "code", {"daily.py": DAG_FILE})
    steps = Path(shutil.copy(daily_steps.__file__, code / "plugins"))
    if number < FEW:
        settings = (code / "airflow.cfg").read_text(encoding="utf-8")
        for found, sooner in SOONER.items():
            assert settings.count(f"\n{found}\n") == 1, found
            settings = settings.replace(f"\n{found}\n", f"\n{sooner}\n")
        (code / "airflow.cfg").write_text(settings, encoding="utf-8")
    platform = Platform(Paths(root=code, state=folder / "state"), ("airflow",))
    try:
        platform.start(attached=True)
        found = Stage(platform, tuple(FIRST + timedelta(days=day) for day in range(number)))
        found.make_lake(KILLED)
        steps.with_name(daily_steps.LAKE.name).write_text(json.dumps(found.properties(KILLED)), encoding="utf-8")
        yield found
    finally:
        platform.clean()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_killed_backfill_ends_as_a_straight_one(stage: Stage) -> None:
    total, chance, begin = len(STEPS) * len(stage.days), random.Random(len(stage.days)), time.monotonic()
    api = AirflowApi(stage.platform.airflow_url, *stage.platform.airflow_login)
    api.wait_for_dags({DAG_ID, LIVE}, 300)
    ask_for(stage.platform, DAG_ID, stage.days[0], stage.days[-1] + timedelta(days=1))
    kills = 1 if len(stage.days) < FEW else 2
    told, down = [], []
    for number in range(kills):
        share = (number + chance.uniform(0.2, 0.7)) / kills
        wait_until(lambda share=share: stage.tasks("success") >= share * total and stage.tasks("running") > 0, PATIENCE, every=0.1)
        time.sleep(chance.uniform(0, 0.5))
        killed_at = time.time()
        kill(stage.platform, *AIRFLOW)
        done = stage.tasks("success")
        assert share * total <= done < total, "it was over before the kill"
        told.append(f"killed after {done} tasks, {stage.tasks('running')} of them running")
        stage.platform.start(attached=True)
        down.append((killed_at, time.time()))
    wait_until(lambda: states(api, DAG_ID).get("success", 0) >= len(stage.days) or bool(states(api, DAG_ID).get("failed")), PATIENCE)
    seconds = time.monotonic() - begin
    waits = stage.asked(DUE, LIVE)  # judged without those that waited across a kill
    late = [started - due for due, started in waits if not any(due <= back and started >= killed_at for killed_at, back in down)]

    assert states(api, DAG_ID) == {"success": len(stage.days)}
    found = results(stage.catalog())
    assert len(found) == total
    assert found == straight(stage), "a result differs from that of a straight run"
    for step in STEPS:
        keys = Counter(run_key_of(snapshot) for snapshot in stage.catalog().load_table(table_of(step).identifier).snapshots())
        assert len(keys) == len(stage.days)
        assert set(keys.values()) == {1}, f"{step}: a run wrote twice"
    events = Counter(stage.asked(EVENTS, DAG_ID))
    assert set(events.values()) == {1}, "a partition was told of twice"
    assert {(uri.rpartition("__")[2], date.fromisoformat(day)) for uri, day in events} == set(found)
    assert late, "nothing was due meanwhile"
    assert max(late) <= max(LATEST, seconds / 3), f"a run with a schedule came {max(late):.0f} s late"
    again = stage.asked("SELECT count(*) FROM task_instance WHERE dag_id = %s AND try_number > 1", DAG_ID)[0][0]
    print(f"{total} results of {len(stage.days)} days in {seconds:.0f} s; {'; '.join(told)}; {again} tasks were tried again")
    print(f"{len(late)} runs with a schedule beside it, at most {max(late):.1f} s late")


def straight(stage: Stage) -> Results:
    """The same steps, one day after the other, into a lake of their own."""
    stage.make_lake(STRAIGHT)
    catalog = stage.catalog(STRAIGHT)
    for day in stage.days:
        for name, step in STEPS.items():
            step(catalog, day, f"straight:{name}:{day}")
    return results(catalog)


def results(catalog: Catalog) -> Results:
    """What every step has stored of every day."""
    found: dict[tuple[str, date], list[dict[str, Any]]] = {}
    for step in STEPS:
        for row in catalog.load_table(table_of(step).identifier).scan().to_arrow().to_pylist():
            found.setdefault((step, row["day"]), []).append(row)
    return {key: sorted(rows, key=lambda row: json.dumps(row, default=str, sort_keys=True)) for key, rows in found.items()}
