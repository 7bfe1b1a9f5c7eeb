"""Airflow DAGs of many at once: forty jobs of one run, runs of one job that wait for a limit, and tasks beside each other that need no pod.

``forty_pods``    forty jobs
``short_runs``    one job; at most twenty runs at a time
``beside_<n>``    as many tasks of LocalExecutor, which wait until all have begun
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from airflow.sdk import DAG, task

from include.config.environments import current_environment
from include.config.vocabulary import Profile
from include.pods.job import JobSpec
from include.pods.tasks import job_task
from include.policies import START_DATE

AT_ONCE = 40
RUNS_AT_ONCE = 20
BESIDE = (8, 64)
PATIENCE = 400.0  # seconds
SCRIPT = """
import os, pathlib, sys, time
print("on", os.uname().nodename, flush=True)
time.sleep(1)
pathlib.Path(sys.argv[1]).write_text('{"tables": {}, "facts": {}, "links": {}}')
"""


@dataclass(frozen=True)
class Short(JobSpec):
    """A job of a second."""

    def command(self, result: str, python: str = "python") -> list[str]:
        """The script's command line."""
        return [python, "-c", SCRIPT, result]


with DAG("forty_pods", schedule=None, start_date=START_DATE, default_args={"retries": 0}, max_active_tasks=AT_ONCE, auto_register=False) as dag:
    for number in range(AT_ONCE):
        job_task(Short("short", (), domain="lakehouse", profile=Profile.XS, secrets=()), current_environment(), task_id=f"pod_{number}")

with DAG("short_runs", schedule=None, start_date=START_DATE, default_args={"retries": 0}, max_active_runs=RUNS_AT_ONCE, auto_register=False) as short_runs:
    job_task(Short("short", (), domain="lakehouse", profile=Profile.XS, secrets=()), current_environment(), task_id="pod")


for at_once in BESIDE:
    with DAG(f"beside_{at_once}", schedule=None, start_date=START_DATE, default_args={"retries": 0}, max_active_tasks=at_once, auto_register=False) as beside:

        @task(executor="LocalExecutor")
        def wait(ti=None) -> None:  # type: ignore[no-untyped-def]
            """Works until the run is told that all have begun: an XCom of the first task."""
            deadline = time.monotonic() + PATIENCE
            while ti.xcom_pull(task_ids="task_0", key="all_begun") is None:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"after {PATIENCE:.0f} s not all tasks have begun")
                time.sleep(10)

        for number in range(at_once):
            wait.override(task_id=f"task_{number}")()
    globals()[beside.dag_id] = beside
