"""Our own chart: what it renders, and which values it refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml
from helm_python import HelmError, HelmValuesError
from kubernetes.utils.quantity import parse_quantity

from include.config.files import ROOT
from include.pods.operator import LAKE_CONFIG, NAMESPACE
from include.pods.profiles import PROFILES
from tests.helm.charts import (
    ENVIRONMENTS,
    PLATFORM,
    RELEASE_NAMESPACE,
    Values,
    merged,
    named,
    objects,
    platform_deployed,
    platform_objects,
    platform_values,
    read,
    render,
)

GOLDEN = ROOT / "tests" / "golden"
PODS = {path.stem: read(path) for path in sorted((GOLDEN / "pods").glob("*.yaml"))}


def pods_of(environment: str) -> dict[str, Values]:
    """The pods of the DAGs that exist in an environment."""
    lines = (GOLDEN / "dag_ids.txt").read_text(encoding="utf-8").splitlines()
    where = {dag_id: set(names.split()) for dag_id, _, names in (line.partition(":") for line in lines)}
    wanted = "local-pods" if environment == "local" else environment
    return {name: pod for name, pod in PODS.items() if wanted in where[name.partition(".")[0]]}


# --- refused values ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"environment": ""}, "use one of helm/platform/environments"),
        ({"environment": "prod"}, "environment"),
        ({"jobs": {"namespace": RELEASE_NAMESPACE}}, "must not live beside Airflow's secrets"),
        ({"jobs": {"namespce": "x"}}, "namespce"),
        ({"pgbouncer": {"maxDbConnections": 8}}, r"more than postgres.maxConnections 25"),
        ({"pgbouncer": {"replicas": 3}}, r"more than postgres.maxConnections 25"),
        ({"postgres": {"host": ""}}, "postgres.host: given at deploy"),
        ({"postgres": {"port": 6432}}, r"peers.postgres.ports: found \[5432\], without the port that is used: 6432"),
        ({"postgres": {"sslmode": "disable"}}, "sslmode: found disable outside of local"),
        ({"lake": {"trino": {"scheme": "http"}}}, "found http outside of local"),
        ({"lake": {"trino": {"host": ""}}}, "lake.trino.host: found nothing"),
        ({"lake": {"properties": {"type": "sql"}}}, "needs its PostgreSQL"),
        ({"lake": {"properties": {"uri": "postgresql://x@h/d"}}}, "only for a catalog of type sql"),
        ({"lake": {"properties": {"type": "sql", "uri": "postgresql://x:y@h/d"}}}, "a password does not belong into a ConfigMap"),
        ({"lake": {"properties": {"s3.secret-access-key": "x"}}}, "a secret does not belong into a ConfigMap"),
        ({"peers": {"trino": {"to": []}}}, "peers.trino.to: found nothing, and domains.dbt needs it"),
        ({"peers": {"kubernetes": {"to": []}}}, "peers.kubernetes.to: found nothing, and edges"),
        ({"peers": {"trino": {"to": [{}]}}}, "peers"),
        ({"domains": {"dbt": {"reach": ["trio"]}}}, '"trio" is neither a role nor one of peers'),
        ({"domains": {"DBT": {"reach": []}}}, "domains"),
        ({"edges": {"webserver": []}}, "webserver"),
        ({"quota": {"requests": {"cpu": 4}}}, "quota"),
        ({"requiredSecrets": {"airflow": {"x": {"key": ""}}}}, "requiredSecrets"),
    ],
)
def test_contradictions_are_refused(change: Values, reason: str) -> None:
    with pytest.raises(HelmError, match=reason):
        render(merged(platform_deployed("qa"), change))


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(HelmValuesError, match="quotas"):
        render({**platform_deployed("qa"), "quotas": {}})


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_object_lies_where_it_is_meant_to(environment: str) -> None:
    found = platform_objects(environment)
    assert {one["kind"] for one in found if "namespace" not in one["metadata"]} == {"Namespace", "PriorityClass"}
    store = platform_values(environment)["secretStore"]
    secrets = (
        {f"{store['root']}-{location}" for location in ("shared", *platform_values(environment)["locations"])} if store["source"] == "kubernetes" else set()
    )
    assert {one["metadata"].get("namespace") for one in found} == {None, RELEASE_NAMESPACE, NAMESPACE, *secrets}
    keys = [(one["kind"], one["metadata"].get("namespace"), one["metadata"]["name"]) for one in found]
    assert len(keys) == len(set(keys))
    assert all(one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "ol-data-platform" for one in found)


def test_notes_name_every_secret() -> None:
    notes = render(platform_deployed("qa"))["ol-platform/templates/NOTES.txt"]
    for secrets in platform_values("qa")["requiredSecrets"].values():
        for name, keys in secrets.items():
            assert all(word in notes for word in (name, *keys))


# --- jobs -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_namespace_of_jobs_is_restricted(environment: str) -> None:
    labels = named(platform_objects(environment), "Namespace", NAMESPACE)["metadata"]["labels"]
    for mode in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{mode}"] == "restricted"
        assert re.fullmatch(r"v1\.\d+", labels[f"pod-security.kubernetes.io/{mode}-version"])
    nothing = {"jobs": {"createNamespace": False}, "priorityClasses": {"create": False}, "secretStore": {"source": "aws"}}
    off = objects(merged(platform_deployed(environment), nothing))
    assert {"Namespace", "PriorityClass"}.isdisjoint(one["kind"] for one in off)


def references(pod: Values) -> set[tuple[str, str, str]]:
    """``(kind, name, key)`` of everything a pod takes from the cluster; key is empty where it takes all."""
    found = set()
    for container in pod["spec"]["containers"]:
        for variable in container.get("env", []):
            source = variable.get("valueFrom", {})
            found |= {(kind, source[kind]["name"], source[kind]["key"]) for kind in ("secretKeyRef", "configMapKeyRef") if kind in source}
        found |= {(kind, source[kind]["name"], "") for source in container.get("envFrom", []) for kind in source}
    return found


def unmet(pod: Values, environment: str) -> list[str]:
    """What a pod needs of this chart and would not find."""
    values, made = platform_values(environment), platform_objects(environment)
    maps = {one["metadata"]["name"]: one["data"] for one in made if one["kind"] == "ConfigMap" and one["metadata"]["namespace"] == NAMESPACE}
    secrets = values["requiredSecrets"]["jobs"] | values["optionalSecrets"]["jobs"]
    accounts = {one["metadata"]["name"] for one in made if one["kind"] == "ServiceAccount" and one["metadata"]["namespace"] == NAMESPACE}
    spec, labels = pod["spec"], pod["metadata"]["labels"]
    wrong = [f"{kind} {name}" for kind, name, _ in references(pod) if name not in (secrets if kind.startswith("secret") else maps)]
    wrong += [
        f"{kind} {name}.{key}" for kind, name, key in references(pod) if key and key not in (secrets if kind.startswith("secret") else maps).get(name, {})
    ]
    wrong += [f"account {spec['serviceAccountName']}"] if spec["serviceAccountName"] not in accounts else []
    wrong += [f"domain {labels['ol/domain']}"] if spec["serviceAccountName"] != f"job-{labels['ol/domain']}" else []
    return wrong + ([f"namespace {pod['metadata']['namespace']}"] if pod["metadata"]["namespace"] != values["jobs"]["namespace"] else [])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_every_job_pod_finds_what_it_needs(environment: str) -> None:
    pods = pods_of(environment)
    assert len(pods) >= (1 if environment == "branch" else 8)
    assert {name: unmet(pod, environment) for name, pod in pods.items()} == {name: [] for name in pods}
    assert platform_values(environment)["jobs"]["namespace"] == NAMESPACE
    assert named(platform_objects(environment), "ConfigMap", LAKE_CONFIG, NAMESPACE)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "serviceAccountName"), "job-insights"),
        (("metadata", "namespace"), "default"),
        (("metadata", "labels", "ol/domain"), "lakehouse"),
        (("spec", "containers", 0, "env"), [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "lake-credentials", "key": "missing"}}}]),
        (("spec", "containers", 0, "envFrom"), [{"configMapRef": {"name": "ol-lakes"}}]),
    ],
)
def test_a_pod_with_unmet_needs_is_found(path: tuple[Any, ...], value: Any) -> None:
    pod = yaml.safe_load(yaml.safe_dump(PODS["warehouse.build"]))
    where = pod
    for key in path[:-1]:
        where = where[key]
    where[path[-1]] = value
    assert unmet(pod, "production") != []


def too_small(values: Values) -> list[str]:
    """Limits that the largest profile, with the result's sidecar beside it, would not fit into."""
    (sidecar,) = [one["resources"] for one in PODS["warehouse.build"]["spec"]["containers"] if one["name"] == "airflow-xcom-sidecar"]
    wrong = []
    for profile, of in PROFILES.items():
        asked = {
            "requests": {"cpu": of.cpu, "memory": of.memory, "ephemeral-storage": of.disk},
            "limits": {"cpu": of.cpu_limit, "memory": of.memory, "ephemeral-storage": of.disk},
        }
        for kind, amounts in asked.items():
            for resource, amount in amounts.items():
                whole = parse_quantity(amount) + parse_quantity(sidecar[kind][resource])
                if whole > parse_quantity(values["quota"][kind][resource]):
                    wrong.append(f"quota.{kind}.{resource}: {profile.value}")
                if parse_quantity(amount) > parse_quantity(values["limitRange"]["max"][resource]):
                    wrong.append(f"limitRange.max.{resource}: {profile.value}")
    return wrong


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_largest_profile_fits(environment: str) -> None:
    values = platform_values(environment)
    assert too_small(values) == []
    hard = named(platform_objects(environment), "ResourceQuota", "ol-jobs", NAMESPACE)["spec"]["hard"]
    assert hard == {"pods": str(values["quota"]["pods"])} | {
        f"{kind}.{resource}": amount for kind in ("requests", "limits") for resource, amount in values["quota"][kind].items()
    }
    assert too_small(merged(values, {"quota": {"requests": {"memory": "32Gi"}}})) == ["quota.requests.memory: xl"]
    assert too_small(merged(values, {"limitRange": {"max": {"cpu": "4"}}})) == ["limitRange.max.cpu: l", "limitRange.max.cpu: xl"]


# --- PgBouncer --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_connections_to_postgres_do_not_depend_on_tasks(environment: str) -> None:
    values = platform_values(environment)
    ini = named(platform_objects(environment), "ConfigMap", "ol-pgbouncer", RELEASE_NAMESPACE)["data"]["pgbouncer.ini"]
    settings = dict(re.findall(r"(?m)^(\w+) = ?(.*)$", ini))
    per_process = int(settings["max_db_connections"])
    assert (values["pgbouncer"]["replicas"] + 1) * per_process + 2 <= 25, "with the process that a rollout adds, and a migration"
    assert settings["pool_mode"] == "transaction"
    assert int(settings["default_pool_size"]) == per_process
    assert settings["reserve_pool_size"] == "0"
    assert int(settings["max_client_conn"]) >= 200
    assert "idle_in_transaction_session_timeout = 60000" in settings[values["postgres"]["database"]]
    assert "password" not in ini
    assert f"server_tls_sslmode = {values['postgres']['sslmode']}" in ini


def test_every_template_has_its_reason() -> None:
    for path in sorted((PLATFORM / "templates").glob("*.yaml")):
        text = path.read_text(encoding="utf-8")
        assert "{{/*" in text, path.name
        assert len(text.splitlines()) <= 80, path.name
