"""Airflow DAG of forty jobs at once."""

from __future__ import annotations

from dataclasses import dataclass

from airflow.sdk import DAG

from include.config.environments import current_environment
from include.config.vocabulary import Profile
from include.pods.job import JobSpec
from include.pods.tasks import job_task
from include.policies import START_DATE

AT_ONCE = 40
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
