"""What a cluster does to pods: they run again and say why, what nothing mends fails at once, and what runs elsewhere is found again, not started twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from kubernetes import client

from include.lake.catalog import create_catalog_tables, open_catalog
from include.local.airflow_api import Task
from include.local.platform import Platform
from tests.kubernetes.addresses import seen_from_pods
from tests.kubernetes.airflow_cluster import AirflowCluster
from tests.kubernetes.node import Node
from tests.local.services.airbyte_harness import CATALOG, CLIENT, Service, Shop

WAYS = ("waiting", "deferred")
NUMBERS = {"out_of_memory": 4, "disk_full": 4, "drained": 4, "no_image": 3, "permanent": 2}
"""Runs of each case and way when all are wanted: 34 pods, and six workers that sync; else one of each."""
MENDED = {
    "out_of_memory": "OOMKilled: it needed more memory than profile xs has",
    "disk_full": "Evicted: ",
    "drained": "its node was drained or lost, or somebody deleted it",
}
FINAL = {"no_image": "Image cannot be pulled", "permanent": "failed for good"}
DEADLINE = 600.0
CONNECTION = "airbyte_of_the_tests"
SLOW = 30  # seconds that the first stream of a sync takes
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(3600)]


@dataclass(frozen=True)
class Ended:
    """A run's only task at its end, and its log of each try."""

    state: str
    tries: int
    logs: tuple[str, ...]


def ended(airflow: AirflowCluster, dag_id: str, run_id: str) -> Ended:
    (task,) = airflow.finished(dag_id, run_id, DEADLINE)
    tries = range(1, task.try_number + 1)
    logs = tuple(json.dumps(airflow.api.log_lines(dag_id, run_id, Task(task.task_id, task.state, number, 0.0))) for number in tries)
    return Ended(task.state, task.try_number, logs)


@contextmanager
def cordoned(core: client.CoreV1Api) -> Iterator[None]:
    """No new pod on any node, until the block ends."""
    nodes = [node.metadata.name for node in core.list_node().items]
    for node in nodes:
        core.patch_node(node, {"spec": {"unschedulable": True}})
    try:
        yield
    finally:
        for node in nodes:
            core.patch_node(node, {"spec": {"unschedulable": None}})


def evict(core: client.CoreV1Api, pod: client.V1Pod) -> None:
    """Asks for a pod's place through the Eviction API, as draining a node does."""
    name = {"name": pod.metadata.name, "namespace": pod.metadata.namespace}
    core.create_namespaced_pod_eviction(**name, body={"apiVersion": "policy/v1", "kind": "Eviction", "metadata": name})


def running(airflow: AirflowCluster, selector: str) -> list[client.V1Pod]:
    return [pod for pod in airflow.cluster.pods(selector) if pod.status.phase == "Running" and pod.metadata.deletion_timestamp is None]


@pytest.fixture(scope="module")
def started(full_size: AirflowCluster, whole: bool) -> dict[str, list[str]]:
    """Run ids by DAG id. Those whose node is drained begin, and are drained, before the others."""
    names = {case: [f"trouble__{case}__{way}" for way in WAYS] for case in NUMBERS}
    runs = {name: [full_size.start(name) for _ in range(NUMBERS["drained"] if whole else 1)] for name in names["drained"]}
    selector = f"dag_id in ({','.join(names['drained'])})"
    number = sum(len(of) for of in runs.values())
    full_size.cluster.wait_for("not all pods run", lambda: len(running(full_size, selector)) == number, 240)
    with cordoned(full_size.cluster.core):
        for pod in running(full_size, selector):
            evict(full_size.cluster.core, pod)
        full_size.cluster.wait_for("evicted pods stay", lambda: not running(full_size, selector), 60)
    for case, of in names.items():
        for name in of if case != "drained" else ():
            runs[name] = [full_size.start(name) for _ in range(NUMBERS[case] if whole else 1)]
    return runs


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", MENDED)
def test_what_the_cluster_did_is_tried_again_with_its_reason(case: str, way: str, full_size: AirflowCluster, started: dict[str, list[str]]) -> None:
    dag_id = f"trouble__{case}__{way}"
    for found in [ended(full_size, dag_id, run_id) for run_id in started[dag_id]]:
        assert (found.state, found.tries) == ("success", 2)
        assert MENDED[case] in found.logs[0]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", FINAL)
def test_what_nothing_mends_fails_at_once(case: str, way: str, full_size: AirflowCluster, started: dict[str, list[str]]) -> None:
    dag_id = f"trouble__{case}__{way}"
    for found in [ended(full_size, dag_id, run_id) for run_id in started[dag_id]]:
        assert (found.state, found.tries) == ("failed", 1)
        assert FINAL[case] in found.logs[0]


def test_no_pod_is_left(full_size: AirflowCluster, started: dict[str, list[str]]) -> None:
    for dag_id, run_ids in started.items():
        for run_id in run_ids:
            full_size.finished(dag_id, run_id, DEADLINE)
    full_size.cluster.wait_for("pods are left", lambda: not full_size.cluster.pods(f"dag_id in ({','.join(started)})"), 60)


# --- jobs of somebody else ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def airbyte(sources: Platform, full_size: AirflowCluster) -> Iterator[Service]:
    """An Airbyte beside the cluster with a lake of its own, and Airflow's connection to it."""
    dsn = sources.postgres.dsn
    sources.postgres.create_databases("iceberg")
    create_catalog_tables(dsn("iceberg"))
    properties = {"uri": dsn("iceberg", driver="psycopg2"), "local.root": str(sources.paths.lake), "warehouse": "local:///warehouse"}
    with Service.running(sources, open_catalog(CATALOG, properties), state="airbyte_kubernetes") as service:
        login, password = CLIENT
        body = {"connection_id": CONNECTION, "conn_type": "airbyte", "host": seen_from_pods(service.client.api), "login": login, "password": password}
        full_size.api.call("POST", "/connections", json=body)
        yield service
        full_size.api.call("DELETE", f"/connections/{CONNECTION}")


@pytest.mark.parametrize("end", ["killed", "evicted"])
def test_a_sync_is_found_again_by_the_next_worker(end: str, airbyte: Service, full_size: AirflowCluster, cluster_node: Node, whole: bool) -> None:
    shops = [airbyte.shop() for _ in range(3 if whole else 1)]
    airbyte.client.faults(*({"match": {"method": "POST", "path": "/jobs", "connection_id": shop.id}, "job": {"stream_seconds": SLOW}} for shop in shops))
    runs = {full_size.start("trouble__sync", {"connection": shop.id}): shop for shop in shops}
    lost = full_size.cluster.wait_for("not every sync runs", lambda: workers(full_size, runs, airbyte), 240)
    for pod in lost:
        if end == "killed":
            cluster_node.kill(pod, "base")
        else:
            evict(full_size.cluster.core, pod)
    for run_id, shop in runs.items():
        (task,) = full_size.finished("trouble__sync", run_id, DEADLINE)
        assert (task.state, task.try_number) == ("success", 2)
        jobs = airbyte.store.list_jobs([("connection_id = %s", shop.id)], "job_id", 20, 0)
        statuses = [job.status for job in jobs]
        assert statuses == ["succeeded"] if end == "killed" else statuses in (["succeeded"], ["cancelled", "succeeded"])
    airbyte.settle()


def workers(airflow: AirflowCluster, runs: dict[str, Shop], airbyte: Service) -> list[client.V1Pod]:
    """The workers of these runs once Airbyte works for each of them; none before."""
    busy = [job for shop in runs.values() for job in airbyte.store.list_jobs([("connection_id = %s", shop.id)], "job_id", 5, 0) if job.status == "running"]
    pods = [pod for pod in airflow.pods("worker") if pod.metadata.annotations.get("run_id") in runs and pod.status.phase == "Running"]
    return pods if len(pods) == len(busy) == len(runs) else []
