"""A real Airflow in the cluster: its four components from the platform's image with the chart's values, and Postgres behind PgBouncer.

One for a session; see the fixture ``airflow_cluster``. What differs from ``helm/airflow/{base,local}.yaml`` is what a deployment gives with ``--set``
(:func:`given_at_deploy`) and a second DAG bundle with the DAGs of these tests.
"""

from __future__ import annotations

import base64
import contextlib
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from include.local.airflow_api import TERMINAL, AirflowApi, AirflowApiError, Task
from include.pods.operator import LAKE_KEYS, NAMESPACE
from tests.helm.charts import RELEASE_NAMESPACE, Values, airflow_values, merged, objects, platform_deployed
from tests.kubernetes.addresses import ObjectStore, Service, Trino, host_for_pods, seen_from_pods
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.forward import Forward
from tests.kubernetes.logs import stored_log
from tests.kubernetes.node import Node
from tests.kubernetes.release import COMPONENTS, RELEASE, Release
from tests.kubernetes.services import SERVICES_NAMESPACE, namespace, postgres, secret

T = TypeVar("T")
DAGS = Path(__file__).parent / "dags"
TEST_ROOT = "/opt/tests"
LOCATION = "tests"  # a code location of its own, as a platform's next one would be: bundle, identity of its workers, secrets
PASSWORD = re.compile(r"Password for user 'admin': ([0-9A-Za-z]+)")
STORED = "s3://object_store@"
READY_SECONDS = 600.0
TASKS_AT_ONCE = 64  # of the session's one scheduler, as many as of production's two; they share its memory


@dataclass(frozen=True)
class Given:
    """What a deployment knows and the values do not: the images' tag, addresses, and a name that keeps sessions apart on the object store."""

    tag: str
    store: ObjectStore
    trino: Trino
    airbyte: Service
    session: str = field(default_factory=lambda: f"kubernetes-tests/{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(2)}")

    @property
    def root(self) -> str:
        """The session's own prefix on the object store."""
        return f"s3://{self.store.bucket}/{self.session}"


def airflow_given(given: Given, over: Values) -> Values:
    """Values of the official chart: the files, and what is given at deploy."""
    values = airflow_values("local")
    dags = [{"name": path.name, "mountPath": f"{TEST_ROOT}/dags/{path.name}", "subPath": path.name} for path in sorted(DAGS.glob("*.py"))]
    mounts = [{**dag, "name": "test-dags", "readOnly": True} for dag in dags]
    kwargs = {"root": TEST_ROOT, "dags": "*.py", "service_account": f"airflow-worker-{LOCATION}"}
    bundle = {"name": LOCATION, "classpath": "release_bundle.ReleaseBundle", "kwargs": kwargs}
    deployed: Values = {
        "images": {
            "airflow": {"tag": given.tag},
            "pgbouncer": {"repository": "ol-data-platform/test-databases", "tag": given.tag, "pullPolicy": "IfNotPresent"},
        },
        "global": {
            "workRoot": f"{given.root}/work",
            "releases": f"{STORED}{given.store.bucket}/{given.session}/work/releases",
            "catalog": given.trino.catalog,
        },
        "volumes": [*values["volumes"], {"name": "test-dags", "configMap": {"name": "test-dags"}}],
        "volumeMounts": [*values["volumeMounts"], *mounts],
        "dagProcessor": {"dagBundleConfigList": [*values["dagProcessor"]["dagBundleConfigList"], bundle]},
        "scheduler": {"resources": {"limits": {"memory": "12Gi"}}},
        "config": {
            "core": {"parallelism": TASKS_AT_ONCE, "dagbag_import_timeout": 400},
            "dag_processor": {"dag_file_processor_timeout": 450},
            "logging": {"remote_base_log_folder": f"{given.root}/logs"},
            "common.io": {"xcom_objectstorage_path": f"{STORED}{given.store.bucket}/{given.session}/xcom"},
        },
    }
    return merged(merged(values, deployed), over)


def platform_given(given: Given) -> Values:
    """Values of the platform's own chart for the services beside the test."""
    trino = given.trino
    here = {"to": [{"ipBlock": {"cidr": f"{host_for_pods()}/32"}}]}

    def peer(port: int) -> Values:
        return {**here, "ports": [{"protocol": "TCP", "port": port}]}

    urls = {"objectStore": given.store.endpoint, "catalog": trino.catalog_uri, "airbyte": given.airbyte.url}
    ports = {name: urlsplit(url).port or 80 for name, url in urls.items()}
    properties = {
        "uri": re.sub(r"//[^@/]*@", "//", seen_from_pods(trino.catalog_uri)),  # without its password: LAKE_KEYS brings it whole
        "warehouse": trino.warehouse,
        "s3.endpoint": seen_from_pods(given.store.endpoint),
        "s3.region": given.store.region,
    }
    lake = {"trino": {"host": trino.host_in_pods, "port": trino.port, "scheme": "http"}, "catalog": trino.catalog, "properties": properties}
    own = {"lake": lake, "locations": {LOCATION: {}}}
    return merged(platform_deployed("local"), {**own, "peers": {"trino": peer(trino.port), **{name: peer(port) for name, port in ports.items()}}})


def object_store_variables(store: ObjectStore) -> dict[str, str]:
    """What S3 clients in pods read."""
    return {
        "AWS_ACCESS_KEY_ID": store.key,
        "AWS_SECRET_ACCESS_KEY": store.secret,
        "AWS_ENDPOINT_URL": seen_from_pods(store.endpoint),
        "AWS_DEFAULT_REGION": store.region,
    }


def place_objects(given: Given) -> list[Values]:
    """Namespaces, the platform's own chart, and the secrets that jobs are given."""
    trino, store = given.trino, given.store
    prefix = f"PYICEBERG_CATALOG__{trino.catalog.upper()}__"
    keys = {
        **object_store_variables(store),
        f"{prefix}URI": seen_from_pods(trino.catalog_uri),
        f"{prefix}S3__ACCESS_KEY_ID": store.key,
        f"{prefix}S3__SECRET_ACCESS_KEY": store.secret,
    }
    chart = sorted(objects(platform_given(given)), key=lambda one: one["kind"] != "Namespace")
    credentials = {"trino-user": trino.user, "trino-password": "not-used-without-tls"}
    return [
        *(namespace(name) for name in (RELEASE_NAMESPACE, SERVICES_NAMESPACE)),
        *chart,
        secret("lake-credentials", NAMESPACE, credentials),
        secret(LAKE_KEYS, NAMESPACE, keys),
    ]


def airflow_secrets(given: Given, password: str) -> list[Values]:
    """The secrets that ``requiredSecrets`` of the platform's chart lists for Airflow's namespace."""
    login = f"postgresql+psycopg2://airflow:{password}"
    store = given.store
    extra = {"endpoint_url": seen_from_pods(store.endpoint), "region_name": store.region}
    airbyte = given.airbyte
    connections = {
        "object-store": json.dumps({"conn_type": "aws", "login": store.key, "password": store.secret, "extra": extra}),
        "airbyte": json.dumps({"conn_type": "airbyte", "host": seen_from_pods(airbyte.url), "login": airbyte.user, "password": airbyte.password}),
    }
    addresses = {
        "connection": f"{login}@{RELEASE}-pgbouncer:6543/airflow",
        "migration": f"{login}@postgres.{SERVICES_NAMESPACE}.svc:5432/airflow",
    }
    keys = {
        "fernet-key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "jwt-secret": secrets.token_hex(64),
        "api-secret-key": secrets.token_hex(32),
    }
    stats = secrets.token_hex(16)
    users = {
        "users.txt": f'"airflow" "{password}"\n"pgbouncer_stats" "{stats}"\n',
        "stats-connection": f"postgresql://pgbouncer_stats:{stats}@127.0.0.1:6543/pgbouncer?sslmode=disable",
    }
    found = {
        "ol-airflow-database": addresses,
        "ol-airflow-keys": keys,
        "ol-airflow-connections": connections,
        "ol-airflow-object-store": object_store_variables(store),
        "ol-pgbouncer": users,
    }
    return [secret(name, RELEASE_NAMESPACE, values) for name, values in found.items()]


@dataclass
class AirflowCluster:
    """The running Airflow: its REST API, its pods, its database."""

    cluster: Cluster
    given: Given
    release: Release
    api: AirflowApi
    database: str
    """Address of Postgres itself, past PgBouncer, for tests that look."""

    # --- runs ------------------------------------------------------------------------------------

    def run(self, dag_id: str, conf: dict[str, Any] | None = None, seconds: float = 300.0) -> tuple[str, list[Task]]:
        """Starts a run and waits for its end; its id and its tasks. Fails the test when it does not end in time, not when it fails."""
        run_id = self.start(dag_id, conf)
        return run_id, self.finished(dag_id, run_id, seconds)

    def start(self, dag_id: str, conf: dict[str, Any] | None = None) -> str:
        """Starts a run; its id."""
        self.api.wait_for_dags({dag_id}, 450)
        self.api.unpause(dag_id)
        return self.api.trigger(dag_id, conf)

    def state(self, dag_id: str, run_id: str) -> str:
        """The run's state."""
        return str(self.api.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def patiently(self, ask: Callable[[], T], seconds: float = 120.0) -> T:
        """What the API answers, when an outage of Airflow is waited through."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return ask()
            except AirflowApiError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)

    def finished(self, dag_id: str, run_id: str, seconds: float = 300.0) -> list[Task]:
        """The run's tasks once it has ended; outages of Airflow on the way are waited through."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if self.patiently(lambda: self.state(dag_id, run_id), left) in TERMINAL:
                return self.patiently(lambda: self.api.tasks(dag_id, run_id))
            time.sleep(0.5)
        return pytest.fail(f"{dag_id}, run {run_id}, did not end within {seconds:.0f} s: {self.tasks_if_any(dag_id, run_id)}")

    def tasks_if_any(self, dag_id: str, run_id: str) -> list[Task] | str:
        """The run's tasks, or why they cannot be told."""
        try:
            return self.api.tasks(dag_id, run_id)
        except AirflowApiError as error:
            return str(error)

    def log(self, dag_id: str, run_id: str, task: Task, words: str = "") -> str:
        """The log of a task's last try, as Airflow's UI shows it: a line of JSON for each line. Waits a while for the words that are to be in it."""
        return stored_log(self.api, dag_id, run_id, task, words)

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """What a task returned; ``None`` when it returned nothing. Of a large result the API tells only where it lies."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        answer = self.api.call("GET", path, allow=(404,), deserialize="true")
        value = answer["value"] if answer else None
        if isinstance(value, str) and value.startswith(STORED):
            return json.loads(self.given.store.files().cat_file(value.removeprefix(STORED)))
        return value

    # --- components ------------------------------------------------------------------------------

    def pods(self, component: str) -> list[client.V1Pod]:
        """The pods of ``scheduler``, ``api-server``, ``dag-processor``, ``triggerer``, ``pgbouncer`` or ``worker`` that are not being deleted."""
        return [pod for pod in self.cluster.pods(f"component={component}", RELEASE_NAMESPACE) if pod.metadata.deletion_timestamp is None]

    def kill(self, component: str, node: Node, signal: str = "KILL", at_most: int | None = None) -> list[str]:
        """Ends the first process of a component's containers on the node, as a crash does; the names of the pods, which stay."""
        pods = [pod for pod in self.pods(component) if pod.status.phase == "Running"][:at_most]
        for pod in pods:
            node.kill(pod, "base" if component == "worker" else component, signal)
        return [pod.metadata.name for pod in pods]

    def kill_postgres(self, node: Node) -> None:
        """As :meth:`kill`, for the metadata database; its data stay."""
        for pod in self.cluster.pods("app=postgres", SERVICES_NAMESPACE):
            node.kill(pod, "postgres")

    def delete(self, component: str, at_most: int | None = None) -> list[str]:
        """Takes a component's pods away as a lost node would, without time to end; the names of the pods."""
        pods = self.pods(component)[:at_most]
        for pod in pods:
            self.cluster.core.delete_namespaced_pod(pod.metadata.name, RELEASE_NAMESPACE, grace_period_seconds=0)
        return [pod.metadata.name for pod in pods]

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Waits until every pod of the release is ready."""
        wait_until_ready(self.cluster, seconds)

    @contextmanager
    def deployed_with(self, over: Values, folder: Path) -> Iterator[None]:
        """Other values of the official chart for the length of a block: an upgrade, and the way back, of a running Airflow. ``folder`` is scratch space."""
        try:
            self._deploy(Release.of(airflow_given(self.given, over), folder))
            yield
        finally:
            self._deploy(self.release)

    def _deploy(self, release: Release) -> None:
        self.cluster.apply(release.objects())
        self.wait_until_ready()
        # those of before have a while to end, in which the scheduler among them waits for its tasks: what starts now is for the new ones
        self.cluster.wait_for("pods of the version before are still there", lambda: not self._leaving(), READY_SECONDS)

    def _leaving(self) -> list[client.V1Pod]:
        return [pod for pod in self.cluster.pods(namespace=RELEASE_NAMESPACE) if pod.metadata.deletion_timestamp is not None]


# --- making it -----------------------------------------------------------------------------------


@contextmanager
def running_airflow(cluster: Cluster, given: Given, folder: Path, over: Values | None = None) -> Iterator[AirflowCluster]:
    """Airflow for the length of a block, in the namespaces that :func:`place_objects` made.

    :param over: further values of the official chart.
    """
    password = secrets.token_hex(16)
    release = Release.of(airflow_given(given, over or {}), folder)
    dags = {path.name: path.read_text(encoding="utf-8") for path in DAGS.glob("*.py")}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "test-dags", "namespace": RELEASE_NAMESPACE}, "data": dags}
    image = release.values["images"]["pgbouncer"]
    cluster.apply([*postgres(f"{image['repository']}:{image['tag']}", password), *airflow_secrets(given, password), config])
    cluster.wait_for_deployments(SERVICES_NAMESPACE, ["postgres"], 120)
    # as Helm does: the release's objects, then its hook, for which every component waits
    hook = release.migration()
    cluster.apply([*release.objects(), hook])
    forwards = [
        Forward(cluster.new_core, RELEASE_NAMESPACE, "component=api-server", 8080),
        Forward(cluster.new_core, SERVICES_NAMESPACE, "app=postgres", 5432),
    ]
    try:
        cluster.wait_for_job(RELEASE_NAMESPACE, hook["metadata"]["name"], READY_SECONDS)
        wait_until_ready(cluster)
        api = AirflowApi(f"http://127.0.0.1:{forwards[0].port}", "admin", _password(cluster))
        api.call("GET", "/version")  # logs in: each pod of the API server has a password of its own, and its tokens outlive it
        found = AirflowCluster(cluster, given, release, api, f"postgresql://airflow:{password}@127.0.0.1:{forwards[1].port}/airflow?connect_timeout=10")
        yield found
    finally:
        for forward in forwards:
            forward.close()


def wait_until_ready(cluster: Cluster, seconds: float = READY_SECONDS) -> None:
    """Waits until every deployment of the release has all its pods ready."""
    cluster.wait_for_deployments(RELEASE_NAMESPACE, [f"{RELEASE}-{name}" for name in (*COMPONENTS.values(), "pgbouncer")], seconds)


def _password(cluster: Cluster) -> str:
    """The simple auth manager prints the password that it made into the API server's log (helm/airflow/local.yaml)."""
    (pod,) = cluster.pods("component=api-server", RELEASE_NAMESPACE)

    def read() -> re.Match[str] | None:
        for previous in (False, True):  # it is told once, also when the container started again since
            with contextlib.suppress(ApiException):
                log = cluster.core.read_namespaced_pod_log(pod.metadata.name, RELEASE_NAMESPACE, container="api-server", previous=previous)
                if found := PASSWORD.search(log):
                    return found
        return None

    return str(cluster.wait_for("the API server did not print admin's password", read, 60)[1])
