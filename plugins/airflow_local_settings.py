"""What Airflow asks its owner about every pod: here, whose identity a task runs with, and from which image.

Airflow imports this module by its name. A worker's pod gets the service account of the task's code location, which may read the secrets
of that location and no other's. The location is that of the bundle the task is loaded from, and this hook has the last word: nothing in
a DAG file can choose another identity.
"""

from __future__ import annotations

import json
from typing import Any

__all__ = ["pod_mutation_hook"]
WORKER = "kubernetes_executor"  # the label of pods that run tasks; pods of jobs come by here too, and are left as they are
LOCATIONS = "AIRFLOW__SECRETS__BACKEND_KWARG__LOCATIONS"


def pod_mutation_hook(pod: Any) -> None:
    """Makes a worker's pod one of its location: service account, secrets, and the image where the location has one of its own."""
    if WORKER not in (pod.metadata.labels or {}):
        return
    base = next(container for container in pod.spec.containers if container.name == "base")
    location = _location(base.args or [])
    worker = _workers().get(location)
    if worker is None:
        return
    pod.metadata.labels["ol/location"] = location
    pod.spec.service_account_name = worker["service_account"]
    base.image = worker.get("image") or base.image
    from kubernetes.client import models as k8s

    base.env = [variable for variable in base.env or [] if variable.name != LOCATIONS]
    base.env.append(k8s.V1EnvVar(name=LOCATIONS, value=f"{location},shared"))


def _location(arguments: list[str]) -> str:
    """The bundle of the task, from the workload that the executor puts on the command line."""
    workload = json.loads(arguments[arguments.index("--json-string") + 1])
    return str(workload["bundle_info"]["name"])


def _workers() -> dict[str, dict[str, str]]:
    """What the configuration of bundles says about their workers, by the bundle's name; nothing of bundles that have no identity of their own."""
    from airflow.configuration import conf

    bundles: Any = conf.getjson("dag_processor", "dag_bundle_config_list")
    return {bundle["name"]: bundle["kwargs"] for bundle in bundles if bundle["kwargs"].get("service_account")}
