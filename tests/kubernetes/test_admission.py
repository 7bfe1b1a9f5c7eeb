"""Every pod that any DAG can create is taken by a real API server that enforces the ``restricted`` Pod Security Standard."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from include.config.vocabulary import Runtime
from tests.dags.collected import ENVIRONMENTS, dags_of, settings_of
from tests.kubernetes.cluster import Cluster

PODS = [name for name in ENVIRONMENTS if settings_of(name).runtime is Runtime.POD]
pytestmark = [pytest.mark.kubernetes, pytest.mark.usefixtures("place")]


def pods(name: str) -> dict[str, dict[str, Any]]:
    return {f"{dag_id}.{task_id}": named(pod) for dag_id, dag in dags_of(name).items() for task_id, pod in dag["pods"].items()}


def named(pod: dict[str, Any]) -> dict[str, Any]:
    """The pod under a name that a rendered template can have."""
    return {**pod, "metadata": {**pod["metadata"], "name": "admission"}}


@pytest.mark.parametrize("name", PODS)
def test_every_pod_is_admitted(name: str, cluster: Cluster) -> None:
    refused = {pod_id: answer for pod_id, pod in pods(name).items() if (answer := cluster.create_pod(pod, dry_run=True))}
    assert refused == {}


@pytest.mark.parametrize(
    ("path", "value", "word"),
    [
        (("securityContext", "runAsNonRoot"), False, "runAsNonRoot"),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True, "allowPrivilegeEscalation"),
        (("containers", 1, "securityContext", "capabilities"), {}, "capabilities"),
        (("hostNetwork",), True, "host namespaces"),
        (("volumes", 0), {"name": "xcom", "hostPath": {"path": "/"}}, "hostPath"),
        (("containers", 0, "resources", "limits", "memory"), "64Gi", "memory"),
        (("serviceAccountName",), "job-nobody", "job-nobody"),
    ],
)
def test_the_server_refuses_what_must_not_run(path: tuple[Any, ...], value: Any, word: str, cluster: Cluster) -> None:
    pod = copy.deepcopy(next(iter(pods("production").values())))
    where: Any = pod["spec"]
    for part in path[:-1]:
        where = where[part]
    where[path[-1]] = value
    assert word in cluster.create_pod(pod, dry_run=True)
