"""Who may do what with the Kubernetes API, and who may speak to whom: computed from what the chart renders."""

from __future__ import annotations

import pytest

from include.config.environments import read_environment
from include.config.locations import locations
from include.pods.operator import NAMESPACE
from tests.helm.charts import ADDRESSES, ENVIRONMENTS, RELEASE_NAMESPACE, Values, merged, objects, platform_deployed, platform_objects

LAUNCH = {"create", "delete", "get", "list", "patch", "watch"}
START_JOBS = {
    f"{NAMESPACE}/pods": LAUNCH,
    f"{NAMESPACE}/pods/log": {"get"},
    f"{NAMESPACE}/pods/exec": {"create", "get"},
    f"{NAMESPACE}/events": {"list", "watch"},
}
# account → namespace/resource → verbs, and nothing else
RIGHTS = {
    "airflow-scheduler": {f"{RELEASE_NAMESPACE}/pods": LAUNCH, **START_JOBS},
    "airflow-worker": START_JOBS,
    **{location.worker: START_JOBS for location in locations().values()},
    "airflow-triggerer": {
        f"{NAMESPACE}/pods": {"delete", "get", "list", "watch"},
        f"{NAMESPACE}/pods/log": {"get"},
        f"{NAMESPACE}/events": {"list", "watch"},
    },
    "airflow-api-server": {f"{RELEASE_NAMESPACE}/pods": {"get", "list"}, f"{RELEASE_NAMESPACE}/pods/log": {"get"}},
}


# where secrets lie in Kubernetes: location → who may list them
READERS = {
    "shared": {"airflow-scheduler", "airflow-api-server", "airflow-triggerer", "airflow-worker-platform", "airflow-worker-openedx"},
    "platform": {"airflow-scheduler", "airflow-triggerer", "airflow-worker-platform"},
    "openedx": {"airflow-worker-openedx"},
}


def rights(documents: list[Values]) -> dict[str, dict[str, set[str]]]:
    roles = {(one["metadata"]["namespace"], one["metadata"]["name"]): one["rules"] for one in documents if one["kind"] == "Role"}
    found: dict[str, dict[str, set[str]]] = {}
    for binding in (one for one in documents if one["kind"] == "RoleBinding"):
        namespace = binding["metadata"]["namespace"]
        for subject in binding["subjects"]:
            assert subject["namespace"] == RELEASE_NAMESPACE, "no job has rights"
            for rule in roles[namespace, binding["roleRef"]["name"]]:
                for resource in rule["resources"]:
                    found.setdefault(subject["name"], {}).setdefault(f"{namespace}/{resource}", set()).update(rule["verbs"])
    return found


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_rights_are_exactly_these(environment: str) -> None:
    documents = platform_objects(environment)
    expected = {account: dict(of) for account, of in RIGHTS.items()}
    secrets = read_environment({"OL_RUNTIME": "pod", "OL_IMAGE_TAG": "t"}).secrets if environment == "local" else None
    for location, readers in READERS.items() if secrets else ():
        for account in readers:
            expected[account][f"{secrets.root}-{location}/secrets"] = {"list"}
    assert rights(documents) == expected
    assert {"ClusterRole", "ClusterRoleBinding"}.isdisjoint(one["kind"] for one in documents)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_accounts_and_their_tokens(environment: str) -> None:
    accounts = {one["metadata"]["name"]: one.get("automountServiceAccountToken") for one in platform_objects(environment) if one["kind"] == "ServiceAccount"}
    workers = {location.worker for location in locations().values()}
    domains = {f"job-{domain}" for location in locations().values() for domain in location.domains}
    assert accounts.keys() == workers | domains
    assert {name for name, mounted in accounts.items() if mounted is not False} == workers, "a task starts pods of jobs; a job speaks to no Kubernetes"


def test_a_location_reads_no_other_locations_secrets() -> None:
    documents = platform_objects("local")
    documents = [*documents, *(one for one in objects(merged(platform_deployed("local"), {"secretStore": {"readers": {"openedx": ["triggerer"]}}})))]
    assert "ol-secrets-openedx/secrets" in rights(documents)["airflow-triggerer"], "a reader too many is found"
    found = rights(platform_objects("local"))
    assert {name for name in found["airflow-worker-openedx"] if name.endswith("/secrets")} == {"ol-secrets-openedx/secrets", "ol-secrets-shared/secrets"}


# --- networks ---------------------------------------------------------------------------------------------------------------------

Edge = tuple[str, str, int]


def peer_name(peer: Values) -> str:
    if "podSelector" in peer and "namespaceSelector" not in peer:
        return str(peer["podSelector"]["matchLabels"]["ol/role"])
    if "ipBlock" in peer:
        return next((name for name, cidr in ADDRESSES.items() if cidr == peer["ipBlock"]["cidr"]), peer["ipBlock"]["cidr"])
    return str(peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"])


def edges(documents: list[Values], namespace: str, direction: str) -> set[Edge]:
    """``(from, to, port)`` of everything that policies of a namespace allow in one direction."""
    found = set()
    for policy in documents:
        if policy["kind"] != "NetworkPolicy" or policy["metadata"]["namespace"] != namespace:
            continue
        own = next(iter(policy["spec"]["podSelector"].get("matchLabels", {"": ""}).values()))
        for rule in policy["spec"].get(direction) or []:
            peers = rule["to" if direction == "egress" else "from"]
            assert peers, "an empty list would mean everybody"
            assert rule["ports"], "and no ports every port"
            for peer in peers:
                ends = (own, peer_name(peer)) if direction == "egress" else (peer_name(peer), own)
                found |= {(*ends, port["port"]) for port in rule["ports"]}
    return found


def without_dns(found: set[Edge]) -> set[Edge]:
    return {edge for edge in found if edge[2] != 53}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
@pytest.mark.parametrize("namespace", [RELEASE_NAMESPACE, NAMESPACE])
def test_all_pods_are_denied_first(environment: str, namespace: str) -> None:
    (deny,) = [
        one
        for one in platform_objects(environment)
        if one["kind"] == "NetworkPolicy" and one["metadata"].get("namespace") == namespace and not one["spec"]["podSelector"]
    ]
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("environment", ["qa", "production"])
def test_edges_of_airflow(environment: str) -> None:
    documents = platform_objects(environment)
    out = without_dns(edges(documents, RELEASE_NAMESPACE, "egress"))
    assert {(one, port) for one, other, port in out if other == "postgres"} == {("pgbouncer", 5432), ("migration", 5432)}
    assert {one for one, other, _ in out if other == "pgbouncer"} == {"scheduler", "api-server", "dag-processor", "triggerer"}
    assert {other for one, other, _ in out if one == "worker"} == {"api-server", "kubernetes", "objectStore", "airbyte", "secrets"}
    assert {other for one, other, _ in out if one == "dag-processor"} == {"pgbouncer", "objectStore", "slack", "secrets"}
    inside = {edge for edge in out if edge[1] not in ADDRESSES}
    assert inside == edges(documents, RELEASE_NAMESPACE, "ingress"), "what one may open, the other must accept"


def test_edges_of_jobs() -> None:
    documents = platform_objects("production")
    out = edges(documents, NAMESPACE, "egress")
    assert {other for _, other, port in out if port == 53} == {"kube-system"}
    lake = {(domain, name, 443) for domain in ("dbt", "lakehouse", "openedx") for name in ("trino", "objectStore", "catalog")}
    assert without_dns(out) == {*lake, ("openedx", "openedx", 443), ("openedx", "learn", 443), ("openedx", "outbox", 5432)}
    assert edges(documents, NAMESPACE, "ingress") == set()
    assert without_dns(edges(platform_objects("qa"), NAMESPACE, "egress")) - without_dns(out) == {("lakehouse", "github", 443)}, "clones are swept in QA alone"


def test_a_worker_that_reaches_postgres_is_found() -> None:
    documents = objects(merged(platform_deployed("qa"), {"edges": {"worker": ["api-server", "postgres"]}}))
    assert ("worker", "postgres", 5432) in edges(documents, RELEASE_NAMESPACE, "egress")


def test_callers_from_outside_are_let_in_by_value() -> None:
    callers = {"api": [{"ipBlock": {"cidr": "198.51.100.0/24"}}], "metrics": [{"ipBlock": {"cidr": "203.0.113.0/24"}}]}
    before = edges(platform_objects("qa"), RELEASE_NAMESPACE, "ingress")
    after = edges(objects(merged(platform_deployed("qa"), {"callers": callers})), RELEASE_NAMESPACE, "ingress")
    assert after - before == {("198.51.100.0/24", "api-server", 8080), ("203.0.113.0/24", "pgbouncer", 9127)}
