"""What a crash costs: the scheduler, a worker and a job's pod are killed under running jobs. No work is lost, and none is done twice.

Also here: more pods at once than the jobs' namespace has room for.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from kubernetes import client
from pyiceberg.table import Table

from include.pods.operator import NAMESPACE
from tests.kubernetes.airflow_cluster import AirflowCluster
from tests.kubernetes.cluster import room_for, working_since
from tests.kubernetes.node import Node
from tests.kubernetes.watching import Seen, watched

SECONDS = 30  # that a job works before it writes: it is killed, or what waits for it is, in the first of them
ROOM = 8  # pods of jobs at a time, fewer than the tasks that Airflow runs at a time
DAGS = {"scheduler": "row__LocalExecutor", "worker": "row__KubernetesExecutor", "job": "row__KubernetesExecutor"}
"""What is killed → the DAG whose run it is killed under."""
PODS = {"scheduler": 1, "worker": 1, "job": 2}
"""What is killed → pods of work that its run has: the one that went on, or one more when it was the pod itself."""
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1500)]


@dataclass(frozen=True)
class Ended:
    """A run after its kill: its task's state and tries, and how many pods of work it had."""

    run_id: str
    state: str
    tries: int
    pods: int


def working(airflow: AirflowCluster, run_id: str) -> client.V1Pod | None:
    """The pod of a run's job once the job itself runs."""
    return next((pod for pod in jobs_of(airflow.cluster.pods("ol/job=row"), run_id) if working_since(pod)), None)


def jobs_of(pods: list[client.V1Pod], run_id: str) -> list[client.V1Pod]:
    """Those of one run: its id is an argument of the job, in a label it is cut."""
    return [pod for pod in pods if run_id in (pod.spec.containers[0].args or ())]


@pytest.fixture(scope="module")
def ended(airflow_cluster: AirflowCluster, rows: Table, cluster_node: Node) -> dict[str, Ended]:
    """Kills one after the other, each under a job that works, and waits for the end of all runs."""
    conf = {"seconds": SECONDS, "table": ".".join(rows.name())}
    kills: dict[str, Callable[[str, client.V1Pod], Any]] = {
        "job": lambda _, pod: cluster_node.kill(pod, "base"),
        "worker": lambda run_id, _: cluster_node.kill(worker_of(airflow_cluster, run_id), "base"),
        "scheduler": lambda *_: airflow_cluster.kill("scheduler", cluster_node),
    }
    runs: dict[str, str] = {}
    with watched(airflow_cluster.cluster.new_core, NAMESPACE, "ol/job=row") as seen:
        for what, kill in kills.items():
            if what == "scheduler":  # the others' deaths are its to notice
                for other in runs:
                    airflow_cluster.cluster.wait_for(f"the {other}'s death is not noticed", lambda other=other: tries(airflow_cluster, other, runs) == 2, 240)
            runs[what] = run_id = airflow_cluster.start(DAGS[what], conf)
            missing = f"no job runs for the kill of the {what}"
            kill(run_id, airflow_cluster.cluster.wait_for(missing, lambda run_id=run_id: working(airflow_cluster, run_id), 300))
        tasks = {what: airflow_cluster.finished(DAGS[what], run_id, 600)[0] for what, run_id in runs.items()}
    pods = {what: len(jobs_of(list(seen.pods.values()), run_id)) for what, run_id in runs.items()}
    return {what: Ended(runs[what], task.state, task.try_number, pods[what]) for what, task in tasks.items()}


def tries(airflow: AirflowCluster, what: str, runs: dict[str, str]) -> int:
    """How often the run's only task was started."""
    (task,) = airflow.api.tasks(DAGS[what], runs[what])
    return task.try_number


def worker_of(airflow: AirflowCluster, run_id: str) -> client.V1Pod:
    """The worker pod in which a run's only task waits."""
    (pod,) = [pod for pod in airflow.pods("worker") if pod.metadata.annotations.get("run_id") == run_id and pod.status.phase == "Running"]
    return pod


@pytest.mark.parametrize("what", DAGS)
def test_a_run_outlives_a_kill_without_doing_its_work_twice(what: str, ended: dict[str, Ended], rows: Table) -> None:
    found = ended[what]
    assert (found.state, found.pods) == ("success", PODS[what])
    keys = Counter(rows.refresh().scan().to_arrow()["key"].to_pylist())
    assert keys[found.run_id] == 1


def test_only_what_was_killed_was_tried_again(ended: dict[str, Ended]) -> None:
    # the job's own worker lived on and noticed; the scheduler's death is one of the task that waited beside it
    assert {what: found.tries for what, found in ended.items() if what != "scheduler"} == {"worker": 2, "job": 2}
    assert ended["scheduler"].tries in (1, 2), "Airflow resets a task that it finds orphaned, and does not count that, or a missing heartbeat, which counts"


# --- more pods than there is room for -------------------------------------------------------------


@pytest.fixture(scope="module")
def crowd(airflow_cluster: AirflowCluster, ended: dict[str, Ended]) -> tuple[list[Any], Seen, float]:
    """Forty jobs at once: their tasks, their pods, seconds until all had ended."""
    begun = time.monotonic()
    with room_for(airflow_cluster.cluster, ROOM), watched(airflow_cluster.cluster.new_core, NAMESPACE, "dag_id=forty_pods") as seen:
        _, tasks = airflow_cluster.run("forty_pods", seconds=600)
    return tasks, seen, time.monotonic() - begun


def test_pods_wait_for_room_in_the_quota_instead_of_failing_their_tasks(crowd: tuple[list[Any], Seen, float]) -> None:
    tasks, seen, _ = crowd
    assert Counter((task.state, task.try_number) for task in tasks) == {("success", 1): 40}
    assert len(seen.pods) == 40
    assert seen.most_alive == ROOM, "more would break the quota; fewer, and it was not tried"
