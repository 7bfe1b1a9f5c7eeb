"""Airflow DAGs of the fault tests: jobs that each add one row to a table of the lake.

``row__<executor>``  one job, waited for beside the scheduler or in a worker pod
``sixty_rows``       sixty jobs in chains beside each other, waited for in all ways there are
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from airflow.sdk import DAG, chain

from include.config.environments import current_environment
from include.config.vocabulary import Profile
from include.pods.job import JobSpec
from include.pods.tasks import job_task
from include.policies import START_DATE

ROW = """
import json, pathlib, sys, time
import pyarrow as pa
from include.config.environments import current_environment
from include.lake.catalog import open_catalog
from include.lake.writes import append_once
result, key, seconds, table = sys.argv[1:]
print("begun", flush=True)
found = open_catalog(current_environment()).load_table(tuple(table.split(".")))
time.sleep(float(seconds))
append_once(found, pa.table({"key": [key]}), key)
pathlib.Path(result).write_text(json.dumps({"tables": {}, "facts": {}, "links": {}}))
"""


WAYS = {"beside": ("LocalExecutor", 3, 12, 6), "deferred": ("LocalExecutor", 5, 4, 30), "worker": ("KubernetesExecutor", 2, 2, 6)}
"""How a job is waited for → executor, chains, jobs in each, seconds that a job works before it writes."""


@dataclass(frozen=True)
class Row(JobSpec):
    """A job that works for a while and then adds one row."""

    def command(self, result: str, python: str = "python") -> list[str]:
        """The script's command line."""
        return [python, "-c", ROW, result, *self.arguments]


environment = current_environment()
# the platform's own policy waits half a minute before another try, which is no part of a recovery
again = {"retries": 3, "retry_delay": timedelta(seconds=1), "max_retry_delay": timedelta(seconds=1)}
arguments = ("{{ run_id }}", "{{ dag_run.conf['seconds'] }}", "{{ dag_run.conf['table'] }}")
row = Row("row", arguments, domain="lakehouse", profile=Profile.S, secrets=())
for executor in ("LocalExecutor", "KubernetesExecutor"):
    dag_id = f"row__{executor}"
    with DAG(dag_id, schedule=None, start_date=START_DATE, default_args=again, auto_register=False) as dag:
        job_task(row, environment, task_id="pod", executor=executor)
    globals()[dag_id] = dag

with DAG("sixty_rows", schedule=None, start_date=START_DATE, default_args=again, auto_register=False) as sixty_rows:
    for way, (executor, chains, length, seconds) in WAYS.items():
        for number in range(chains):
            jobs = []
            for place in range(length):
                arguments = ("{{ run_id }} {{ ti.task_id }}", str(seconds), "{{ dag_run.conf['table'] }}")
                # a triggerer waits for what is declared long
                job = Row("row", arguments, domain="lakehouse", profile=Profile.S, secrets=(), long=way == "deferred")
                jobs.append(job_task(job, environment, task_id=f"{way}_{number}_{place}", executor=executor))
            chain(*jobs)
