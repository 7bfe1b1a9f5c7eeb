"""The platform's chart before a real API server: strict validation of every object, and real admission of every job pod.

Server-side dry runs store nothing. What they need to stand in (namespaces with names of their own, the accounts and limits of jobs, priority
classes where the cluster has none) is made for the session and deleted after it. The cluster is the one of ``KUBECONFIG``.
"""

from __future__ import annotations

import copy
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from include.pods.operator import NAMESPACE
from tests.helm.charts import ENVIRONMENTS, Values, merged, named, objects, platform_deployed
from tests.helm.test_platform import PODS

pytestmark = pytest.mark.kubernetes

PLURALS = {
    "ConfigMap": "configmaps",
    "LimitRange": "limitranges",
    "Namespace": "namespaces",
    "NetworkPolicy": "networkpolicies",
    "Pod": "pods",
    "PriorityClass": "priorityclasses",
    "ResourceQuota": "resourcequotas",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "ServiceAccount": "serviceaccounts",
}
APPLY = "application/apply-patch+yaml"


class Server:
    """Applies single objects the way ``kubectl apply --server-side`` does, and refuses unknown fields."""

    def __init__(self, path: Path) -> None:
        self.client = config.new_client_from_config(str(path))
        self.core = client.CoreV1Api(self.client)
        self.scheduling = client.SchedulingV1Api(self.client)

    def missing_priority_classes(self, documents: list[Values]) -> list[Values]:
        """Those of these documents that the cluster lacks."""
        there = {one.metadata.name for one in self.scheduling.list_priority_class().items}
        return [one for one in documents if one["kind"] == "PriorityClass" and one["metadata"]["name"] not in there]

    def apply(self, document: Values, *, dry: bool = True) -> Values:
        """What the server would store. Raises ``ApiException`` with its reason."""
        version, metadata = document["apiVersion"], document["metadata"]
        prefix = f"/apis/{version}" if "/" in version else f"/api/{version}"
        folder = f"/namespaces/{metadata['namespace']}" if "namespace" in metadata else ""
        query = [("fieldManager", "ol-tests"), ("force", "true"), ("fieldValidation", "Strict"), *([("dryRun", "All")] if dry else [])]
        found: Any = self.client.call_api(
            f"{prefix}{folder}/{PLURALS[document['kind']]}/{metadata['name']}",
            "PATCH",
            query_params=query,
            header_params={"Content-Type": APPLY, "Accept": "application/json"},
            body=document,
            response_types_map={200: "object", 201: "object"},
            auth_settings=["BearerToken"],
            _return_http_data_only=True,
        )
        return dict(found)


@pytest.fixture(scope="module")
def server() -> Server:
    path = os.environ.get("KUBECONFIG", "")
    if not path or not Path(path).is_file():
        pytest.fail(f"KUBECONFIG: found {path or 'nothing'}; name the configuration of a cluster to try the chart on", pytrace=False)
    return Server(Path(path))


@pytest.fixture(scope="module")
def names(server: Server) -> Iterator[tuple[str, str]]:
    """Two namespaces that are really there: for Airflow's objects, and for jobs with everything that decides over their pods; those of secrets, too."""
    mark = uuid.uuid4().hex[:8]
    airflow, jobs = f"ol-airflow-{mark}", f"ol-jobs-{mark}"
    documents = rendered("local", airflow, jobs)  # with more namespaces than the others
    spaces = [one for one in documents if one["kind"] == "Namespace"]
    deciding = [one for one in documents if one["kind"] in {"ServiceAccount", "ResourceQuota", "LimitRange"}]
    classes = server.missing_priority_classes(documents)
    try:
        server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": airflow}}, dry=False)
        for document in (*spaces, *classes, *deciding):
            server.apply(document, dry=False)
        wait_for_quota(server, jobs)
        yield airflow, jobs
    finally:
        for one in classes:
            gone(server.scheduling.delete_priority_class, one["metadata"]["name"])
        for name in (airflow, *(one["metadata"]["name"] for one in spaces)):
            gone(server.core.delete_namespace, name)


def gone(delete: Callable[[str], Any], name: str) -> None:
    """Deletes what is there."""
    try:
        delete(name)
    except ApiException as error:
        if error.status != 404:
            raise


def wait_for_quota(server: Server, namespace: str) -> None:
    """Until a controller has counted what is used, every pod is refused."""
    for _ in range(100):
        if server.core.read_namespaced_resource_quota("ol-jobs", namespace).status.hard:
            return
        time.sleep(0.2)
    raise AssertionError("the quota of ol-jobs was not counted in 20 s: does the controller manager run?")


def rendered(environment: str, airflow: str, jobs: str) -> list[Values]:
    own = {"jobs": {"namespace": jobs}, "secretStore": {"root": airflow.replace("ol-airflow", "ol-secrets")}}
    return objects(merged(platform_deployed(environment), own), namespace=airflow)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_object_is_valid(environment: str, server: Server, names: tuple[str, str]) -> None:
    documents = rendered(environment, *names)
    assert {one["kind"] for one in documents} == PLURALS.keys() - {"Pod"}
    for document in documents:
        stored = server.apply(document)
        assert stored["metadata"]["name"] == document["metadata"]["name"]


def test_a_wrong_object_is_refused(server: Server, names: tuple[str, str]) -> None:
    policy = named(rendered("qa", *names), "NetworkPolicy", "ol-worker")
    policy["spec"]["egres"] = policy["spec"].pop("egress")
    with pytest.raises(ApiException, match="egres"):
        server.apply(policy)


def admitted(pod: Values, namespace: str, server: Server) -> Values:
    own = copy.deepcopy(pod)
    own["metadata"]["namespace"] = namespace
    return server.apply(own)


@pytest.mark.parametrize("name", PODS)
def test_every_job_pod_is_admitted(name: str, server: Server, names: tuple[str, str]) -> None:
    assert PODS[name]["metadata"]["namespace"] == NAMESPACE
    stored = admitted(PODS[name], names[1], server)
    assert all({"cpu", "memory", "ephemeral-storage"} <= one["resources"]["limits"].keys() for one in stored["spec"]["containers"])


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        (("spec", "containers", 0, "securityContext", "capabilities"), {"add": ["NET_ADMIN"]}, "restricted"),
        (("spec", "containers", 1, "securityContext"), {}, "restricted"),
        (("spec", "hostNetwork"), True, "restricted"),
        (("spec", "volumes", 0), {"name": "xcom", "hostPath": {"path": "/"}}, "restricted"),
        (("spec", "serviceAccountName"), "job-nobody", "job-nobody"),
        (("spec", "containers", 0, "resources", "limits", "memory"), "64Gi", "maximum memory"),
    ],
)
def test_a_pod_that_asks_for_more_is_refused(path: tuple[Any, ...], value: Any, reason: str, server: Server, names: tuple[str, str]) -> None:
    pod = copy.deepcopy(PODS["warehouse.build"])
    where: Any = pod
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = value
    with pytest.raises(ApiException, match=reason):
        admitted(pod, names[1], server)


def test_a_pod_without_limits_gets_some(server: Server, names: tuple[str, str]) -> None:
    pod = copy.deepcopy(PODS["warehouse.build"])
    del pod["spec"]["containers"][0]["resources"]
    stored = admitted(pod, names[1], server)
    assert stored["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "256Mi", "ephemeral-storage": "256Mi"}
