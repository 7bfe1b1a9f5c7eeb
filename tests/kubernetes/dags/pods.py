"""Airflow DAGs of the pod tests: each runs one pod that ends in a way of its own."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from airflow.sdk import DAG

from include.config.environments import Images, current_environment
from include.config.vocabulary import Owner, Profile, Tier
from include.pods.job import JobSpec
from include.pods.operator import SOON
from include.pods.tasks import job_task
from include.policies import START_DATE, default_args

HEAD = """
import json, os, pathlib, sys, time
def say(level, text): print(json.dumps({"level": level, "event": text}), flush=True)
def done(**facts): pathlib.Path(sys.argv[1]).write_text(json.dumps({"tables": {}, "facts": facts, "links": {}}))
"""
SCRIPTS = {
    "success": "say('info', 'the first line'); say('warning', 'the second line'); done(user=os.getuid(), host=os.environ['TRINO_HOST'])",
    "permanent": "say('error', 'the column is gone'); sys.exit(64)",
    "transient": "say('error', 'the lake is away'); sys.exit(75)",
    "out_of_memory": "held = bytearray(600 << 20); held[::4096] = b'x' * len(held[::4096]); done()",
    "no_image": "done()",
    "no_result": "pass",
    "writes_root": "open('/opt/platform/x', 'w')",
    # ends when told, as jobs do; the provider shows a line once the next one is there
    "sleeps": "from include.jobs.parent import end_on_term; end_on_term(); say('info', 'asleep'); say('info', 'for long'); time.sleep(900); done()",
}
ENDS_SOON = ("success", "permanent", "transient")


@dataclass(frozen=True)
class Script(JobSpec):
    """A job's pod with a script in the job's place."""

    script: str = ""
    way: str = "waiting"

    def command(self, result: str, python: str = "python") -> list[str]:
        """The script's command line."""
        # longer than the worker itself waits for a long job's end, and then longer than a round of a loaded scheduler
        pause = f"time.sleep({2 * SOON})\n" if self.way == "deferred" else ""
        return [python, "-c", HEAD + pause + self.script, result]


environment = current_environment()
nowhere = Images(jobs="localhost:9/jobs", dbt="localhost:9/dbt", openedx="localhost:9/openedx")  # nobody listens there
for name, script in SCRIPTS.items():
    # a worker waits, the triggerer does, or it would but the pod ends too soon for that
    for way in ("waiting", "deferred", *(["soon"] if name in ENDS_SOON else [])):
        job = name.replace("_", "-")
        spec = Script(job=job, arguments=(), domain="lakehouse", profile=Profile.XS, secrets=(), long=way != "waiting", script=script, way=way)
        here = environment.model_copy(update={"images": nowhere}) if name == "no_image" else environment
        dag_id = f"{name}__{way}"
        arguments = {**default_args(environment, Owner.DATA_PLATFORM, Tier.THREE), "retries": 1, "retry_delay": timedelta(seconds=1)}
        with DAG(dag_id, schedule=None, start_date=START_DATE, default_args=arguments, auto_register=False) as dag:
            # one case in a worker pod of its own; for the others that would take longer than what they are about
            job_task(spec, here, task_id="pod", executor="KubernetesExecutor" if name == "success" else "LocalExecutor")
        globals()[dag_id] = dag
