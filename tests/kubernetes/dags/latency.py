"""Airflow DAGs of benchmark P3: one pod, and twenty at once; by the platform's operator, and by the provider's as it comes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG, BaseOperator

from include.config.environments import current_environment
from include.config.vocabulary import Profile
from include.pods.job import JobSpec
from include.pods.operator import PlatformPodOperator
from include.pods.tasks import job_task
from include.policies import START_DATE

SCRIPT = """
import pathlib, sys
pathlib.Path(sys.argv[1]).write_text('{"tables": {}, "facts": {}, "links": {}}')
"""


@dataclass(frozen=True)
class Nothing(JobSpec):
    """A job that does nothing."""

    def command(self, result: str, python: str = "python") -> list[str]:
        """The script's command line."""
        return [python, "-c", SCRIPT, result]


environment = current_environment()
nothing = Nothing("nothing", (), domain="lakehouse", profile=Profile.XS, secrets=())
# made outside of any DAG, which would take it for a task of its own
TEMPLATE = PlatformPodOperator(spec=nothing, environment=environment, task_id="template")
DEMANDED: dict[str, Any] = {name: getattr(TEMPLATE, name) for name in ("security_context", "container_security_context", "container_resources")}


def ours(task_id: str) -> BaseOperator:
    """As every job of the platform."""
    return job_task(nothing, environment, task_id=task_id)


def stock(task_id: str) -> BaseOperator:
    """The same pod from the provider's operator: only what the namespace demands of a pod is said."""
    return KubernetesPodOperator(
        task_id=task_id,
        name="nothing",
        namespace=TEMPLATE.namespace,
        image=TEMPLATE.image,
        cmds=TEMPLATE.cmds,
        arguments=["-c", SCRIPT, "/dev/null"],
        service_account_name=TEMPLATE.service_account_name,
        automount_service_account_token=False,
        **DEMANDED,
    )


for name, operator in {"ours": ours, "stock": stock}.items():
    for count in (1, 20):
        with DAG(f"pods_{name}_{count}", schedule=None, start_date=START_DATE, default_args={"retries": 0}, max_active_tasks=20, auto_register=False) as dag:
            for number in range(count):
                operator(f"pod_{number}")
        globals()[dag.dag_id] = dag
