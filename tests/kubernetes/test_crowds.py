"""Many at once: connections to the database do not grow with tasks, and a limit of runs is one of pods."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import pytest

from include.local.airflow_api import Task
from include.pods.operator import NAMESPACE
from tests.helm.charts import platform_values
from tests.kubernetes.airflow_cluster import TASKS_AT_ONCE, AirflowCluster
from tests.kubernetes.cluster import room_for
from tests.kubernetes.watching import Seen, watched

FEW, MANY = 8, TASKS_AT_ONCE  # of dags/crowd.py
RUNS_AT_ONCE = 20
CONNECTIONS = 25  # postgres.maxConnections of helm/platform/values.yaml
ROOM = 40  # pods; more than the limit of runs
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(2400)]


@dataclass
class Sampled:
    """The largest numbers seen while a run lasted: connections to Airflow's database, tasks at work."""

    connections: int = 0
    tasks: int = 0


@contextmanager
def sampled(address: str, dag_id: str) -> Iterator[Sampled]:
    """Asks PostgreSQL itself, past PgBouncer, once a second for the length of a block. Its own connection does not count."""
    found, done = Sampled(), threading.Event()

    def look() -> None:
        with psycopg.connect(address, autocommit=True) as connection:
            while not done.wait(1):
                (connections,) = connection.execute(
                    "select count(*) from pg_stat_activity where datname = current_database() and backend_type = 'client backend' and pid <> pg_backend_pid()"
                ).fetchone() or (0,)
                (tasks,) = connection.execute("select count(*) from task_instance where dag_id = %s and state = 'running'", (dag_id,)).fetchone() or (0,)
                found.connections, found.tasks = max(found.connections, connections), max(found.tasks, tasks)

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            yield found
        finally:
            done.set()
        looking.result()


@pytest.fixture(scope="module")
def connections(airflow_cluster: AirflowCluster, told: list[str]) -> dict[int, tuple[Sampled, list[Task]]]:
    """What was seen under few and under many tasks at once."""
    found = {}
    for count in (FEW, MANY):
        dag_id = f"beside_{count}"
        with sampled(airflow_cluster.database, dag_id) as seen:
            run_id = airflow_cluster.start(dag_id)
            airflow_cluster.cluster.wait_for(f"not {count} tasks at once", lambda seen=seen, count=count: seen.tasks == count, 400)
            time.sleep(12)  # in which all of them ask for something
            path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/task_0/xcomEntries"
            airflow_cluster.patiently(lambda path=path: airflow_cluster.api.call("POST", path, json={"key": "all_begun", "value": True}, allow=(409,)))
            tasks = airflow_cluster.finished(dag_id, run_id, 300)
        found[count] = (seen, tasks)
        told.append(f"{count} tasks: at most {seen.tasks} at once, {seen.connections} connections to PostgreSQL")
    return found


@pytest.mark.parametrize("count", [FEW, MANY])
def test_so_many_tasks_were_at_work_at_once_and_succeeded(count: int, connections: dict[int, tuple[Sampled, list[Task]]]) -> None:
    seen, tasks = connections[count]
    assert Counter((task.state, task.try_number) for task in tasks) == {("success", 1): count}
    assert seen.tasks == count


@pytest.mark.parametrize("count", [FEW, MANY])
def test_connections_to_the_database_do_not_grow_with_tasks(count: int, connections: dict[int, tuple[Sampled, list[Task]]]) -> None:
    values = platform_values("local")
    pool = values["pgbouncer"]["replicas"] * values["pgbouncer"]["maxDbConnections"]
    assert 0 < connections[count][0].connections <= pool <= values["postgres"]["maxConnections"] == CONNECTIONS


@pytest.fixture(scope="module")
def queued(airflow_cluster: AirflowCluster, request: pytest.FixtureRequest, told: list[str]) -> tuple[list[str], Seen]:
    """The states of all runs at their end, and the pods that were there on the way."""
    count = request.config.getoption("--queued-runs")
    airflow_cluster.api.wait_for_dags({"short_runs"}, 450)
    with room_for(airflow_cluster.cluster, ROOM), watched(airflow_cluster.cluster.new_core, NAMESPACE, "dag_id=short_runs") as seen:
        run_ids = [airflow_cluster.api.trigger("short_runs") for _ in range(count)]
        begun = time.monotonic()
        airflow_cluster.api.unpause("short_runs")
        for run_id in run_ids:
            airflow_cluster.finished("short_runs", run_id, 1800)
        told.append(f"{count} runs with a pod each, {RUNS_AT_ONCE} at once: {time.monotonic() - begun:.0f} s, at most {seen.most_alive} pods")
    return [airflow_cluster.state("short_runs", run_id) for run_id in run_ids], seen


def test_runs_that_wait_for_a_limit_are_all_done(queued: tuple[list[str], Seen], request: pytest.FixtureRequest) -> None:
    states, seen = queued
    assert Counter(states) == {"success": request.config.getoption("--queued-runs")}
    assert len(seen.pods) == len(states)


def test_there_are_never_more_pods_than_runs_at_once(queued: tuple[list[str], Seen]) -> None:
    _, seen = queued
    assert RUNS_AT_ONCE // 2 < seen.most_alive <= RUNS_AT_ONCE
