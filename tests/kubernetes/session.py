"""What a session on a cluster is made of, for the fixtures and for the benchmark of pods: addresses from variables, services beside, namespaces in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from include.local.paths import Paths
from include.local.platform import Platform, running_platform
from include.pods.operator import NAMESPACE
from tests.kubernetes.addresses import ObjectStore, Service, Trino, variable
from tests.kubernetes.airflow_cluster import AirflowCluster, Given, place_objects, running_airflow
from tests.kubernetes.cluster import Cluster, installed, wait_for_quota
from tests.kubernetes.lake import forget_the_lake
from tests.kubernetes.turn import turn


def the_cluster() -> Cluster:
    """The cluster of ``KUBECONFIG``."""
    return Cluster(variable("KUBECONFIG", "the configuration of a cluster on which tests may make namespaces"))


def the_image_tag() -> str:
    """The tag under which the cluster has the platform's images."""
    return variable("OL_IMAGE_TAG", "the tag of ol-data-platform/{airflow,jobs,dbt,openedx,test-databases} in the cluster (make images test-images TAG=…)")


@contextmanager
def running_sources(folder: Path) -> Iterator[Platform]:
    """The application databases and the Airbyte stand-in, beside the cluster, with an empty lake; their state in ``folder``."""
    forget_the_lake(Trino.from_variables())
    with running_platform(Paths(state=folder), ("services",)) as platform:
        yield platform


def what_is_given(image_tag: str, sources: Platform) -> Given:
    """What a deployment is told: the services beside it, and a prefix of its own on the object store."""
    airbyte = Service(sources.airbyte_url, *sources.airbyte_login)
    return Given(image_tag, ObjectStore.from_variables(), Trino.from_variables(), airbyte)


@contextmanager
def place_for_pods(cluster: Cluster, given: Given) -> Iterator[None]:
    """The namespaces, made by the platform's own chart, with quota, limits, service accounts, rights and policies; one session at a time has them."""
    objects = place_objects(given)
    names = tuple(one["metadata"]["name"] for one in objects if one["kind"] == "Namespace")
    with turn(cluster.leases):
        cluster.remove_namespaces(names)  # of a session that was killed
        with installed(cluster, objects):
            cluster.wait_for("no default service account", lambda: cluster.core.list_namespaced_service_account(NAMESPACE).items)
            wait_for_quota(cluster)
            yield
            cluster.remove_namespaces(names)


@contextmanager
def airflow_on_the_cluster(folder: Path) -> Iterator[AirflowCluster]:
    """All of it for the length of a block. ``folder`` is scratch space."""
    cluster, tag = the_cluster(), the_image_tag()
    with running_sources(folder / "sources") as sources:
        given = what_is_given(tag, sources)
        with place_for_pods(cluster, given), running_airflow(cluster, given, folder / "chart") as airflow:
            yield airflow
