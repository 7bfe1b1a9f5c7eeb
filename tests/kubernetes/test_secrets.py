"""Secrets on a real API server: who may list which, and what a new value and a right that is taken away do. What comes out of pods: test_canaries.py."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import secret_sources
import yaml
from airflow.sdk import Connection
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from platform_secrets import PlatformSecrets
from secret_sources import SecretsDeniedError, SecretsUnavailableError

from tests.helm.charts import RELEASE_NAMESPACE
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.services import SECRETS_ROOT, connection_secret

pytestmark = [pytest.mark.kubernetes, pytest.mark.usefixtures("place")]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No value of an earlier test."""
    secret_sources._stores.clear()
    yield
    secret_sources._stores.clear()


def put(cluster: Cluster, location: str, conn_id: str, password: str) -> None:
    """A connection as Airflow's provider wants it. It stays for the rest of the session: none may have the name of one that DAGs use."""
    cluster.apply([connection_secret(location, conn_id, password)])


def kubeconfig(cluster: Cluster, account: str, folder: Path, server: str = "") -> str:
    """What a pod of this account could do, for a process beside the cluster."""
    config = yaml.safe_load(Path(cluster.kubeconfig).read_text(encoding="utf-8"))
    request = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[], expiration_seconds=600))
    answer: Any = cluster.core.create_namespaced_service_account_token(account, RELEASE_NAMESPACE, request)
    for user in config["users"]:
        user["user"] = {"token": answer.status.token}
    for one in config["clusters"] if server else ():
        one["cluster"]["server"] = server
    path = folder / f"{account}{'-elsewhere' if server else ''}.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module", autouse=True)
def rights(place: str, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The API server knows a right a moment after it was given."""
    from kubernetes import config

    for location in ("openedx", "platform"):
        api = client.CoreV1Api(config.new_client_from_config(kubeconfig(cluster, f"airflow-worker-{location}", tmp_path_factory.mktemp("rights"))))

        def known(api: client.CoreV1Api = api, location: str = location) -> bool:
            try:
                return bool(api.list_namespaced_secret(f"{SECRETS_ROOT}-{location}") and api.list_namespaced_secret(f"{SECRETS_ROOT}-shared"))
            except ApiException as error:
                if error.status != 403:
                    raise
                return False

        cluster.wait_for(f"the worker of {location} may not list secrets", known, 30)


def backend(kubeconfig: str, locations: str, **settings: Any) -> PlatformSecrets:
    found = PlatformSecrets("kubernetes", SECRETS_ROOT, locations, **{"timeout_seconds": 10, **settings}, kubeconfig=kubeconfig)
    found._set_connection_class(Connection)
    return found


def test_a_locations_worker_reads_its_own_and_what_all_share(cluster: Cluster, tmp_path: Path) -> None:
    put(cluster, "openedx", "forum", "Zq9-of-openedx")
    put(cluster, "shared", "of_all", "Zq9-of-all")
    put(cluster, "platform", "of_platform", "Zq9-of-the-platform")
    worker = kubeconfig(cluster, "airflow-worker-openedx", tmp_path)
    found = backend(worker, "openedx,shared")
    assert [found.get_connection(name).password for name in ("forum", "of_all")] == ["Zq9-of-openedx", "Zq9-of-all"]
    assert found.get_connection("of_platform") is None
    with pytest.raises(SecretsDeniedError, match="Kubernetes refuses secrets of namespace ol-secrets-platform"):
        backend(worker, "platform").get_connection("of_platform")
    assert backend(kubeconfig(cluster, "airflow-worker-platform", tmp_path), "platform").get_connection("of_platform").password == "Zq9-of-the-platform"


def test_a_worker_lists_no_secrets_elsewhere(cluster: Cluster, tmp_path: Path) -> None:
    from kubernetes import config

    api = client.CoreV1Api(config.new_client_from_config(kubeconfig(cluster, "airflow-worker-openedx", tmp_path)))
    for namespace in (RELEASE_NAMESPACE, "ol-jobs", "ol-secrets-platform", "kube-system"):
        with pytest.raises(ApiException) as caught:
            api.list_namespaced_secret(namespace)
        assert caught.value.status == 403


def test_a_new_value_is_seen_without_a_restart(cluster: Cluster, tmp_path: Path) -> None:
    put(cluster, "openedx", "rotated", "Zq9-old")
    found = backend(kubeconfig(cluster, "airflow-worker-openedx", tmp_path), "openedx", cache_seconds=1)
    assert found.get_connection("rotated").password == "Zq9-old"
    put(cluster, "openedx", "rotated", "Zq9-new")
    cluster.wait_for("the new value is not seen", lambda: found.get_connection("rotated").password == "Zq9-new", 60)


def test_a_right_that_is_taken_away_is_gone(cluster: Cluster, tmp_path: Path) -> None:
    put(cluster, "openedx", "taken", "Zq9-taken")
    found = backend(kubeconfig(cluster, "airflow-worker-openedx", tmp_path), "openedx", cache_seconds=0)
    assert found.get_connection("taken").password == "Zq9-taken"
    rights = client.RbacAuthorizationV1Api(cluster.core.api_client)
    binding = rights.read_namespaced_role_binding("ol-secret-reader", "ol-secrets-openedx")
    rights.delete_namespaced_role_binding("ol-secret-reader", "ol-secrets-openedx")
    try:
        with pytest.raises(SecretsDeniedError):
            cluster.wait_for("the right is still there", lambda: found.get_connection("taken") is None, 60)
    finally:
        binding.metadata = client.V1ObjectMeta(name="ol-secret-reader", labels=binding.metadata.labels)
        rights.create_namespaced_role_binding("ol-secrets-openedx", binding)


def test_an_api_server_that_is_away_is_named(cluster: Cluster, tmp_path: Path) -> None:
    nowhere = kubeconfig(cluster, "airflow-worker-openedx", tmp_path, server="https://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(SecretsUnavailableError, match=r"Kubernetes is unavailable.*connection forum of openedx cannot be read"):
        backend(nowhere, "openedx", timeout_seconds=3).get_connection("forum")
    assert time.monotonic() - started < 30
