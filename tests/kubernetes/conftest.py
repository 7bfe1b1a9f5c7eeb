"""The tier on a real cluster. It takes addresses alone; docs/howto/test-on-kubernetes.md lists them."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from pyiceberg.table import Table

from include.lake.catalog import ensure_table, open_catalog
from include.lake.names import TableRef
from include.local.airflow_api import AirflowApi
from include.local.data.generate import generate
from include.local.platform import Platform
from include.pods.operator import NAMESPACE
from tests.kubernetes.addresses import ObjectStore, Trino
from tests.kubernetes.airflow_cluster import AirflowCluster, Given, running_airflow
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.node import Node, node
from tests.kubernetes.session import place_for_pods, running_sources, the_cluster, the_image_tag, what_is_given

SCALE, SEED = 0.02, 7  # of the rows in the application databases
TOLD = pytest.StashKey[list[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kill-rounds", type=int, default=1, help="runs under kills of every component (five: the whole promise)")
    parser.addoption("--queued-runs", type=int, default=40, help="runs that wait for a limit of twenty (300: the whole promise)")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[TOLD] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What was measured on the way."""
    for line in config.stash[TOLD]:
        terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def told(pytestconfig: pytest.Config) -> list[str]:
    """Lines for the end of the session: figures that no test judges."""
    return pytestconfig.stash[TOLD]


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster of ``KUBECONFIG``."""
    return the_cluster()


@pytest.fixture(scope="session")
def image_tag() -> str:
    """The tag under which the cluster has the platform's images."""
    return the_image_tag()


@pytest.fixture(scope="session")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The application databases and the Airbyte stand-in, beside the cluster. It writes to the lake of ``TRINO_CATALOG``, which is empty at first."""
    with running_sources(tmp_path_factory.mktemp("sources")) as platform:
        yield platform
        platform.check()


@pytest.fixture(scope="session")
def filled_sources(sources: Platform) -> Platform:
    """The same, with a first day's rows in the application databases."""
    generate(sources.postgres_dsn, scale=SCALE, seed=SEED, day=0)
    return sources


@pytest.fixture(scope="session")
def given(image_tag: str, sources: Platform) -> Given:
    """What this session's deployment is told."""
    return what_is_given(image_tag, sources)


@pytest.fixture(scope="session")
def place(cluster: Cluster, given: Given) -> Iterator[str]:
    """The namespace of jobs, and all that belongs to it; see :func:`tests.kubernetes.session.place_for_pods`."""
    with place_for_pods(cluster, given):
        yield NAMESPACE


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


@pytest.fixture(scope="session")
def rows(place: str) -> Iterator[Table]:
    """The table that the jobs write to, on the lake that pods write to."""
    trino, store = Trino.from_variables(), ObjectStore.from_variables()
    keys = {"s3.endpoint": store.endpoint, "s3.region": store.region, "s3.access-key-id": store.key, "s3.secret-access-key": store.secret}
    catalog = open_catalog(trino.catalog, {"type": "sql", "uri": trino.catalog_uri, "warehouse": trino.warehouse, **keys})
    table = TableRef(trino.catalog, "kubernetes_tests", "kills")
    yield ensure_table(catalog, table, pa.schema([("key", pa.string())]))
    catalog.drop_table(table.identifier)
