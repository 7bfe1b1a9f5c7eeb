"""Forty jobs meet what pods meet: a drained node, too little memory, a full disk, no image."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.local.airflow_api import Task
from include.pods.operator import NAMESPACE
from tests.kubernetes.airflow_cluster import AirflowCluster
from tests.kubernetes.cluster import Cluster, working_since
from tests.kubernetes.howto import bash
from tests.kubernetes.watching import Seen, watched

DAG_ID = "forty_hardships"
ENDS = {
    "drained": {"success"},
    "mended": {"success"},
    "memory": {"failed"},
    "disk": {"failed"},
    "image": {"failed"},
}
TRIES = {"drained": {1, 2, 3}, "mended": {2}, "memory": {2}, "disk": {2}, "image": {1}}
"""Kind → what its tasks may end with, and after how many tries. Kinds and counts: dags/hardships.py."""
REASONS = {"mended": "OOMKilled", "memory": "OOMKilled", "disk": "Evicted", "image": "Image cannot be pulled"}
DRAINS = 2
FRESH = 10  # seconds; such a job has most of its sleep before it
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1500)]


@dataclass(frozen=True)
class Met:
    """A run at its end."""

    run_id: str
    tasks: dict[str, Task]
    seen: Seen
    drained: set[str]
    """Tasks whose pods a drain was to take away; one may have ended before."""


def kind(task_id: str) -> str:
    """``drained_7`` → ``drained``."""
    return task_id.rpartition("_")[0]


def drain(cluster: Cluster) -> set[str]:
    """Takes the pods that sleep away from every node as an administrator does, without waiting for new ones; the task ids of those that were to go.

    The others stay: what ends them is what their own hardship is about.
    """
    tasks = {pod.metadata.labels["task_id"] for pod in asleep(cluster)}
    bash(
        "for node in $(kubectl get nodes -o name); do\n"
        f"  kubectl drain $node --pod-selector='dag_id={DAG_ID},task_id in ({','.join(sorted(tasks))})'"
        " --force --delete-emptydir-data --ignore-daemonsets --grace-period=5 --timeout=180s || failed=1\n"
        "  kubectl uncordon $node\n"
        "done\n"
        "exit ${failed:-0}",
        cluster,
    )
    return tasks


def asleep(cluster: Cluster) -> list[Any]:
    """The pods of jobs that only sleep, and do so since a moment ago."""
    pods = [pod for pod in cluster.pods(f"dag_id={DAG_ID}") if kind(pod.metadata.labels["task_id"]) == "drained"]
    latest = datetime.now(UTC) - timedelta(seconds=FRESH)
    return [pod for pod in pods if (begun := working_since(pod)) and begun > latest]


@pytest.fixture(scope="module")
def met(airflow_cluster: AirflowCluster) -> Met:
    cluster, drained = airflow_cluster.cluster, set()
    with watched(cluster.new_core, NAMESPACE, f"dag_id={DAG_ID}") as seen:
        run_id = airflow_cluster.start(DAG_ID)
        for _ in range(DRAINS):
            cluster.wait_for("no two jobs sleep", lambda: len(asleep(cluster)) >= 2, 300)
            drained |= drain(cluster)
            time.sleep(10)
        tasks = airflow_cluster.finished(DAG_ID, run_id, 1200)
    return Met(run_id, {task.task_id: task for task in tasks}, seen, drained)


@pytest.mark.parametrize("of", ENDS)
def test_each_ends_as_it_should(of: str, met: Met) -> None:
    tasks = [task for task in met.tasks.values() if kind(task.task_id) == of]
    assert tasks
    assert {task.state for task in tasks} == ENDS[of], tasks
    assert {task.try_number for task in tasks} <= TRIES[of], tasks


def test_those_that_were_drained_ran_again_and_no_others(met: Met) -> None:
    again = tried_again(met)
    assert len(again) >= DRAINS
    assert again <= met.drained
    pods = Counter(pod.metadata.labels["task_id"] for pod in met.seen.pods.values())
    assert {task for task, count in pods.items() if kind(task) == "drained" and count > 1} == again


def tried_again(met: Met) -> set[str]:
    """The tasks that were drained."""
    return {task.task_id for task in met.tasks.values() if kind(task.task_id) == "drained" and task.try_number > 1}


@pytest.mark.parametrize("of", REASONS)
def test_the_log_says_why(of: str, met: Met, airflow_cluster: AirflowCluster) -> None:
    task = next(task for task in met.tasks.values() if kind(task.task_id) == of)
    first = Task(task.task_id, task.state, 1, 0.0)
    assert REASONS[of] in airflow_cluster.log(DAG_ID, met.run_id, first, REASONS[of])


def test_the_log_of_a_drained_job_says_so(met: Met, airflow_cluster: AirflowCluster) -> None:
    first = Task(sorted(tried_again(met))[0], "", 1, 0.0)
    log = airflow_cluster.log(DAG_ID, met.run_id, first, "rained")
    assert "its node was drained" in log or "EvictionByEvictionAPI" in log
