"""The main lane in pods: Airbyte connections into a lake on S3, dbt on Trino, reports with the totals of the sources, logs and XCom on S3."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from include.config.environments import current_environment
from include.config.load import load_units_strictly
from include.lake.manifest import load_warehouse
from include.local.airflow_api import TERMINAL, Run, Task
from include.local.platform import Platform
from include.local.summary import REPORTS, Lake, differences
from include.pods.operator import NAMESPACE
from tests.helm.charts import RELEASE_NAMESPACE
from tests.kubernetes.airflow_cluster import AirflowCluster
from tests.kubernetes.watching import Seen, watched

SECONDS = 1200.0
WAREHOUSE = "warehouse"
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1800)]


@dataclass(frozen=True)
class Lane:
    """One round: its runs and tasks by DAG, and the pods that were there on the way."""

    runs: dict[str, Run]
    tasks: dict[str, list[Task]]
    jobs: Seen
    workers: Seen


@pytest.fixture(scope="module")
def lane(airflow_cluster: AirflowCluster, filled_sources: Platform) -> Lane:
    api, core = airflow_cluster.api, airflow_cluster.cluster.new_core
    connections = [unit.dag_id for unit in load_units_strictly("airbyte", current_environment())]
    dag_ids = {*connections, WAREHOUSE}
    api.wait_for_dags(dag_ids, 240)
    for dag_id in dag_ids:
        api.unpause(dag_id)
    with watched(core, NAMESPACE, "dag_id") as jobs, watched(core, RELEASE_NAMESPACE, "kubernetes_executor=True") as workers:
        for dag_id in connections:
            api.trigger(dag_id)
        runs = ended(airflow_cluster, dag_ids)
    return Lane(runs, {dag_id: api.tasks(dag_id, run.run_id) for dag_id, run in runs.items()}, jobs, workers)


def ended(airflow: AirflowCluster, dag_ids: set[str]) -> dict[str, Run]:
    """The runs of these DAGs once each has ended one. Fails the test at the first that failed, with its task's log."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        runs = {run.dag_id: run for run in airflow.api.runs() if run.dag_id in dag_ids}
        for run in runs.values():
            if run.state == "failed":
                failed = [task for task in airflow.api.tasks(run.dag_id, run.run_id) if task.state == "failed"]
                pytest.fail(f"{run.dag_id} failed:\n" + "\n".join(airflow.log(run.dag_id, run.run_id, task)[-4000:] for task in failed[:2]))
        if runs.keys() == dag_ids and all(run.state in TERMINAL for run in runs.values()):
            return runs
        time.sleep(1)
    return pytest.fail(f"after {SECONDS:.0f} s: {[(run.dag_id, run.state) for run in airflow.api.runs()]}")


def test_reports_have_the_totals_of_the_sources(lane: Lane, sources: Platform) -> None:
    found = differences(sources, Lake(sources, current_environment()))
    assert found.keys() == REPORTS.keys()
    assert {name: notes for name, (_, notes) in found.items() if notes} == {}
    assert all(rows for rows, _ in found.values())


def test_every_task_succeeded_at_its_first_try(lane: Lane) -> None:
    tasks = [(dag_id, task.task_id, task.state, task.try_number) for dag_id, of in lane.tasks.items() for task in of]
    assert [task for task in tasks if task[2:] != ("success", 1)] == []


def test_each_job_had_one_pod_and_none_is_left(lane: Lane, airflow_cluster: AirflowCluster) -> None:
    pods = [(pod.metadata.labels["dag_id"], pod.metadata.labels["task_id"]) for pod in lane.jobs.pods.values()]
    wanted = [(dag_id, task) for dag_id in lane.runs if dag_id != WAREHOUSE for task in ("verify", "stage")]
    assert sorted(pods) == sorted([*wanted, (WAREHOUSE, "build")])
    airflow_cluster.cluster.wait_for("pods outlive their tasks", lambda: not airflow_cluster.cluster.pods() and not airflow_cluster.pods("worker"), 240)


def test_the_builds_progress_turned_each_models_task_green_without_a_worker(lane: Lane, airflow_cluster: AirflowCluster) -> None:
    models = [task for task in lane.tasks[WAREHOUSE] if task.task_id != "build"]
    assert len(models) == len(load_warehouse().built_by_warehouse())
    assert {pod.metadata.labels["task_id"] for pod in lane.workers.pods.values() if pod.metadata.labels["dag_id"] == WAREHOUSE} == {"build"}
    (pod,) = [pod for pod in lane.jobs.pods.values() if pod.metadata.labels["dag_id"] == WAREHOUSE]
    (dbt,) = [status for status in pod.status.container_statuses if status.name == "base"]
    run = airflow_cluster.api.call("GET", f"/dags/{WAREHOUSE}/dagRuns/{lane.runs[WAREHOUSE].run_id}/taskInstances", limit=100)
    ends = [datetime.fromisoformat(item["end_date"]) for item in run["task_instances"] if item["task_id"] != "build"]
    assert min(ends) < dbt.state.terminated.finished_at, "tasks turn green while dbt runs, not after it"


def test_each_table_has_an_event_with_its_rows(lane: Lane, airflow_cluster: AirflowCluster) -> None:
    events: list[dict[str, Any]] = []
    for dag_id, run in lane.runs.items():
        events += airflow_cluster.api.call("GET", "/assets/events", limit=100, source_dag_id=dag_id, source_run_id=run.run_id)["asset_events"]
    units = load_units_strictly("airbyte", current_environment())
    assert len({event["uri"] for event in events}) == sum(len(unit.streams) for unit in units) + sum(not model.dag for model in load_warehouse().models)
    assert [event["uri"] for event in events if event["extra"].get("rows") is None] == []


def test_logs_of_pods_that_are_gone_are_on_the_object_store(lane: Lane, airflow_cluster: AirflowCluster) -> None:
    for dag_id, run in lane.runs.items():
        for task in lane.tasks[dag_id]:
            words = {"stage": "built and tested in", "build": "built and tested in", "verify": "rows", "sync": "succeeded"}.get(task.task_id)
            if words:
                assert words in airflow_cluster.log(dag_id, run.run_id, task, words), f"{dag_id}.{task.task_id}"
    files = airflow_cluster.given.store.files().find(f"{airflow_cluster.given.root}/logs/dag_id={WAREHOUSE}")
    assert [name for name in files if "task_id=build" in name] != []


def test_dbt_starts_with_the_images_parse_state(lane: Lane, airflow_cluster: AirflowCluster) -> None:
    for dag_id, run in lane.runs.items():
        for task in lane.tasks[dag_id]:
            if task.task_id in ("stage", "build"):
                log = airflow_cluster.log(dag_id, run.run_id, task)
                assert "the project was parsed before" in log
                assert "parsed anew" not in log
