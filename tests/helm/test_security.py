"""Every container of the official chart that runs is restricted, has limits and holds no more secrets and rights than it needs.

The list of containers is not ours: it is read from the chart's default values, so a component that is switched on later is
found here before it runs without limits.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.helm.charts import ENVIRONMENTS, Values, airflow_values, merged, named, platform_objects, platform_values, read
from tests.helm.charts import PLATFORM as PLATFORM_CHART

Path = tuple[str, ...]
RUNNING = {
    ("scheduler",),
    ("apiServer",),
    ("dagProcessor",),
    ("triggerer",),
    ("workers",),
    ("workers", "kubernetes"),
    ("migrateDatabaseJob",),
    ("pgbouncer",),
    ("pgbouncer", "metricsExporterSidecar"),
}
# who speaks to the Kubernetes API, and why
TOKENS = {
    "scheduler": "creates worker pods",
    "apiServer": "reads the logs of running worker pods",
    "triggerer": "watches job pods",
    "workers.kubernetes": "creates job pods",
}
ROLES = {
    "scheduler": "scheduler",
    "api-server": "apiServer",
    "dag-processor": "dagProcessor",
    "triggerer": "triggerer",
    "worker": "workers.kubernetes",
    "migration": "migrateDatabaseJob",
    "pgbouncer": "pgbouncer",
}


def at(values: Values, path: Path) -> Any:
    for key in path:
        values = (values or {}).get(key) or {}
    return values


def container_blocks(defaults: Values, path: Path = ()) -> Iterator[Path]:
    for key, value in defaults.items():
        if isinstance(value, dict):
            if key == "securityContexts" and path and "container" in value:
                yield path
            yield from container_blocks(value, (*path, key))


def runs(values: Values, path: Path) -> bool:
    if path[:2] == ("workers", "celery"):
        return "CeleryExecutor" in values["executor"]
    return all(bool(at(values, path[:depth]).get("enabled", True)) for depth in range(1, len(path) + 1))


def running(values: Values, defaults: Values) -> set[Path]:
    whole = merged(defaults, values)
    return {path for path in container_blocks(defaults) if runs(whole, path)}


def loose_container(context: Values) -> list[str]:
    good = {
        "allowPrivilegeEscalation": context.get("allowPrivilegeEscalation") is False,
        "capabilities": context.get("capabilities") == {"drop": ["ALL"]},
        "readOnlyRootFilesystem": context.get("readOnlyRootFilesystem") is True,
        "runAsNonRoot": context.get("runAsNonRoot") is True,
        "privileged": not context.get("privileged"),
    }
    return [key for key, fine in good.items() if not fine]


def loose_pod(context: Values) -> list[str]:
    good = {
        "runAsNonRoot": context.get("runAsNonRoot") is True,
        "runAsUser": context.get("runAsUser", 0) > 0,
        "seccompProfile": context.get("seccompProfile") == {"type": "RuntimeDefault"},
    }
    return [key for key, fine in good.items() if not fine]


def missing_limits(resources: Values) -> list[str]:
    return [f"{kind}.{key}" for kind in ("requests", "limits") for key in ("cpu", "memory") if key not in resources.get(kind, {})]


def findings(values: Values, defaults: Values) -> list[str]:
    """Everything about running containers that is not as it must be."""
    whole, found = merged(defaults, values), []
    for path in sorted(running(values, defaults)):
        block, known, name = at(whole, path), at(defaults, path), ".".join(path)
        found += [f"{name}: {wrong}" for wrong in loose_container(block["securityContexts"].get("container", {}))]
        if "pod" in known["securityContexts"]:
            found += [f"{name}: pod {wrong}" for wrong in loose_pod(block["securityContexts"].get("pod", {}))]
        if "resources" in known:
            found += [f"{name}: {wrong}" for wrong in missing_limits(block["resources"])]
        for extra in (*block.get("extraInitContainers", ()), *block.get("extraContainers", ())):
            wrong = loose_container(extra.get("securityContext", {})) + missing_limits(extra.get("resources", {}))
            found += [f"{name}.{extra['name']}: {one}" for one in wrong]
    return found


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_running_container_is_restricted(environment: str, defaults: Values) -> None:
    values = airflow_values(environment)
    assert running(values, defaults) == RUNNING
    assert findings(values, defaults) == []
    assert loose_pod(values["securityContexts"]["pod"]) == loose_container(values["securityContexts"]["containers"]) == []


@pytest.mark.parametrize(
    "change",
    [
        {"statsd": {"enabled": True}},
        {"flower": {"enabled": True}},
        {"createUserJob": {"enabled": True}},
        {"cleanup": {"enabled": True}},
        {"databaseCleanup": {"enabled": True}},
        {"dags": {"gitSync": {"enabled": True}}},
        {"scheduler": {"logGroomerSidecar": {"enabled": True}}},
        {"scheduler": {"waitForMigrations": {"enabled": True}}},
        {"executor": "CeleryExecutor", "redis": {"enabled": True}},
        {"scheduler": {"resources": {"limits": {"memory": None}}}},
        {"workers": {"kubernetes": {"securityContexts": {"container": {"readOnlyRootFilesystem": False}}}}},
        {"pgbouncer": {"securityContexts": {"pod": {"seccompProfile": None}}}},
        {"triggerer": {"extraContainers": [{"name": "helper"}]}},
        {"apiServer": {"securityContexts": {"container": {"capabilities": {"add": ["NET_RAW"]}}}}},
    ],
)
def test_what_is_switched_on_later_is_found(change: Values, defaults: Values) -> None:
    assert findings(merged(airflow_values("qa"), change), defaults) != []


# --- rights -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_tokens_only_where_needed(environment: str, defaults: Values) -> None:
    values = airflow_values(environment)
    whole = merged(defaults, values)
    accounts = {".".join(path): at(whole, path)["serviceAccount"] for path in running(values, defaults) if "serviceAccount" in at(whole, path)}
    with_token = {name for name, account in accounts.items() if account.get("create") and account.get("automountServiceAccountToken") is not False}
    assert with_token == TOKENS.keys()
    assert values["rbac"] == {"create": False}, "rights are the platform chart's: the official one lets workers create pods beside the secrets"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_both_charts_mean_the_same_accounts_and_roles(environment: str) -> None:
    values, platform = airflow_values(environment), platform_values(environment)
    blocks = {"scheduler": "scheduler", "worker": "workers.kubernetes", "triggerer": "triggerer", "apiServer": "apiServer"}
    accounts = {key: at(values, tuple(block.split(".")))["serviceAccount"]["name"] for key, block in blocks.items()}
    assert accounts == platform["airflow"]["serviceAccounts"]
    assert values["workers"]["serviceAccount"]["name"] == accounts["worker"]
    assert {role: at(values, tuple(block.split(".")))["labels"]["ol/role"] for role, block in ROLES.items()} == {role: role for role in ROLES}
    assert platform["edges"].keys() == ROLES.keys(), "a role without a rule reaches nothing, a rule without a role means nobody"
    assert values["pgbouncer"]["replicas"] == platform["pgbouncer"]["replicas"]
    assert values["networkPolicies"] == {"enabled": False}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_only_the_control_plane_takes_the_place_of_what_runs(environment: str) -> None:
    classes = {one["metadata"]["name"]: (one["value"], one["preemptionPolicy"]) for one in platform_objects(environment) if one["kind"] == "PriorityClass"}
    assert {name for name, (_, policy) in classes.items() if policy != "Never"} == {"ol-critical"}
    assert sorted(classes, key=lambda name: classes[name]) == ["ol-batch", "ol-worker", "ol-critical"]


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_priority_classes_exist(environment: str) -> None:
    made = {one["metadata"]["name"] for one in platform_objects(environment) if one["kind"] == "PriorityClass"}
    used = {value for key, value in walk(airflow_values(environment)) if key == "priorityClassName"}
    assert used <= made
    assert used


# --- secrets ----------------------------------------------------------------------------------------------------------------------


def walk(node: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    yield key, node
    children = node.items() if isinstance(node, dict) else ((key, one) for one in node) if isinstance(node, list) else ()
    for name, child in children:
        yield from walk(child, name)


def secret_keys(node: Any) -> set[tuple[str, str]]:
    """Every ``(secret, key)`` that a piece of values names, in any of the chart's ways."""
    found = set()
    for key, value in walk(node):
        if key == "secretKeyRef":
            found.add((value["name"], value["key"]))
        if key == "secret" and isinstance(value, dict):
            found |= {(value["name"], item["key"]) for item in value["items"]}
    return found


def test_a_worker_pod_holds_no_secret(defaults: Values) -> None:
    for environment in ENVIRONMENTS:
        values = airflow_values(environment)
        assert values["enableBuiltInSecretEnvVars"] == dict.fromkeys(defaults["enableBuiltInSecretEnvVars"], False)
        assert "secretKeyRef" not in values["extraEnv"]
        assert secret_keys(values["workers"]) == set()
        assert not {"env", "secret", "extraEnvFrom", "extraSecrets"} & values.keys()
        assert {key for key, _ in walk(values["volumes"])}.isdisjoint({"secret", "projected"})


OBJECT_STORE = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION"}  # optional: where pods have no identity
# The least each component needs: who decrypts connections, who signs what, who answers for connections.
NEEDS = {
    "scheduler": {"connection", "fernet-key", "jwt-secret", "api-secret-key"},
    "apiServer": {"connection", "fernet-key", "jwt-secret", "api-secret-key", "object-store", "airbyte"},
    "dagProcessor": {"connection", "fernet-key", "object-store", "slack"},
    "triggerer": {"connection", "fernet-key", "api-secret-key", "object-store", "airbyte", *OBJECT_STORE},
    "migrateDatabaseJob": {"migration"},
    "pgbouncer": {"users.txt"},
    "workers": set(),
}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_secret_is_needed_and_documented(environment: str) -> None:
    values = airflow_values(environment)
    assert {block: {key for _, key in secret_keys(values[block])} for block in NEEDS} == NEEDS
    used = secret_keys(values)
    used |= {(values["fernetKeySecretName"], "fernet-key"), (values["apiSecretKeySecretName"], "api-secret-key"), (values["jwtSecretName"], "jwt-secret")}
    used.add((values["data"]["metadataSecretName"], "connection"))
    exporter = values["pgbouncer"]["metricsExporterSidecar"]
    used |= {(exporter["statsSecretName"], exporter["statsSecretKey"]), (values["pgbouncer"]["configSecretName"], "users.txt")}
    chart = read(PLATFORM_CHART / "values.yaml")
    listed = {**chart["requiredSecrets"]["airflow"], **chart["optionalSecrets"]["airflow"]}
    documented = {(name, key) for name, keys in listed.items() for key in keys}
    assert used == documented


def test_no_value_is_a_secret() -> None:
    forbidden = {"fernetKey", "apiSecretKey", "jwtSecret", "brokerUrl", "metadataConnection", "resultBackendConnection", "extraSecrets", "password", "pass"}
    for environment in ENVIRONMENTS:
        values = airflow_values(environment)
        assert forbidden.isdisjoint(key for key, _ in walk(values))
        assert "://" not in json.dumps([value for key, value in walk(values) if key == "connection"])
        assert values["createUserJob"] == {"enabled": False}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_config_maps_that_airflow_mounts_exist(environment: str) -> None:
    values = airflow_values(environment)
    (projected,) = [volume["projected"]["sources"] for volume in values["pgbouncer"]["extraVolumes"]]
    (config_map,) = [source["configMap"] for source in projected if "configMap" in source]
    made = named(platform_objects(environment), "ConfigMap", config_map["name"], "ol-airflow")
    assert {item["key"] for item in config_map["items"]} == made["data"].keys()
