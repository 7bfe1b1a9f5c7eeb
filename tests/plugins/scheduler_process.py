"""A scheduler's process as far as its jobs, tasks and executors go: Airflow's own classes and tables, and this project's plugins."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from include.config.files import ROOT

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
from sqlalchemy.orm import Session as OrmSession

Session = lambda: OrmSession(settings.engine)
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
            state=state, queued_by_job_id=job.id, try_number=1, max_tries=0, priority_weight=1, executor_config={}, span_status="x"))
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


def variables_in(home: Path) -> dict[str, str]:
    """The process' environment; it has no other."""
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "TMPDIR": str(home),
        "PATH": "/usr/bin:/bin",
        "HOME": str(home),
    }


def told(scenario: str, variables: dict[str, str], silent: int = 0) -> dict[str, Any]:
    """What the scenario (Python, with the names above) puts into ``told``; the scheduler's last heartbeat is ``silent`` seconds old."""
    command = [sys.executable, "-c", CHILD, scenario, str(silent)]
    done = subprocess.run(command, cwd=variables["HOME"], env=variables, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("told ")]
    found: dict[str, Any] = json.loads(line.removeprefix("told "))
    return found
