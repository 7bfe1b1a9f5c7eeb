"""Airflow DAGs of pods that meet trouble: what the cluster can do to a pod happens to each one's first try, and what nothing can mend to every try."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from airflow.sdk import DAG

from include.config.environments import Images, current_environment
from include.config.vocabulary import Owner, Profile, Tier
from include.operators.airbyte import AirbyteSyncOperator
from include.pods.job import JobSpec
from include.pods.tasks import job_task
from include.policies import START_DATE, default_args

HEAD = """
import os, pathlib, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as every job: the first process of a container has no default for it
result, attempt = sys.argv[1], int(sys.argv[2])
print("attempt", attempt, flush=True)
"""
FIRST = {
    "out_of_memory": "held = bytearray(600 << 20); held[::4096] = b'x' * len(held[::4096]); time.sleep(600)",
    "disk_full": "os.posix_fallocate(os.open('/tmp/full', os.O_CREAT | os.O_WRONLY), 0, 1200 << 20); time.sleep(600)",
    "drained": "time.sleep(600)",
    "no_image": "pass",
    "permanent": "sys.exit(64)",
}
"""Case → what its first try does; profile xs has 256 MiB of memory and 1 GiB of disk."""
TAIL = """
time.sleep(15)  # Airflow takes a task whose trigger fires within one round of a loaded scheduler for lost
pathlib.Path(result).write_text('{"tables": {}, "facts": {}, "links": {}}')
"""


@dataclass(frozen=True)
class Troubled(JobSpec):
    """A job of which the first try runs into something."""

    first: str = ""

    def command(self, result: str, python: str = "python") -> list[str]:
        """The script's command line."""
        return [python, "-c", f"{HEAD}if attempt == 1: {self.first}\n{TAIL}", result, "{{ ti.try_number }}"]


environment = current_environment()
nowhere = environment.model_copy(update={"images": Images(jobs="localhost:9/jobs", dbt="localhost:9/dbt")})  # nobody listens there
arguments = {**default_args(Owner.DATA_PLATFORM, Tier.THREE), "retries": 2, "retry_delay": timedelta(seconds=1), "max_retry_delay": timedelta(seconds=1)}
for name, first in FIRST.items():
    for long in (False, True):
        spec = Troubled(job=name.replace("_", "-"), arguments=(), domain="lakehouse", profile=Profile.XS, secrets=(), long=long, first=first)
        dag_id = f"trouble__{name}__{'deferred' if long else 'waiting'}"
        with DAG(dag_id, schedule=None, start_date=START_DATE, default_args=arguments, auto_register=False) as dag:
            job_task(spec, nowhere if name == "no_image" else environment, task_id="pod")
        globals()[dag_id] = dag

with DAG("trouble__sync", schedule=None, start_date=START_DATE, default_args=arguments, auto_register=False) as sync:
    # it stays on its worker all the time, so that the worker can be lost at any moment of the job
    AirbyteSyncOperator(
        task_id="sync",
        connection_id="{{ dag_run.conf['connection'] }}",
        airbyte_conn_id="airbyte_of_the_tests",
        inline_seconds=600,
        poll_seconds=2,
        executor="KubernetesExecutor",
    )
