"""Changes of the running Airflow: replicas and settings of its components, and how many pods jobs may have."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from include.pods.operator import NAMESPACE
from tests.helm.charts import Values
from tests.kubernetes.airflow_cluster import AirflowCluster
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.release import RELEASE


@dataclass(frozen=True)
class Change:
    """What differs from the values: ``replicas`` (as they are when ``None``), ``settings`` as variables, ``limits`` of its container."""

    replicas: int | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    limits: Mapping[str, str] = field(default_factory=dict)

    def applied(self, deployment: Values) -> Values:
        """A copy of a deployment with these."""
        changed = copy.deepcopy(deployment)
        if self.replicas is not None:
            changed["spec"]["replicas"] = self.replicas
        container = changed["spec"]["template"]["spec"]["containers"][0]
        if self.settings:
            container["env"] = [*container["env"], *({"name": name, "value": value} for name, value in self.settings.items())]
        if self.limits:
            container["resources"] = {**container["resources"], "limits": {**container["resources"].get("limits", {}), **self.limits}}
        return changed


def changed(airflow: AirflowCluster, changes: Mapping[str, Change]) -> None:
    """Component (``scheduler``, ``api-server``, …, ``pgbouncer``) → change, from now on. Waits until all pods are ready."""
    deployments = {document["metadata"]["name"]: document for document in airflow.release.objects() if document["kind"] == "Deployment"}
    airflow.cluster.apply([change.applied(deployments[f"{RELEASE}-{name}"]) for name, change in changes.items()])
    airflow.wait_until_ready()


@contextmanager
def room_for(cluster: Cluster, pods: int) -> Iterator[None]:
    """A quota under which so many pods fit into the jobs' namespace, until the block ends."""
    quotas: list[Any] = cluster.core.list_namespaced_resource_quota(NAMESPACE).items
    for quota in quotas:
        hard = dict.fromkeys(quota.spec.hard, "10000Gi") | {"pods": str(pods)}
        cluster.core.patch_namespaced_resource_quota(quota.metadata.name, NAMESPACE, {"spec": {"hard": hard}})
    try:
        yield
    finally:
        for quota in quotas:
            cluster.core.patch_namespaced_resource_quota(quota.metadata.name, NAMESPACE, {"spec": {"hard": quota.spec.hard}})
