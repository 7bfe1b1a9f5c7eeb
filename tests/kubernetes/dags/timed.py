"""Airflow DAGs of benchmark P3: the same job in one pod and in 20, by the platform's operator and by the provider's with its defaults."""

from __future__ import annotations

from dataclasses import dataclass

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG, BaseOperator

from include.config.environments import current_environment
from include.config.vocabulary import Profile
from include.pods.job import RESULT_IN_POD, JobSpec
from include.pods.operator import PlatformPodOperator
from include.policies import START_DATE

NUMBERS = (1, 20)
RESULT = '{"tables": {}, "facts": {"answer": 42}, "links": {}}'
SCRIPT = f"import pathlib, sys; print('working', flush=True); pathlib.Path(sys.argv[1]).write_text({RESULT!r})"


@dataclass(frozen=True)
class Timed(JobSpec):
    """The job: a line of log and a result."""

    def command(self, result: str, python: str = "python") -> list[str]:
        """The script's command line."""
        return [python, "-c", SCRIPT, result]


SPEC = Timed(job="timed", arguments=(), domain="lakehouse", profile=Profile.XS, secrets=())
LIKE = PlatformPodOperator(task_id="like", spec=SPEC, environment=current_environment())


def ours(task_id: str) -> BaseOperator:
    """The platform's operator."""
    return PlatformPodOperator(task_id=task_id, spec=SPEC, environment=current_environment())


def stock(task_id: str) -> BaseOperator:
    """The provider's, with what the namespace demands of a pod and nothing else, in a worker of KubernetesExecutor."""
    command = SPEC.command(RESULT_IN_POD)
    return KubernetesPodOperator(
        task_id=task_id,
        name="timed",
        namespace=LIKE.namespace,
        image=LIKE.image,
        cmds=command[:1],
        arguments=command[1:],
        do_xcom_push=True,
        service_account_name=LIKE.service_account_name,
        security_context=LIKE.security_context,
        container_security_context=LIKE.container_security_context,
        xcom_sidecar_container_security_context=LIKE.xcom_sidecar_container_security_context,
        container_resources=LIKE.container_resources,
        executor="KubernetesExecutor",
    )


for make in (ours, stock):
    for number in NUMBERS:
        dag_id = f"timed_{make.__name__}_{number}"
        with DAG(dag_id, schedule=None, start_date=START_DATE, default_args={"retries": 0}, max_active_tasks=32, auto_register=False) as dag:
            for index in range(number):
                make(f"pod_{index}")
        globals()[dag_id] = dag
