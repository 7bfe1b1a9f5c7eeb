"""KubernetesExecutor and LocalExecutor in one run, and what a worker pod is given."""

from __future__ import annotations

import json
from typing import Any

import pytest

from include.config.environments import read_environment
from include.config.pools import pools_of
from tests.helm.charts import RELEASE_NAMESPACE
from tests.kubernetes.airflow_cluster import LOCATION, AirflowCluster
from tests.kubernetes.watching import Seen, watched

WORDS = "looking round"  # of tests/kubernetes/dags/executors.py
pytestmark = pytest.mark.kubernetes


@pytest.fixture(scope="module")
def run(airflow_cluster: AirflowCluster) -> tuple[str, Seen]:
    with watched(airflow_cluster.cluster.new_core, RELEASE_NAMESPACE, "kubernetes_executor=True,dag_id=two_executors") as seen:
        run_id, tasks = airflow_cluster.run("two_executors")
    assert {task.task_id: (task.state, task.try_number) for task in tasks} == {"in_a_pod": ("success", 1), "in_the_scheduler": ("success", 1)}
    return run_id, seen


def test_an_install_makes_the_pools_that_tasks_name(airflow_cluster: AirflowCluster) -> None:
    found = {pool["name"]: pool for pool in airflow_cluster.api.call("GET", "/pools", limit=100)["pools"]}
    wanted = pools_of(read_environment({"OL_RUNTIME": "pod", "OL_IMAGE_TAG": airflow_cluster.given.tag}))
    assert found.keys() == {pool.name for pool in wanted} | {"default_pool"}
    for pool in wanted:
        assert (found[pool.name]["slots"], found[pool.name]["include_deferred"]) == (pool.slots, pool.include_deferred)


def test_each_task_ran_where_it_asked_for(run: tuple[str, Seen], airflow_cluster: AirflowCluster) -> None:
    run_id, seen = run
    (worker,) = seen.pods.values()
    (scheduler,) = airflow_cluster.pods("scheduler")
    assert airflow_cluster.xcom("two_executors", run_id, "in_a_pod")["host"] == worker.metadata.name
    assert airflow_cluster.xcom("two_executors", run_id, "in_the_scheduler")["host"] == scheduler.metadata.name


def test_a_worker_knows_the_api_server_and_no_secret(run: tuple[str, Seen], airflow_cluster: AirflowCluster) -> None:
    found = airflow_cluster.xcom("two_executors", run[0], "in_a_pod")
    assert found["api"] == "http://airflow-api-server:8080/execution/"
    assert found["no_database"] is True
    assert found["variables"] == []


def test_no_worker_pod_names_a_secret_or_a_database(run: tuple[str, Seen], airflow_cluster: AirflowCluster) -> None:
    (worker,) = run[1].pods.values()
    spec: dict[str, Any] = airflow_cluster.cluster.plain(worker.spec)
    text = json.dumps(spec)
    assert "secretKeyRef" not in text
    assert "secretRef" not in text
    assert "sql_alchemy" not in text.lower()
    assert spec["serviceAccountName"] == f"airflow-worker-{LOCATION}", "the identity of its code location"
    assert {"config", "logs", "tmp", "test-dags"} <= {volume["name"] for volume in spec["volumes"]}
    assert not [volume for volume in spec["volumes"] if "secret" in volume]
    config = airflow_cluster.cluster.core.read_namespaced_config_map("airflow-config", RELEASE_NAMESPACE).data["airflow.cfg"]
    assert "sql_alchemy_conn" not in config


def test_logs_of_both_are_there_after_the_pod_is_gone(run: tuple[str, Seen], airflow_cluster: AirflowCluster) -> None:
    run_id, _ = run
    airflow_cluster.cluster.wait_for("the worker pod stays", lambda: not airflow_cluster.pods("worker"), 240)
    for task in airflow_cluster.api.tasks("two_executors", run_id):
        assert WORDS in airflow_cluster.log("two_executors", run_id, task, WORDS), f"{task.task_id} has no log"


def test_a_large_result_lies_on_the_object_store_and_arrives(run: tuple[str, Seen], airflow_cluster: AirflowCluster) -> None:
    run_id, _ = run
    assert airflow_cluster.xcom("two_executors", run_id, "in_the_scheduler")["received"] == 70_000
    files = airflow_cluster.given.store.files()
    (file,) = files.find(f"{airflow_cluster.given.root}/xcom/two_executors/{run_id}")
    assert "in_a_pod" in file
    assert files.size(file) > 70_000
