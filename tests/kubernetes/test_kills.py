"""Every component that a platform may lose is killed in turn under a run of sixty jobs, each of which adds a row to the lake.

The run succeeds, no row is lost or doubled, and only those tasks run again whose own process died. How long it takes until what was killed works again
is told at the end of the session (``recovery after a kill``), not judged: it is the machine's as much as ours. A scheduler works again when the tasks
that ran beside it do, which is also when the next kill comes.
"""

from __future__ import annotations

import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from kubernetes.client.exceptions import ApiException
from pyiceberg.table import Table

from include.local.airflow_api import AirflowApiError, Task
from include.pods.operator import NAMESPACE
from tests.helm.charts import RELEASE_NAMESPACE
from tests.kubernetes.airflow_cluster import AirflowCluster
from tests.kubernetes.cluster import working_since
from tests.kubernetes.node import Node
from tests.kubernetes.watching import Seen, watched

DAG_ID = "sixty_rows"
JOBS = 60
HEALTH = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer", "postgres": "scheduler", "pgbouncer": "scheduler"}
"""What is killed → the component whose next heartbeat shows that it works again."""
KINDS = (*HEALTH, "api-server", "kubelet", "job")
NEED_WORK = ("kubelet", "job")  # works again when a further job does: they come first, while there are many
BESIDE_SCHEDULER = ("beside_", "deferred_")  # tasks of LocalExecutor: they die with the scheduler
GOES_ON = ("running", "deferred", "success")
ROUNDED = timedelta(seconds=1)  # the kubelet tells whole seconds
BOUND = 240.0
TWO_API_SERVERS = {"apiServer": {"replicas": 2}}  # one of them is killed: nowhere but on a laptop is there one alone
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(3600)]


@dataclass(frozen=True)
class Attempt:
    """One try of a task, from the moment it was handed to its executor until its end was known."""

    task_id: str
    begun: datetime
    ended: datetime


@dataclass(frozen=True)
class Try:
    """One try of a task as Airflow counts it: lost and started again, a task has another id."""

    id: str
    state: str


@dataclass
class Round:
    """One run under kills: its tasks, its pods, and what died of them."""

    run_id: str
    tasks: list[Task] = field(default_factory=list)
    pods: list[Any] = field(default_factory=list)
    lost: set[str] = field(default_factory=set)
    """Tasks whose own process was killed in its pod, or whose pod made room for a component that started again."""
    failed: list[Attempt] = field(default_factory=list)
    """The tries of tasks beside the scheduler that were not their last; without those of tasks whose own process was killed."""
    scheduler_ends: set[datetime] = field(default_factory=set)
    while_running: list[str] = field(default_factory=list)
    recovery: dict[str, float] = field(default_factory=dict)
    """What was killed → seconds until it worked again."""


class Killer:
    """Kills one thing after the other under a run, and waits each time until what was killed works again."""

    def __init__(self, airflow: AirflowCluster, node: Node, found: Round, seen: Seen, *, whole_pods: bool) -> None:
        self._airflow, self._node, self._found, self._seen, self._whole_pods = airflow, node, found, seen, whole_pods

    def kill(self, what: str) -> None:
        """Notes what it cost."""
        cluster, found = self._airflow.cluster, self._found
        self._airflow.wait_until_ready(BOUND)  # what the kill before took with it
        pod = cluster.wait_for(f"no job works for the kill of {what}", self._working_job, BOUND)
        # the kill before may have been that of the API server which is asked
        if self._airflow.patiently(lambda: self._airflow.state(DAG_ID, found.run_id)) == "running":
            found.while_running.append(what)
        left = self._airflow.patiently(self._beside_scheduler)
        if what == "job":
            pod = cluster.wait_for("no job works that can be killed", self._killed_job, BOUND)
            found.lost.add(pod.metadata.labels["task_id"])
        elif what == "kubelet":
            self._node.kill_program("kubelet")
        elif what == "postgres":
            self._airflow.kill_postgres(self._node)
        elif self._whole_pods:
            self._airflow.delete(what, 1)
        else:
            self._airflow.kill(what, self._node, at_most=1)
        begun = time.monotonic()
        works = self._sign_of_life(what, pod, left)
        cluster.wait_for(f"{what} does not work again", works, BOUND)
        found.recovery[what] = time.monotonic() - begun

    def _working_job(self) -> Any:
        """The pod of the job that began last, and so has most of its work before it."""
        begun = [(since, pod.metadata.name, pod) for pod in self._airflow.cluster.pods(f"dag_id={DAG_ID}") if (since := working_since(pod))]
        return max(begun)[2] if begun else None

    def _killed_job(self) -> Any:
        """The pod of a job that was killed at its work; none when that was over before."""
        try:
            pod = self._working_job()
            return pod if pod and self._node.strike(pod, "base") else None
        except ApiException as error:
            if error.status != 404:
                raise
            return None

    def _sign_of_life(self, what: str, killed: Any, left: dict[str, Try]) -> Callable[[], bool]:
        """Whether it has done something since it was killed; if the scheduler went with it, whether the tasks beside it (``left``) are taken up as well."""
        if what == "job":
            task = killed.metadata.labels["task_id"]
            return lambda: any(pod.metadata.uid != killed.metadata.uid and pod.status.phase != "Pending" for pod in self._pods_of(task))
        if what == "kubelet":
            known = set(self._seen.pods)
            return lambda: any(uid not in known and pod.status.phase != "Pending" for uid, pod in list(self._seen.pods.items()))
        if what == "api-server":
            return lambda: self._health() is not None
        component, last, scheduler = HEALTH[what], self._heartbeat(HEALTH[what]), self._container()

        def works() -> bool:
            if self._heartbeat(component) in (None, last):
                return False
            return self._container() == scheduler or self._taken_up(left)

        return works

    def _tries(self) -> dict[str, Try]:
        """All tasks of the run that were ever started."""
        found = self._airflow.api.call("GET", f"/dags/{DAG_ID}/dagRuns/{self._found.run_id}/taskInstances", limit=JOBS)["task_instances"]
        return {task["task_id"]: Try(task["id"], task["state"] or "none") for task in found}

    def _beside_scheduler(self) -> dict[str, Try]:
        """The tasks that run in the scheduler's container."""
        return {task: one for task, one in self._tries().items() if one.state == "running" and task.startswith(BESIDE_SCHEDULER)}

    def _taken_up(self, left: dict[str, Try]) -> bool:
        """Whether all of these are over, or run once more."""
        try:
            now = self._tries()
        except AirflowApiError:
            return False
        return all(now[task] != before and now[task].state in GOES_ON for task, before in left.items())

    def _container(self) -> list[str]:
        """The scheduler's containers: another one each time that it starts."""
        return [status.container_id for pod in self._airflow.pods("scheduler") for status in pod.status.container_statuses or ()]

    def _pods_of(self, task: str) -> list[Any]:
        return [pod for pod in list(self._seen.pods.values()) if pod.metadata.labels["task_id"] == task]

    def _health(self) -> Any:
        try:
            return self._airflow.api.call("GET", "/monitor/health")
        except AirflowApiError:
            return None

    def _heartbeat(self, component: str) -> str | None:
        health = self._health()
        return None if health is None else health[component].get(f"latest_{component}_heartbeat")


@pytest.fixture(scope="module")
def rounds(
    airflow_cluster: AirflowCluster, rows: Table, cluster_node: Node, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory, told: list[str]
) -> list[Round]:
    """As many runs as are asked for, every one under all kills in an order of its own; containers in the first, whole pods in every second."""
    with airflow_cluster.deployed_with(TWO_API_SERVERS, tmp_path_factory.mktemp("two")):
        found = [under_kills(number, airflow_cluster, rows, cluster_node) for number in range(pytestconfig.getoption("--kill-rounds"))]
    for what in KINDS:
        seconds = [one.recovery[what] for one in found]
        told.append(f"recovery after a kill of {what}: {statistics.median(seconds):.1f} s (largest of {len(seconds)}: {max(seconds):.1f} s)")
    return found


def under_kills(number: int, airflow: AirflowCluster, rows: Table, node: Node) -> Round:
    """One run of the sixty jobs, from its start to its end."""
    kinds = list(KINDS)
    random.Random(number).shuffle(kinds)
    kinds.sort(key=lambda what: what not in NEED_WORK)
    one = Round(airflow.start(DAG_ID, {"table": ".".join(rows.name())}))
    core = airflow.cluster.new_core
    with watched(core, NAMESPACE, f"dag_id={DAG_ID}") as seen, watched(core, RELEASE_NAMESPACE, "component=scheduler") as schedulers:
        killer = Killer(airflow, node, one, seen, whole_pods=number % 2 == 1)
        for what in kinds:
            killer.kill(what)
        one.tasks = airflow.finished(DAG_ID, one.run_id, 1200)
    one.pods = [pod for pod in seen.pods.values() if pod.spec.containers[0].args and one.run_id in " ".join(pod.spec.containers[0].args)]
    one.lost |= {pod.metadata.labels["task_id"] for pod in one.pods if was_disrupted(pod)}
    one.scheduler_ends = schedulers.ends.get("scheduler", set())
    one.failed = failed_beside_scheduler(airflow, one)
    airflow.wait_until_ready()
    return one


def was_disrupted(pod: Any) -> bool:
    """Whether the cluster took the pod away while it ran."""
    return any(condition.type == "DisruptionTarget" and condition.status == "True" for condition in pod.status.conditions or ())


def failed_beside_scheduler(airflow: AirflowCluster, one: Round) -> list[Attempt]:
    """The tries before the last of all tasks that share the scheduler's container."""
    found = []
    for task in one.tasks:
        if task.try_number == 1 or task.task_id in one.lost or not task.task_id.startswith(BESIDE_SCHEDULER):
            continue
        tries = airflow.api.call("GET", f"/dags/{DAG_ID}/dagRuns/{one.run_id}/taskInstances/{task.task_id}/tries")["task_instances"]
        for attempt in tries:
            if attempt["try_number"] < task.try_number:
                begun = datetime.fromisoformat(attempt["queued_when"] or attempt["start_date"])
                found.append(Attempt(task.task_id, begun, datetime.fromisoformat(attempt["end_date"])))
    return found


def test_each_was_killed_under_a_running_run(rounds: list[Round]) -> None:
    assert [sorted(one.while_running) for one in rounds] == [sorted(KINDS)] * len(rounds)


def test_every_run_succeeds(rounds: list[Round]) -> None:
    for one in rounds:
        assert Counter(task.state for task in one.tasks) == {"success": JOBS}, [task for task in one.tasks if task.state != "success"]


def test_no_row_is_lost_or_doubled(rounds: list[Round], rows: Table) -> None:
    keys = Counter(rows.refresh().scan().to_arrow()["key"].to_pylist())
    for one in rounds:
        wanted = {f"{one.run_id} {task.task_id}": 1 for task in one.tasks}
        assert {key: count for key, count in keys.items() if key.startswith(one.run_id)} == wanted


def test_only_tasks_whose_own_process_died_run_again(rounds: list[Round]) -> None:
    for one in rounds:
        beside = {attempt.task_id for attempt in one.failed}
        for attempt in one.failed:  # its process went with the scheduler: killed, or ended by the loss of its database
            assert any(attempt.begun - ROUNDED <= end <= attempt.ended for end in one.scheduler_ends), (attempt, one.scheduler_ends)
        assert {task.task_id for task in one.tasks if task.try_number > 1} <= one.lost | beside
        pods = Counter(pod.metadata.labels["task_id"] for pod in one.pods)
        assert {task for task, count in pods.items() if count > 1} <= one.lost | beside
        assert pods.keys() == {task.task_id for task in one.tasks}
