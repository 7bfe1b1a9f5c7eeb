"""A cluster for tests, whoever's it is: the address comes from ``KUBECONFIG``; the platform's own chart makes the place for pods."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import NotFoundError
from urllib3.exceptions import HTTPError

from include.pods.operator import NAMESPACE

MANAGER = "ol-tests"
WIDE = {"cpu": "1000", "memory": "1000Gi"}  # so that a quota of pods is one of pods


class Cluster:
    """A running Kubernetes, spoken to with the rights of ``KUBECONFIG``."""

    def __init__(self, kubeconfig: str) -> None:
        self.kubeconfig = kubeconfig
        self._api = config.new_client_from_config(kubeconfig)
        self.core = client.CoreV1Api(self._api)
        self.leases = client.CoordinationV1Api(self._api)
        self._apps = client.AppsV1Api(self._api)
        self._jobs = client.BatchV1Api(self._api)
        self._dynamic = DynamicClient(self._api)

    def new_core(self) -> client.CoreV1Api:
        """A client with connections of its own, for a thread, a watch or a stream."""
        return client.CoreV1Api(config.new_client_from_config(self.kubeconfig))

    def apply(self, documents: list[dict[str, Any]]) -> None:
        """Server-side apply, unknown fields refused. Raises ``ApiException`` with the server's words."""
        for document in documents:
            resource = self._dynamic.resources.get(api_version=document["apiVersion"], kind=document["kind"])
            self._dynamic.server_side_apply(
                resource,
                body=document,
                name=document["metadata"]["name"],
                namespace=document["metadata"].get("namespace"),
                field_manager=MANAGER,
                force_conflicts=True,
                field_validation="Strict",
            )

    def delete(self, documents: list[dict[str, Any]]) -> None:
        """Deletes what is there of these, the last first."""
        for document in reversed(documents):
            resource = self._dynamic.resources.get(api_version=document["apiVersion"], kind=document["kind"])
            try:
                resource.delete(name=document["metadata"]["name"], namespace=document["metadata"].get("namespace"))
            except NotFoundError:
                continue

    def remove_namespaces(self, names: tuple[str, ...], seconds: float = 300.0) -> None:
        """Deletes what is there of these with all that is in them, and waits until it is gone."""
        for name in names:
            with contextlib.suppress(ApiException):
                self.core.delete_namespace(name)  # first, so that nobody makes the pods anew
            with contextlib.suppress(ApiException):
                self.core.delete_collection_namespaced_pod(name, grace_period_seconds=0)  # or they would take their time to end
        self.wait_for(f"namespaces are left of {names}", lambda: not {one.metadata.name for one in self.core.list_namespace().items} & set(names), seconds)

    def pods(self, selector: str = "", namespace: str = NAMESPACE) -> list[client.V1Pod]:
        """The pods of a namespace."""
        return list(self.core.list_namespaced_pod(namespace, label_selector=selector).items)

    def plain(self, model: Any) -> Any:
        """A model of the client as the API's own JSON."""
        return self._api.sanitize_for_serialization(model)

    def wait_for(self, what: str, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """The first true answer of ``condition``. Fails the test after ``seconds``; an API server that is away meanwhile is waited for."""
        deadline = time.monotonic() + seconds
        away: Exception | None = None
        while time.monotonic() < deadline:
            try:
                if found := condition():
                    return found
                away = None
            except (ApiException, HTTPError) as error:
                if isinstance(error, ApiException) and error.status and error.status != 429 and error.status < 500:
                    raise
                away = error
            time.sleep(0.2)
        return pytest.fail(f"after {seconds:.0f} s: {what}{f'; the API server: {away}' if away else ''}")

    def wait_for_deployments(self, namespace: str, names: list[str], seconds: float) -> None:
        """Waits until all pods of these deployments are ready. Fails the test with what the others say of themselves."""
        deadline = time.monotonic() + seconds
        while waiting := [name for name in names if not self._is_ready(namespace, name)]:
            if time.monotonic() > deadline:
                pytest.fail(f"after {seconds:.0f} s not ready in {namespace}: {', '.join(waiting)}\n{self.troubles(namespace)}", pytrace=False)
            time.sleep(0.5)

    def wait_for_job(self, namespace: str, name: str, seconds: float) -> None:
        """Waits until a job has succeeded. Fails the test with what its pods say when it has failed, or not ended in time."""
        deadline = time.monotonic() + seconds
        while not (status := self._jobs.read_namespaced_job(name, namespace).status).succeeded:
            failed = any(condition.type == "Failed" and condition.status == "True" for condition in status.conditions or ())
            if failed or time.monotonic() > deadline:
                pytest.fail(f"job {namespace}/{name} has not succeeded\n{self.troubles(namespace)}", pytrace=False)
            time.sleep(0.5)

    def _is_ready(self, namespace: str, name: str) -> bool:
        found = self._apps.read_namespaced_deployment(name, namespace)
        seen = found.status.observed_generation == found.metadata.generation
        counts = (found.status.replicas, found.status.updated_replicas, found.status.ready_replicas)
        return bool(seen and set(counts) == {found.spec.replicas})  # the first counts those of an older version too

    def troubles(self, namespace: str) -> str:
        """What a namespace's unready pods and their containers say: for the message of a failed test."""
        lines = [f"{event.involved_object.name}: {event.message}" for event in self.core.list_namespaced_event(namespace).items if event.type == "Warning"]
        for pod in self.pods(namespace=namespace):
            for status in [*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())]:
                if status.ready or (status.state.terminated and status.state.terminated.exit_code == 0):
                    continue
                state = status.state.waiting or status.state.running or status.state.terminated
                lines.append(f"{pod.metadata.name}/{status.name}: restarts {status.restart_count}, {state}")
                for previous in (True, False):
                    with contextlib.suppress(ApiException):
                        lines.append(self.core.read_namespaced_pod_log(pod.metadata.name, namespace, container=status.name, tail_lines=20, previous=previous))
        return "\n".join(lines[-40:])

    def create_pod(self, pod: dict[str, Any], *, dry_run: bool = False) -> str:
        """Empty when the API server takes the pod, else its refusal."""
        try:
            self.core.create_namespaced_pod(NAMESPACE, pod, **({"dry_run": "All"} if dry_run else {}))
        except ApiException as error:
            return str(error.body)
        return ""


def working_since(pod: client.V1Pod) -> datetime | None:
    """Since when a pod's job itself works; none when it does not, or its pod is being deleted."""
    states = [status.state for status in pod.status.container_statuses or () if status.name == "base"]
    works = pod.metadata.deletion_timestamp is None and states and states[0].running
    return states[0].running.started_at if works else None


@contextmanager
def installed(cluster: Cluster, documents: list[dict[str, Any]]) -> Iterator[None]:
    """These objects, for the length of a block, and afterwards no pod of theirs."""
    cluster.apply(documents)
    try:
        yield
    finally:
        cluster.delete(documents)


def wait_for_quota(cluster: Cluster) -> None:
    """Waits until the quota of the jobs' namespace is counted: admission goes by what was counted, and refuses all before."""

    def counted() -> bool:
        (quota,) = cluster.core.list_namespaced_resource_quota(NAMESPACE).items
        return bool(quota.status.hard) and quota.status.hard["pods"] == quota.spec.hard["pods"]

    cluster.wait_for(f"the quota of {NAMESPACE} is not counted", counted)


@contextmanager
def room_for(cluster: Cluster, pods: int) -> Iterator[None]:
    """A quota under which so many pods fit into the jobs' namespace, whatever they ask for, until the block ends."""
    (quota,) = cluster.core.list_namespaced_resource_quota(NAMESPACE).items
    name, before = quota.metadata.name, quota.spec.hard
    hard = {key: str(pods) if key == "pods" else WIDE.get(key.rpartition(".")[2], value) for key, value in before.items()}
    cluster.core.patch_namespaced_resource_quota(name, NAMESPACE, {"spec": {"hard": hard}})
    try:
        wait_for_quota(cluster)
        yield
    finally:
        cluster.core.patch_namespaced_resource_quota(name, NAMESPACE, {"spec": {"hard": before}})
