"""A cluster for tests, whoever's it is: the address comes from ``KUBECONFIG``; the platform's own chart makes the place for pods."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import NotFoundError

from include.pods.operator import NAMESPACE

MANAGER = "ol-tests"


def variable(name: str, meaning: str) -> str:
    """An address that these tests are given. Fails loudly without it: a tier that cannot run must not look as if it had."""
    value = os.environ.get(name, "")
    if not value:
        pytest.fail(f"{name} is not set: it names {meaning}. See docs/howto/test-on-kubernetes.md", pytrace=False)
    return value


class Cluster:
    """A running Kubernetes, spoken to with the rights of ``KUBECONFIG``."""

    def __init__(self, kubeconfig: str) -> None:
        self.kubeconfig = kubeconfig
        self._api = config.new_client_from_config(kubeconfig)
        self.core = client.CoreV1Api(self._api)
        self._dynamic = DynamicClient(self._api)

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

    def pods(self, selector: str = "", namespace: str = NAMESPACE) -> list[client.V1Pod]:
        """The pods of a namespace."""
        return list(self.core.list_namespaced_pod(namespace, label_selector=selector).items)

    def wait_for(self, what: str, condition: Callable[[], Any], seconds: float = 60.0) -> Any:
        """The first true answer of ``condition``. Fails the test after ``seconds``."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := condition():
                return found
            time.sleep(0.2)
        return pytest.fail(f"after {seconds:.0f} s: {what}")

    def create_pod(self, pod: dict[str, Any], *, dry_run: bool = False) -> str:
        """Empty when the API server takes the pod, else its refusal."""
        try:
            self.core.create_namespaced_pod(NAMESPACE, pod, **({"dry_run": "All"} if dry_run else {}))
        except ApiException as error:
            return str(error.body)
        return ""


@contextmanager
def installed(cluster: Cluster, documents: list[dict[str, Any]]) -> Iterator[None]:
    """These objects, for the length of a block, and afterwards no pod of theirs."""
    cluster.apply(documents)
    try:
        yield
    finally:
        cluster.delete(documents)
