"""Thirty canaries in pods: worker pods have them as connections, pods of jobs by reference. None comes through, and a control beside them always does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
import yaml
from psycopg import sql

from include.pods.operator import NAMESPACE
from tests.helm.charts import RELEASE_NAMESPACE
from tests.kubernetes.airflow_cluster import LOCATION, AirflowCluster
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.release import COMPONENTS
from tests.kubernetes.services import connection_secret, secret
from tests.kubernetes.watching import Seen, watched
from tests.security.canaries import Canary, escaped, made

DAG_ID = "canaries"
CONTROL = "zq-control-that-is-no-secret"  # of dags/canaries.py
ENDS = {"worker_returns": "success", "worker_fails": "failed", "job_returns": "success", "job_fails": "failed"}
WORDS = {"worker_returns": "headers", "worker_fails": "cannot open", "job_returns": "told", "job_fails": "RuntimeError"}
ALL = frozenset(range(30))
PUSHED = {
    "task_logs": ALL,
    "xcom": ALL,
    "task_instances": ALL,
    "asset_events": ALL,
    "other_answers": frozenset(),
    "database": ALL,
    "pods": ALL,  # the last words of the one that failed
    "events": frozenset(),
    "component_logs": frozenset(),
}
"""Where they are to be found missing → those that are pushed there."""
WITHOUT_CONTROL = {"other_answers", "events", "component_logs"}
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def canaries() -> dict[str, Canary]:
    return made()


@pytest.fixture(scope="module")
def stored(place: str, cluster: Cluster, canaries: dict[str, Canary]) -> Iterator[str]:
    """The canaries in the secrets of the location's connections and of its jobs; the name of the latter."""
    values = {f"canary-{number:02}": canary.value for number, canary in enumerate(canaries.values())}
    connections = [connection_secret(LOCATION, name.replace("-", "_"), value) for name, value in values.items()]
    cluster.apply([*connections, secret(DAG_ID, place, values)])
    yield DAG_ID
    cluster.delete([*connections, secret(DAG_ID, place, values)])


@pytest.fixture(scope="module")
def sinks(airflow_cluster: AirflowCluster, stored: str) -> dict[str, str]:
    """What each way out held after the run."""
    core = airflow_cluster.cluster.new_core
    with watched(core, NAMESPACE, f"dag_id={DAG_ID}") as jobs, watched(core, RELEASE_NAMESPACE, f"dag_id={DAG_ID}") as workers:
        run_id, tasks = airflow_cluster.run(DAG_ID)
    assert {task.task_id: task.state for task in tasks} == ENDS
    shown = [airflow_cluster.log(DAG_ID, run_id, task, WORDS[task.task_id]) for task in tasks]
    assert [task.task_id for task, log in zip(tasks, shown, strict=True) if WORDS[task.task_id] not in log] == []
    return {
        "task_logs": "\n".join([*shown, objects(airflow_cluster, f"logs/dag_id={DAG_ID}")]),
        "xcom": objects(airflow_cluster, f"xcom/{DAG_ID}") + answers(airflow_cluster, *(xcoms(airflow_cluster, run_id))),
        "task_instances": answers(airflow_cluster, f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances"),
        "asset_events": answers(airflow_cluster, "/assets/events", source_dag_id=DAG_ID),
        "other_answers": answers(airflow_cluster, "/eventLogs", "/connections", "/variables", "/importErrors", f"/dags/{DAG_ID}/details"),
        "database": database(airflow_cluster.database),
        **of_cluster(airflow_cluster.cluster, jobs, workers),
    }


def objects(airflow: AirflowCluster, prefix: str) -> str:
    """All that lies below a prefix of the session on the object store."""
    files = airflow.given.store.files()
    found = files.find(f"{airflow.given.root}/{prefix}")
    assert found, f"nothing below {prefix}"
    return "\n".join(files.cat_file(name).decode() for name in found)


def xcoms(airflow: AirflowCluster, run_id: str) -> list[str]:
    """The addresses of all that the tasks returned."""
    runs = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances"
    entries = airflow.api.call("GET", f"{runs}/~/xcomEntries", limit=100)["xcom_entries"]
    return [f"{runs}/{entry['task_id']}/xcomEntries/{entry['key']}" for entry in entries]


def answers(airflow: AirflowCluster, *paths: str, **query: str) -> str:
    """As they were sent, and without the escapes of JSON."""
    found = [airflow.api.call("GET", path, limit=100, **query) for path in paths]
    return "\n".join(text for answer in found for text in (json.dumps(answer), json.dumps(answer, ensure_ascii=False)))


def database(address: str) -> str:
    """Airflow's whole database: whatever a page may ever show comes from here."""
    with psycopg.connect(address) as connection:
        names = [name for (name,) in connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")]
        assert names
        return "\n".join(repr(row) for name in names for row in connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name))))


def of_cluster(cluster: Cluster, *seen: Seen) -> dict[str, str]:
    """What the cluster keeps: the pods in their last form, what happened to them, and what Airflow's components printed."""
    pods = [cluster.plain(pod) for one in seen for pod in one.pods.values()]
    assert len(pods) == len(ENDS)
    spaces = (NAMESPACE, RELEASE_NAMESPACE)
    events = [cluster.plain(event) for space in spaces for event in cluster.core.list_namespaced_event(space).items]
    logs = [
        cluster.core.read_namespaced_pod_log(pod.metadata.name, RELEASE_NAMESPACE, container=name)
        for name in COMPONENTS.values()
        for pod in cluster.pods(f"component={name}", RELEASE_NAMESPACE)
    ]
    as_text: Any = {"pods": yaml.safe_dump_all(pods, width=100_000), "events": json.dumps(events), "component_logs": "\n".join(logs)}
    return dict(as_text)


@pytest.mark.parametrize("sink", PUSHED)
def test_no_canary_comes_through_and_the_control_does(sink: str, sinks: dict[str, str], canaries: dict[str, Canary]) -> None:
    found = sinks[sink]
    assert len(found) > 100
    assert CONTROL in found or sink in WITHOUT_CONTROL
    assert {number for number in PUSHED[sink] if f"[{number:02}=" not in found} == set(), "pushed, and seen to have been"
    assert escaped(canaries, found) == set()


def test_every_sink_is_judged(sinks: dict[str, str]) -> None:
    assert sinks.keys() == PUSHED.keys()


def test_pods_hold_references_and_no_argument_a_secret(sinks: dict[str, str]) -> None:
    assert sinks["pods"].count("secretKeyRef") >= 2 * len(ALL)


def test_the_search_finds_what_a_secret_itself_holds(stored: str, cluster: Cluster, place: str, canaries: dict[str, Canary]) -> None:
    """The one object that must hold them, as the API server gives it to who may read it: all of them are found there, in base64."""
    held: Any = cluster.core.read_namespaced_secret(stored, place)
    assert escaped(canaries, str(held.data)) == canaries.keys()
