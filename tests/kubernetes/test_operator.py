"""The one operator against a real kubelet: how pods end, and what Airflow makes of it, waiting on a worker or in the triggerer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from include.local.airflow_api import TERMINAL, AirflowApi, Task
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.logs import stored_log

WAYS = ("waiting", "deferred")
ALL_WAYS = (*WAYS, "soon")  # of a job that is declared long and ends before its wait is handed over
CASES = ("success", "permanent", "transient", "out_of_memory", "no_image", "no_result", "writes_root")
REASONS = {
    "transient": "exit code 75",
    "out_of_memory": "OOMKilled: it needed more memory than profile xs has",
    "no_result": "left no result",
    "writes_root": "Read-only file system",
}
DEADLINE = 600.0
pytestmark = pytest.mark.kubernetes


@dataclass(frozen=True)
class Ended:
    """A run's only task at its end, its log, and what it returned."""

    state: str
    tries: int
    log: str
    result: dict[str, Any]


def ended(api: AirflowApi, dag_id: str, run_id: str, words: str) -> Ended:
    task = finished(api, dag_id, run_id)
    logs = [stored_log(api, dag_id, run_id, Task("pod", task.state, number, 0.0), words) for number in range(1, task.try_number + 1)]
    path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/pod/xcomEntries/return_value"
    returned = api.call("GET", path, allow=(404,))
    return Ended(task.state, task.try_number, "\n".join(logs), json.loads(returned["value"]) if returned else {})


def finished(api: AirflowApi, dag_id: str, run_id: str) -> Task:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if api.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"] in TERMINAL:
            return api.tasks(dag_id, run_id)[0]
        time.sleep(0.5)
    return pytest.fail(f"{dag_id} did not end within {DEADLINE:.0f} s")


@pytest.fixture(scope="module")
def started(airflow: AirflowApi) -> dict[str, str]:
    """Run id by DAG id, of all cases: triggered at once, since most of their time is waiting. Those that a test has to catch alive sleep that long."""
    names = {f"{case}__{way}" for case in (*CASES, "sleeps") for way in WAYS} | {f"{case}__soon" for case in ("success", "permanent", "transient")}
    airflow.wait_for_dags(names, 450)
    for name in names:
        airflow.unpause(name)
    return {name: airflow.trigger(name) for name in sorted(names)}


@pytest.fixture
def run(airflow: AirflowApi, started: dict[str, str]) -> Callable[[str, str], Ended]:
    """How a run ended, with a log that has these words, or has not got them in time."""
    return lambda dag_id, words: ended(airflow, dag_id, started[dag_id], words)


@pytest.mark.parametrize("way", ALL_WAYS)
def test_a_job_that_succeeds_hands_over_its_result_and_its_log(way: str, run: Callable[[str, str], Ended], cluster: Cluster) -> None:
    found = run(f"success__{way}", "WARNING: the second line")
    assert (found.state, found.tries) == ("success", 1)
    assert found.result["facts"]["user"] == 50000
    assert found.result["facts"]["host"], "the lake's address comes from the cluster"
    for line in ("the first line", "WARNING: the second line"):  # the triggerer's part of a log and the worker's are stored one after the other
        assert line in run(f"success__{way}", line).log
    cluster.wait_for("the pod outlives its task", lambda: not cluster.pods(f"dag_id=success__{way}"), 60)


@pytest.mark.parametrize("way", ALL_WAYS)
def test_a_permanent_failure_is_not_tried_again(way: str, run: Callable[[str, str], Ended]) -> None:
    found = run(f"permanent__{way}", "the column is gone")
    assert (found.state, found.tries) == ("failed", 1)
    assert "failed for good" in found.log
    assert "the column is gone" in found.log


@pytest.mark.parametrize(
    ("case", "way", "reason"),
    [
        *((case, way, reason) for case, reason in REASONS.items() for way in WAYS),
        ("transient", "soon", REASONS["transient"]),
    ],
)
def test_what_may_mend_itself_is_tried_again_with_its_reason(case: str, way: str, reason: str, run: Callable[[str, str], Ended]) -> None:
    found = run(f"{case}__{way}", reason)
    assert (found.state, found.tries) == ("failed", 2)
    assert reason in found.log


@pytest.mark.parametrize("way", WAYS)
def test_an_image_that_is_not_there_fails_at_once(way: str, run: Callable[[str, str], Ended]) -> None:
    found = run(f"no_image__{way}", "Image cannot be pulled")
    assert (found.state, found.tries) == ("failed", 1)
    assert "Image cannot be pulled" in found.log
    assert "localhost:9/jobs" in found.log


@pytest.fixture(scope="module")
def read_alive(airflow: AirflowApi, started: dict[str, str], cluster: Cluster) -> dict[str, Any]:
    """The pods, by way, that ran on after Airflow's UI had shown a line of theirs."""

    def shown(way: str) -> Any:
        lines = airflow.log_lines(f"sleeps__{way}", started[f"sleeps__{way}"], Task("pod", "running", 1, 0.0))
        return any("asleep" in json.dumps(line) for line in lines) and running(cluster, way)

    return {way: cluster.wait_for(f"no line of the job of {way} while it runs", partial(shown, way), 300)[0] for way in WAYS}


@pytest.mark.parametrize("way", WAYS)
def test_what_a_job_says_is_read_while_it_works(way: str, read_alive: dict[str, Any]) -> None:
    assert read_alive[way].metadata.labels["try_number"] == "1"


@pytest.fixture(scope="module")
def second_pods(airflow: AirflowApi, started: dict[str, str], cluster: Cluster, read_alive: dict[str, Any]) -> dict[str, Any]:
    """The pods, by way, that came for those that were taken away while they ran; their runs are failed under them as soon as they run.

    At once: later, the task of the deferred wait is handed over to the triggerer again and again, and nobody ends the pod of one that is failed between.
    """
    first = read_alive
    for pod in first.values():
        cluster.core.delete_namespaced_pod(pod.metadata.name, pod.metadata.namespace, grace_period_seconds=0)
    second: dict[str, Any] = {}

    def seen() -> bool:
        for way in [way for way in WAYS if way not in second]:
            run_id, others = started[f"sleeps__{way}"], [one for one in running(cluster, way) if one.metadata.uid != first[way].metadata.uid]
            if others:
                second[way] = others[0]
                airflow.call("PATCH", f"/dags/sleeps__{way}/dagRuns/{run_id}", json={"state": "failed"})
        return len(second) == len(WAYS)

    cluster.wait_for("not a second pod for each", seen, 300)
    return second


@pytest.mark.parametrize("way", WAYS)
def test_a_pod_that_is_taken_away_is_started_again(way: str, second_pods: dict[str, Any], cluster: Cluster) -> None:
    assert second_pods[way].metadata.labels["try_number"] == "2"
    cluster.wait_for("the pod outlives its task", lambda: not cluster.pods(f"dag_id=sleeps__{way}"), 180)


def running(cluster: Cluster, way: str) -> list[Any]:
    return [pod for pod in cluster.pods(f"dag_id=sleeps__{way}") if pod.status.phase == "Running" and pod.metadata.deletion_timestamp is None]
