"""What does not grow with the load: connections to the database with the number of tasks, pods with the number of runs."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from include.local.airflow_api import PAGE
from include.pods.operator import NAMESPACE
from tests.helm.charts import RELEASE_NAMESPACE
from tests.kubernetes.airflow_cluster import AirflowCluster
from tests.kubernetes.under_faults.changes import room_for
from tests.kubernetes.watching import watched

ALLOWED = 25  # postgres.maxConnections of helm/platform/values.yaml
FEW, MANY = 8, 64
SECONDS = {FEW: 15, MANY: 75}
RUNS_AT_ONCE = 20  # as in dags/limits.py
CONNECTIONS = """
SELECT coalesce(host(client_addr), 'socket'), count(*) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND datname = 'airflow' AND pid <> pg_backend_pid() GROUP BY 1
"""
RUNNING = "SELECT count(*) FROM task_instance WHERE run_id = %s AND state = 'running' AND map_index >= 0"
LOOPBACK = ("127.0.0.1", "::1")  # where port-forwards come from
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(3600)]


@dataclass(frozen=True)
class Load:
    """A run of so many tasks: the most that ran at one moment, and the most connections of each address at one moment."""

    at_once: int
    connections: Counter[str]


@pytest.fixture(scope="module")
def loads(full_size: AirflowCluster, tell: list[str]) -> dict[int, Load]:
    found = {number: load(full_size, number) for number in (FEW, MANY)}
    tell.extend(f"{number} tasks: {one.at_once} at once, connections to Postgres {dict(one.connections)}" for number, one in found.items())
    return found


def load(airflow: AirflowCluster, number: int) -> Load:
    run_id = airflow.start("many_tasks", {"tasks": number, "seconds": SECONDS[number]})
    at_once, most = 0, Counter[str]()
    with psycopg.connect(airflow.database, autocommit=True) as connection:
        begun = time.monotonic()
        while time.monotonic() - begun < 600 and airflow.state("many_tasks", run_id) == "running":
            rows: list[tuple[str, int]] = connection.execute(CONNECTIONS).fetchall()
            most |= Counter(dict(rows))
            (running,) = connection.execute(RUNNING, (run_id,)).fetchone() or (0,)
            at_once = max(at_once, running)
            time.sleep(0.3)
    assert airflow.state("many_tasks", run_id) == "success"
    return Load(at_once, most)


def pooled(airflow: AirflowCluster) -> tuple[set[str], int]:
    """The addresses of PgBouncer's pods, and how many connections all of them together may open."""
    pods = airflow.pods("pgbouncer")
    settings: str = airflow.cluster.core.read_namespaced_config_map("ol-pgbouncer", RELEASE_NAMESPACE).data["pgbouncer.ini"]
    (each,) = re.findall(r"^max_db_connections = (\d+)$", settings, re.MULTILINE)
    return {pod.status.pod_ip for pod in pods}, int(each) * len(pods)


def test_64_tasks_ran_at_once(loads: dict[int, Load]) -> None:
    assert {number: one.at_once for number, one in loads.items()} == {FEW: FEW, MANY: MANY}


@pytest.mark.parametrize("number", [FEW, MANY])
def test_connections_do_not_grow_with_the_tasks(number: int, loads: dict[int, Load], full_size: AirflowCluster) -> None:
    addresses, most = pooled(full_size)
    assert most <= ALLOWED, "what PgBouncer may open does not depend on the tasks"
    assert sum(loads[number].connections[address] for address in addresses) <= most
    assert {address for address in loads[number].connections if address not in {*addresses, *LOOPBACK}} == set(), "somebody goes past PgBouncer"


def test_a_limit_of_runs_is_one_of_pods(full_size: AirflowCluster, whole: bool, tell: list[str]) -> None:
    number = 300 if whole else 30
    begun = time.monotonic()
    pods, most = pods_of_runs(full_size, number, seconds=3000)
    tell.append(f"{number} runs of one pod, {RUNS_AT_ONCE} at once: {time.monotonic() - begun:.0f} s, at most {most} pods")
    assert most == RUNS_AT_ONCE, "more would break the limit; fewer, and it was not tried"
    assert pods == number


def test_jobs_wait_for_room_in_the_quota(full_size: AirflowCluster) -> None:
    with room_for(full_size.cluster, 3):
        pods, most = pods_of_runs(full_size, 8, seconds=400)
    assert (pods, most) == (8, 3)


def pods_of_runs(airflow: AirflowCluster, number: int, seconds: float) -> tuple[int, int]:
    """Queues runs of ``one_pod`` and waits for the success of all at their first try; how many pods there were, and the most at one moment."""
    with watched(airflow.cluster.new_core, NAMESPACE, "dag_id=one_pod") as seen:
        mine = {airflow.start("one_pod") for _ in range(number)}
        airflow.cluster.wait_for("runs are left", lambda: len(ended(airflow) & mine) == number, seconds)
    assert Counter(states(airflow, mine)) == {("success", 1): number}
    return len(seen.pods), seen.most_alive


def ended(airflow: AirflowCluster) -> set[str]:
    return {run["dag_run_id"] for run in pages(airflow, "/dags/one_pod/dagRuns", "dag_runs", state=["success", "failed"])}


def states(airflow: AirflowCluster, runs: set[str]) -> Iterator[tuple[str, int]]:
    for task in pages(airflow, "/dags/one_pod/dagRuns/~/taskInstances", "task_instances"):
        if task["dag_run_id"] in runs:
            yield task["state"], task["try_number"]


def pages(airflow: AirflowCluster, path: str, key: str, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        page = airflow.api.call("GET", path, limit=PAGE, offset=len(found), order_by="id" if key == "dag_runs" else "run_id", **params)
        found += page[key]
        if len(found) >= page["total_entries"] or not page[key]:
            return found
