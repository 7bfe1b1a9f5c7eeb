"""The tier on a real cluster. It takes addresses alone; docs/howto/test-on-kubernetes.md lists them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from include.local.airflow_api import AirflowApi
from include.local.paths import Paths
from include.local.platform import Platform, running_platform
from include.pods.operator import NAMESPACE
from tests.kubernetes.addresses import ObjectStore, Service, Trino, variable
from tests.kubernetes.airflow_cluster import AirflowCluster, Given, place_objects, running_airflow
from tests.kubernetes.cluster import Cluster, installed
from tests.kubernetes.lake import forget_the_lake
from tests.kubernetes.node import Node, node
from tests.kubernetes.turn import turn


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster of ``KUBECONFIG``."""
    return Cluster(variable("KUBECONFIG", "the configuration of a cluster on which tests may make namespaces"))


@pytest.fixture(scope="session")
def image_tag() -> str:
    """The tag under which the cluster has the platform's images."""
    return variable("OL_IMAGE_TAG", "the tag of ol-data-platform/{airflow,jobs,dbt,openedx,test-databases} in the cluster (make images test-images TAG=…)")


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The application databases and the Airbyte stand-in, beside the cluster. It writes to the lake of ``TRINO_CATALOG``, which is empty at first."""
    forget_the_lake(Trino.from_variables())
    with running_platform(Paths(state=tmp_path_factory.mktemp("sources")), ("services",)) as platform:
        yield platform
        platform.check()


@pytest.fixture(scope="session")
def given(image_tag: str, sources: Platform) -> Given:
    """What this session's deployment is told: the services beside the test, and a prefix of its own on the object store."""
    airbyte = Service(sources.airbyte_url, *sources.airbyte_login)
    return Given(image_tag, ObjectStore.from_variables(), Trino.from_variables(), airbyte)


@pytest.fixture(scope="session")
def place(cluster: Cluster, given: Given) -> Iterator[str]:
    """The namespaces, made by the platform's own chart, with quota, limits, service accounts, rights and policies."""
    objects = place_objects(given)
    names = tuple(one["metadata"]["name"] for one in objects if one["kind"] == "Namespace")
    with turn(cluster.leases):
        cluster.remove_namespaces(names)  # of a session that was killed
        with installed(cluster, objects):
            cluster.wait_for("no default service account", lambda: cluster.core.list_namespaced_service_account(NAMESPACE).items)
            yield NAMESPACE
            cluster.remove_namespaces(names)


@pytest.fixture(scope="session")
def airflow_cluster(place: str, given: Given, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowCluster]:
    """The session's one Airflow in the cluster, with the platform's DAGs and those of ``tests/kubernetes/dags``."""
    with running_airflow(cluster, given, tmp_path_factory.mktemp("chart")) as running:
        yield running


@pytest.fixture(scope="session")
def airflow(airflow_cluster: AirflowCluster) -> AirflowApi:
    """Its REST API."""
    return airflow_cluster.api


@pytest.fixture(scope="session")
def cluster_node(place: str, cluster: Cluster, image_tag: str) -> Iterator[Node]:
    """The node, for kills."""
    with node(cluster, image_tag) as found:
        yield found
