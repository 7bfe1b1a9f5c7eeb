"""The one function that turns a job into a task, whatever the environment's runtime."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator

from include.config.environments import EnvironmentSettings
from include.config.vocabulary import Runtime
from include.pods.job import JobSpec


def job_task(spec: JobSpec, environment: EnvironmentSettings, **task: Any) -> BaseOperator:
    """A task that runs ``spec``: a pod where there is a cluster, a child process where there is none.

    ``task`` are the operator's own arguments (``task_id``, ``outlets``, ``publish_from``, retries …). The pod operator is imported
    only where it is used: it costs three seconds, which every task of a laptop would pay at its start.
    """
    if environment.runtime is Runtime.POD:
        from include.pods.operator import PlatformPodOperator

        return PlatformPodOperator(spec=spec, environment=environment, **task)
    from include.pods.process import ProcessJobOperator

    return ProcessJobOperator(spec=spec, **task)
