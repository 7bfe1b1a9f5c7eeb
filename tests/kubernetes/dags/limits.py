"""Airflow DAGs of the tests of limits: many tasks at once, and many runs of one task."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from airflow.sdk import DAG, task

from include.config.environments import current_environment
from include.config.vocabulary import Profile
from include.pods.job import JobSpec
from include.pods.tasks import job_task
from include.policies import START_DATE

RUNS_AT_ONCE = 20
SCRIPT = 'import pathlib, sys, time; time.sleep(1); pathlib.Path(sys.argv[1]).write_text(\'{"tables": {}, "facts": {}, "links": {}}\')'


@dataclass(frozen=True)
class Short(JobSpec):
    """A job of a second."""

    def command(self, result: str, python: str = "python") -> list[str]:
        """The script's command line."""
        return [python, "-c", SCRIPT, result]


with DAG("many_tasks", schedule=None, start_date=START_DATE, default_args={"retries": 0}, max_active_tasks=64, auto_register=False) as many_tasks:

    @task(executor="LocalExecutor")
    def numbers(dag_run=None) -> list[int]:  # type: ignore[no-untyped-def]
        """One for each task that the run's ``tasks`` asks for."""
        return list(range(dag_run.conf["tasks"]))

    @task(executor="LocalExecutor")
    def hold(number: int, dag_run=None) -> None:  # type: ignore[no-untyped-def]
        """Works for as long as the run's ``seconds`` say."""
        time.sleep(dag_run.conf["seconds"])

    hold.expand(number=numbers())


arguments = {"retries": 2, "retry_delay": timedelta(seconds=1)}
with DAG("one_pod", schedule=None, start_date=START_DATE, default_args=arguments, max_active_runs=RUNS_AT_ONCE, auto_register=False) as one_pod:
    job_task(Short(job="short", arguments=(), domain="lakehouse", profile=Profile.XS, secrets=()), current_environment(), task_id="pod")
