"""A scheduler whose database was away: nobody takes it for dead, and its executors know no more than the database. With Airflow's own scheduler and tables."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from include.config.files import ROOT

# a scheduler's process as far as its jobs, tasks and executors go; the scenario is the last argument
CHILD = """
import json, sys, uuid
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from airflow import settings
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.jobs.job import Job
from airflow.models.base import Base
from airflow.models.dagrun import DagRun
from airflow.models.taskinstance import TaskInstance
from airflow.executors.local_executor import LocalExecutor
from airflow.models.taskinstancekey import TaskInstanceKey
from sqlalchemy import insert, select, update
from sqlalchemy.exc import OperationalError

Base.metadata.create_all(settings.engine)
NOW = datetime.now(UTC)

def job(silent=0):
    made = Job(state="running")
    made.job_type = "SchedulerJob"
    made.prepare_for_execution()
    with settings.engine.begin() as connection:
        connection.execute(update(Job.__table__).where(Job.id == made.id).values(latest_heartbeat=NOW - timedelta(seconds=silent)))
    return made

def task(name, job, state="running"):
    found = uuid.uuid4()
    with settings.engine.begin() as connection:
        connection.execute(insert(TaskInstance.__table__).values(id=found, task_id=name, dag_id="d", run_id="r", map_index=-1, pool="p", pool_slots=1,
            state=state, queued_by_job_id=job.id, try_number=1, max_tries=0, executor_config={}, span_status="x"))
    return found

with settings.engine.begin() as connection:
    connection.execute(insert(DagRun.__table__).values(dag_id="d", run_id="r", run_type="manual", state="running", span_status="x",
        run_after=NOW, clear_number=0, scheduled_by_job_id=None, triggered_by="REST_API"))

def states(column):
    with settings.engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(select(TaskInstance.task_id, column))}

own, executor = job(silent=int(sys.argv[2])), LocalExecutor()
runner = SchedulerJobRunner(job=own, executors=[executor])
told = {}
exec(sys.argv[1])
print("told", json.dumps(told, default=str))
"""
ORPHANS = """
dead = job(silent=3600)
task("of_this_one", own)
task("of_a_dead_one", dead)
for round in (1, 2):
    runner.adopt_or_reset_orphaned_tasks()
    told[round] = states(TaskInstance.state)
with settings.engine.connect() as connection:
    told["jobs"] = {row.id == own.id: row.state for row in connection.execute(select(Job.id, Job.state))}
"""
QUEUES = """
import database_outages, scheduler_rounds
for name, state in (("kept", "queued"), ("rolled_back", "scheduled")):
    executor.queued_tasks[TaskInstanceKey("d", name, "r")] = SimpleNamespace(ti=SimpleNamespace(id=task(name, own, state)))
scheduler_rounds.begin_anew(runner)
told["waiting"] = [key.task_id for key in executor.queued_tasks]
with settings.engine.connect() as connection:
    told["silent"] = (datetime.now(UTC) - connection.scalar(select(Job.latest_heartbeat).where(Job.id == own.id)).replace(tzinfo=UTC)).total_seconds()
"""
EVENTS = """
from scheduler_rounds import keeping_failures
from database_outages import is_outage
def breaks(self, executor, session):
    executor.get_event_buffer()
    raise OperationalError("SELECT 1", {}, Exception("gone"), connection_invalidated=outage)
for outage in (True, False):
    executor.event_buffer = {TaskInstanceKey("d", state, "r"): (state, None) for state in ("failed", "success", "queued")}
    try:
        keeping_failures(breaks, is_outage)(runner, executor=executor, session=None)
    except OperationalError:
        told[outage] = [key.task_id for key in executor.event_buffer]
"""


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{tmp_path}/airflow.db",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "TMPDIR": str(tmp_path),
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
    }


def told(scenario: str, variables: dict[str, str], silent: int) -> dict[str, Any]:
    command = [sys.executable, "-c", CHILD, scenario, str(silent)]
    done = subprocess.run(command, cwd=variables["HOME"], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("told ")]
    found: dict[str, Any] = json.loads(line.removeprefix("told "))
    return found


@pytest.mark.parametrize(("silent", "first"), [(5, None), (60, "running")], ids=["as ever", "after an outage"])
def test_its_own_tasks_are_never_orphans_and_others_tasks_wait_a_round_after_an_outage(silent: int, first: str | None, variables: dict[str, str]) -> None:
    found = told(ORPHANS, variables, silent)
    assert found["1"] == {"of_this_one": "running", "of_a_dead_one": first}
    assert found["2"] == {"of_this_one": "running", "of_a_dead_one": None}
    assert found["jobs"] == {"true": "running", "false": "failed"}


def test_what_was_rolled_back_is_not_started(variables: dict[str, str]) -> None:
    found = told(QUEUES, variables, 60)
    assert found["waiting"] == ["kept"]
    assert found["silent"] < 60


def test_a_failure_that_was_not_taken_in_comes_again(variables: dict[str, str]) -> None:
    assert told(EVENTS, variables, 0) == {"true": ["failed"], "false": []}
