"""The tier on a real cluster. It takes addresses alone: ``KUBECONFIG`` and ``OL_IMAGE_TAG``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.repository import copy_code
from include.local.airflow_api import AirflowApi
from include.local.paths import Paths
from include.local.platform import running_platform
from include.pods.operator import NAMESPACE
from tests.helm.charts import RELEASE_NAMESPACE, platform_objects
from tests.kubernetes.cluster import Cluster, installed, variable

DAGS = Path(__file__).parent / "dags"


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster of ``KUBECONFIG``."""
    return Cluster(variable("KUBECONFIG", "the configuration of a cluster on which tests may make namespaces"))


@pytest.fixture(scope="session")
def image_tag() -> str:
    """The tag under which the cluster has the platform's images."""
    return variable("OL_IMAGE_TAG", "the tag of ol-data-platform/{airflow,jobs,dbt} in the cluster (make images TAG=…)")


@pytest.fixture(scope="session")
def place(cluster: Cluster) -> Iterator[str]:
    """The namespace for job pods, made by the platform's own chart, with its quota, limits, service accounts and policies."""
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": RELEASE_NAMESPACE}}
    objects = sorted(platform_objects("local"), key=lambda one: one["kind"] != "Namespace")
    with installed(cluster, [namespace, *objects]):
        cluster.apply([_secret("lake-credentials", {"trino-user": "ol", "trino-password": "not-used-without-tls"})])
        cluster.wait_for("no default service account", lambda: cluster.core.list_namespaced_service_account(NAMESPACE).items)
        yield NAMESPACE
        cluster.core.delete_collection_namespaced_pod(NAMESPACE, grace_period_seconds=0)


@pytest.fixture(scope="session")
def airflow(place: str, image_tag: str, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowApi]:
    """A real Airflow beside the cluster, with the DAGs of ``tests/kubernetes/dags``; its tasks run in pods."""
    folder = tmp_path_factory.mktemp("pods")
    code = copy_code(folder / "code", {path.name: path.read_text(encoding="utf-8") for path in DAGS.glob("*.py")})
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"OL_RUNTIME": "pod", "OL_IMAGE_TAG": image_tag, "KUBECONFIG": cluster.kubeconfig}.items():
            patch.setenv(name, value)
        with running_platform(Paths(root=code, state=folder / "state"), ("airflow",)) as platform:
            yield AirflowApi(platform.airflow_url, *platform.airflow_login)
            platform.check()


def _secret(name: str, values: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}, "stringData": values}
