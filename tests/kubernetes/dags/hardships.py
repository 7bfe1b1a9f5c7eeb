"""Airflow DAG of forty jobs that meet what pods meet: too little memory, a full disk, no image, a node that is drained."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from airflow.sdk import DAG

from include.config.environments import Images, current_environment
from include.config.vocabulary import Profile
from include.pods.job import JobSpec
from include.pods.tasks import job_task
from include.policies import START_DATE

HEAD = """
import pathlib, sys, time
result, try_number = sys.argv[1], int(sys.argv[2])
def remember(): held = bytearray(600 << 20); held[::4096] = b"x" * len(held[::4096])
def store():
    with open("/tmp/large", "wb") as file:
        for _ in range(1200): file.write(bytes(1 << 20))
    time.sleep(400)
"""
DONE = """\npathlib.Path(result).write_text('{"tables": {}, "facts": {}, "links": {}}')"""
SCRIPTS = {
    "drained": (24, "print('asleep', flush=True); time.sleep(40)"),
    "mended": (4, "try_number > 1 or remember()"),
    "memory": (4, "remember()"),
    "disk": (4, "store()"),
    "image": (4, "pass"),
}
"""Kind → jobs of it, and what they do."""
RETRIES = {"drained": 3}  # a pod may be drained more than once


@dataclass(frozen=True)
class Hardship(JobSpec):
    """A job with a script in its place, which knows its try."""

    script: str = ""

    def command(self, result: str, python: str = "python") -> list[str]:
        """The script's command line."""
        return [python, "-c", HEAD + self.script + DONE, result, "{{ ti.try_number }}"]


environment = current_environment()
nowhere = Images(jobs="localhost:9/jobs", dbt="localhost:9/dbt", openedx="localhost:9/openedx")  # nobody listens there
again = {"retry_delay": timedelta(seconds=1), "max_retry_delay": timedelta(seconds=1)}
with DAG("forty_hardships", schedule=None, start_date=START_DATE, default_args=again, max_active_tasks=40, auto_register=False) as dag:
    for kind, (count, script) in SCRIPTS.items():
        here = environment.model_copy(update={"images": nowhere}) if kind == "image" else environment
        for number in range(count):
            job = Hardship("hardship", (), domain="lakehouse", profile=Profile.XS, secrets=(), script=script)
            job_task(job, here, task_id=f"{kind}_{number}", retries=RETRIES.get(kind, 1))
