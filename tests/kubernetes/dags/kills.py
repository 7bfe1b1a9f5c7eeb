"""Airflow DAG of the kill tests: 60 tasks of every kind that a kill can hit. What a task does is noted in its own state store, which outlives its tries."""

from __future__ import annotations

import os
import platform
import time
import uuid
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import DAG, BaseOperator

from include.config.environments import current_environment
from include.config.vocabulary import Profile
from include.pods.job import JobSpec
from include.pods.tasks import job_task
from include.policies import START_DATE

SECONDS = 10  # of each task; a run may say otherwise: {"seconds": 20}
CHAINS = {"light": (4, 10), "worker": (2, 4), "waiting": (3, 2), "deferred": (1, 3), "triggered": (1, 3)}
"""Kind → number of chains, tasks in each: 40 + 8 + 6 + 3 + 3 = 60."""
ROW = """
import json, pathlib, sys, time
import pyarrow as pa
from include.config.environments import current_environment
from include.lake.catalog import open_catalog
from include.lake.writes import append_once
result, key, seconds, table = sys.argv[1:]
time.sleep(float(seconds) / 2)
found = open_catalog(current_environment()).load_table(tuple(table.split(".")))
append_once(found, pa.table({"key": [key]}), key)
time.sleep(float(seconds) / 2)
pathlib.Path(result).write_text(json.dumps({"tables": {}, "facts": {}, "links": {}}))
"""


def note(context: Any, what: str) -> None:
    """Keeps that this execution came so far; each under a key of its own, since two of them might run at once."""
    facts = {"host": platform.node(), "pid": os.getpid(), "try": context["ti"].try_number, "at": time.time()}
    context["task_state_store"].set(f"{what} {uuid.uuid4().hex}", facts)


def seconds_of(context: Any) -> float:
    """How long a task of this run works."""
    return float((context["dag_run"].conf or {}).get("seconds", SECONDS))


class Sleeps(BaseOperator):
    """Works for a while in its own process."""

    def execute(self, context: Any) -> None:
        """Notes both ends."""
        note(context, "began")
        time.sleep(seconds_of(context))
        note(context, "ended")


class Waits(BaseOperator):
    """Works for a while in the triggerer."""

    def execute(self, context: Any) -> None:
        """The first half."""
        note(context, "began")
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=2 * seconds_of(context))), method_name="resume")

    def resume(self, context: Any, event: Any) -> None:
        """The second half."""
        note(context, "ended")


@dataclass(frozen=True)
class Row(JobSpec):
    """A job that adds one row to a table of the lake, halfway through its time."""

    def command(self, result: str, python: str = "python") -> list[str]:
        """The script's command line."""
        return [python, "-c", ROW, result, *self.arguments]


def task_of(kind: str, task_id: str) -> BaseOperator:
    """One task of a kind."""
    if kind == "triggered":
        return Waits(task_id=task_id, executor="LocalExecutor")
    if kind in ("light", "worker"):
        return Sleeps(task_id=task_id, executor="KubernetesExecutor" if kind == "worker" else "LocalExecutor")
    seconds = f"{{{{ dag_run.conf.get('seconds', {SECONDS}) }}}}"
    arguments = ("{{ run_id }} {{ ti.task_id }}", seconds, "{{ dag_run.conf['table'] }}")
    spec = Row(job="row", arguments=arguments, domain="lakehouse", profile=Profile.XS, secrets=(), long=kind == "deferred")
    return job_task(spec, current_environment(), task_id=task_id)


# the platform's own policy waits half a minute before another try, which is no part of a recovery
arguments = {"retries": 3, "retry_delay": timedelta(seconds=1)}
with DAG("kills", schedule=None, start_date=START_DATE, default_args=arguments, max_active_tasks=60, auto_register=False) as dag:
    for kind, (chains, length) in CHAINS.items():
        for chain in range(chains):
            before: BaseOperator | None = None
            for number in range(length):
                task = task_of(kind, f"{kind}_{chain}_{number}")
                if before is not None:
                    before >> task
                before = task
