"""Secrets on a real API server: who may list which, what a new value does, and that no pod, log or message shows what its container was given."""

from __future__ import annotations

import base64
import json
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

from include.config.environments import read_environment
from include.pods.job import JobSpec
from include.pods.operator import PlatformPodOperator
from include.pods.secrets import SecretRef
from tests.helm.charts import RELEASE_NAMESPACE
from tests.kubernetes.cluster import Cluster
from tests.security.canaries import Canary, escaped, made

ROOT = "ol-secrets"
CONTROL = "zq-control-that-is-no-secret"
# everything that a process can do with what it was told: prints, a log line, a traceback, and the last words that the kubelet keeps
LEAK = f"""
import json, os, pathlib, sys
from include.contract import log_as_json_lines
from include.jobs.__main__ import keep_secrets
keep_secrets()
log_as_json_lines()
told = [os.environ["FORUM_PASSWORD"], os.environ["SIGNING_PRIVATE_KEY"]]
print("{CONTROL}", told, dict(os.environ), flush=True)
import logging
logging.getLogger("x").warning("told %s", told)
raise RuntimeError("{CONTROL}", *told)
"""
pytestmark = [pytest.mark.kubernetes, pytest.mark.usefixtures("place")]


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """No value of an earlier test."""
    secret_sources._stores.clear()
    yield
    secret_sources._stores.clear()


def put(cluster: Cluster, location: str, conn_id: str, password: str) -> None:
    """A connection as Airflow's provider wants it. It stays for the rest of the session: none may have the name of one that DAGs use."""
    value = json.dumps({"conn_type": "http", "host": "h", "password": password})
    metadata = {"name": f"connection-{conn_id.replace('_', '-')}", "namespace": f"{ROOT}-{location}", "labels": {"airflow.apache.org/connection-id": conn_id}}
    cluster.apply([{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"value": value}}])


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
                return bool(api.list_namespaced_secret(f"{ROOT}-{location}") and api.list_namespaced_secret(f"{ROOT}-shared"))
            except ApiException as error:
                if error.status != 403:
                    raise
                return False

        cluster.wait_for(f"the worker of {location} may not list secrets", known, 30)


def backend(kubeconfig: str, locations: str, **settings: Any) -> PlatformSecrets:
    found = PlatformSecrets("kubernetes", ROOT, locations, **{"timeout_seconds": 10, **settings}, kubeconfig=kubeconfig)
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
    cluster.wait_for("the new value is not seen", lambda: found.get_connection("rotated").password == "Zq9-new", 10)


def test_a_right_that_is_taken_away_is_gone(cluster: Cluster, tmp_path: Path) -> None:
    put(cluster, "openedx", "taken", "Zq9-taken")
    found = backend(kubeconfig(cluster, "airflow-worker-openedx", tmp_path), "openedx", cache_seconds=0)
    assert found.get_connection("taken").password == "Zq9-taken"
    rights = client.RbacAuthorizationV1Api(cluster.core.api_client)
    binding = rights.read_namespaced_role_binding("ol-secret-reader", "ol-secrets-openedx")
    rights.delete_namespaced_role_binding("ol-secret-reader", "ol-secrets-openedx")
    try:
        with pytest.raises(SecretsDeniedError):
            cluster.wait_for("the right is still there", lambda: found.get_connection("taken") is None, 10)
    finally:
        binding.metadata = client.V1ObjectMeta(name="ol-secret-reader", labels=binding.metadata.labels)
        rights.create_namespaced_role_binding("ol-secrets-openedx", binding)


def test_an_api_server_that_is_away_is_named(cluster: Cluster, tmp_path: Path) -> None:
    nowhere = kubeconfig(cluster, "airflow-worker-openedx", tmp_path, server="https://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(SecretsUnavailableError, match=r"Kubernetes is unavailable.*connection forum of openedx cannot be read"):
        backend(nowhere, "openedx", timeout_seconds=3).get_connection("forum")
    assert time.monotonic() - started < 30


# --- pods ----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def canaries() -> dict[str, Canary]:
    return made()


@pytest.fixture(scope="module")
def seen(place: str, cluster: Cluster, image_tag: str, canaries: dict[str, Canary]) -> Iterator[dict[str, str]]:
    """A pod that was given two secrets and gave away what it could: what the API server keeps of it, and its log."""
    values = {"password": canaries["special_password"].value, "key": canaries["private_key"].value}
    cluster.apply([{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "canaries", "namespace": place}, "stringData": values}])
    refs = (SecretRef("FORUM_PASSWORD", "canaries", "password"), SecretRef("SIGNING_PRIVATE_KEY", "canaries", "key"))
    environment = read_environment({"OL_RUNTIME": "pod", "OL_IMAGE_TAG": image_tag})
    operator = PlatformPodOperator(task_id="canary", spec=JobSpec("canary", ("--control", CONTROL), domain="lakehouse", secrets=refs), environment=environment)
    pod = cluster.core.api_client.sanitize_for_serialization(operator.build_pod_request_obj(dry_run=True))
    (base,) = [container for container in pod["spec"]["containers"] if container["name"] == "base"]
    assert CONTROL in base["args"]
    base |= {"command": ["python", "-c"], "args": [LEAK]}
    pod["spec"]["containers"] = [base]
    pod["metadata"]["name"] = "canary"
    assert cluster.create_pod(pod) == ""

    def ended() -> Any:
        stored: Any = cluster.core.read_namespaced_pod("canary", place)
        return stored if stored.status.phase in ("Failed", "Succeeded") else None

    stored = cluster.wait_for("the pod has not ended", ended, 120)
    log = cluster.core.read_namespaced_pod_log("canary", place, container="base")
    as_yaml = yaml.safe_dump(cluster.core.api_client.sanitize_for_serialization(stored))
    events = cluster.core.list_namespaced_event(place, field_selector="involvedObject.name=canary")
    yield {
        "pod": as_yaml,
        "log": log,
        "events": str(events),
        "phase": stored.status.phase,
        "message": stored.status.container_statuses[0].state.terminated.message,
    }
    cluster.core.delete_namespaced_pod("canary", place, grace_period_seconds=0)


def test_what_the_api_server_keeps_of_a_pod_are_references(seen: dict[str, str], canaries: dict[str, Canary]) -> None:
    assert seen["phase"] == "Failed"
    assert "secretKeyRef" in seen["pod"]
    assert CONTROL in seen["pod"]
    assert escaped(canaries, seen["pod"]) == set()
    assert escaped(canaries, seen["events"]) == set()


def test_a_pods_log_and_last_words_show_nothing(seen: dict[str, str], canaries: dict[str, Canary]) -> None:
    for text in (seen["log"], seen["message"]):
        assert CONTROL in text
        assert "***" in text
        assert escaped(canaries, text) == set()
    assert "FORUM_PASSWORD" in seen["log"], "it had them"


def test_the_search_finds_what_a_secret_itself_holds(seen: dict[str, str], cluster: Cluster, place: str, canaries: dict[str, Canary]) -> None:
    """The one object that must hold them, as the API server gives it to who may read it: the canaries are found there, in base64."""
    stored: Any = cluster.core.read_namespaced_secret("canaries", place)
    assert escaped(canaries, str(stored.data)) == {"special_password", "private_key"}
    assert base64.b64decode(stored.data["password"]).decode() == canaries["special_password"].value
