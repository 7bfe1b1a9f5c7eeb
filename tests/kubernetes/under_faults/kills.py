"""What a killed part costs a run: how long until everything goes on, and which tasks ran again."""

from __future__ import annotations

import itertools
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from include.pods.operator import NAMESPACE
from tests.helm.charts import RELEASE_NAMESPACE
from tests.kubernetes.airflow_cluster import AirflowCluster
from tests.kubernetes.node import Node

PATIENCE = 240.0
"""Seconds after which a recovery counts as none."""
NOTES = """
SELECT task_id, split_part(key, ' ', 1), value, extract(epoch FROM updated_at)::float
FROM task_state_store WHERE run_id = %s AND (key LIKE 'began %%' OR key LIKE 'ended %%') ORDER BY id
"""
RUNNING = "SELECT task_id, try_number FROM task_instance WHERE run_id = %s AND state = 'running' AND hostname = %s"
STARTED = "SELECT task_id, try_number, state, extract(epoch FROM start_date)::float FROM task_instance WHERE run_id = %s"
TRIGGERER = "SELECT id FROM job WHERE job_type = 'TriggererJob' AND hostname = %s AND state = 'running' ORDER BY id DESC LIMIT 1"
TRIGGERS = "SELECT count(*) FILTER (WHERE triggerer_id IS NOT DISTINCT FROM %s), count(*) FILTER (WHERE triggerer_id IS NULL) FROM trigger"


@dataclass(frozen=True)
class Note:
    """What a task of ``dags/kills.py`` noted: when by its own clock, and when it was stored."""

    task_id: str
    what: str
    host: str
    at: float
    stored: float


@dataclass(frozen=True)
class Recovery:
    """One kill: which pod's process (empty for a program of the node), when, seconds until all went on, and the tasks that ran there."""

    what: str
    host: str
    at: float
    seconds: float
    lost: tuple[str, ...] = ()


class Victim:
    """A run of the DAG ``kills`` and the Airflow under it."""

    def __init__(self, airflow: AirflowCluster, node: Node, run_id: str) -> None:
        self.airflow, self.node, self.run_id = airflow, node, run_id
        self._connection: psycopg.Connection[Any] | None = None

    # --- looking ---------------------------------------------------------------------------------

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]] | None:
        """Rows from Airflow's database; ``None`` while it does not answer."""
        try:
            if self._connection is None or self._connection.closed:
                self._connection = psycopg.connect(self.airflow.database, autocommit=True)
            return self._connection.execute(statement.encode(), parameters).fetchall()
        except psycopg.OperationalError:
            self.close()
            return None

    def close(self) -> None:
        """Gives the connection back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def notes(self) -> list[Note] | None:
        """Everything that the run's tasks have noted."""
        rows = self.query(NOTES, self.run_id)
        if rows is None:
            return None
        return [Note(task_id, what, (fact := json.loads(value))["host"], fact["at"], stored) for task_id, what, value, stored in rows]

    # --- kills -----------------------------------------------------------------------------------

    def kill(self, what: str) -> Recovery:
        """Kills one part and waits until all goes on; fails the test when it does not."""
        assert self.airflow.state("kills", self.run_id) == "running", f"the run ended before {what} could be killed: give its tasks more seconds"
        return {
            "scheduler": self._scheduler,
            "triggerer": self._triggerer,
            "kubelet": self._kubelet,
            "job's container": self._job,
            "worker's container": self._worker,
        }.get(what, lambda: self._part(what))()

    def _part(self, what: str) -> Recovery:
        """A part that every task needs, or none: all goes on when, after the kill, a task has begun and a task has ended."""
        if what == "postgres":
            self.airflow.kill_postgres(self.node)
            host = what
        else:
            pod = self.airflow.pods(what)[0]
            self.node.kill(pod, what)
            host = pod.metadata.name
        at = time.time()
        return Recovery(what, host, at, self._wait(what, at, lambda: self._flows(at)) - at)

    def _flows(self, at: float) -> float | None:
        first: dict[str, float] = {}
        for note in self.notes() or ():
            if note.at > at:
                first[note.what] = min(first.get(note.what, note.stored), note.stored)
        return max(first.values()) if len(first) == 2 else None

    def _scheduler(self) -> Recovery:
        """All goes on when each task that ran beside the scheduler runs again."""
        pods = self.airflow.pods("scheduler")
        running = {pod.metadata.name: dict(self.query(RUNNING, self.run_id, pod.metadata.name) or ()) for pod in pods}
        pod = max(pods, key=lambda one: len(running[one.metadata.name]))
        self.node.kill(pod, "scheduler")
        at, host = time.time(), pod.metadata.name
        # what ended or began between the look and the kill is not counted
        lost = {task_id: tries for task_id, tries in running[host].items() if self._runs(task_id, tries)}

        def again() -> float | None:
            starts = {task_id: started for task_id, tries, state, started in self.query(STARTED, self.run_id) or () if self._later(lost, task_id, tries, state)}
            return max((at, *(started for task_id, started in starts.items() if started))) if lost.keys() <= starts.keys() else None

        recovered = max(self._wait("scheduler", at, again), self._wait("scheduler", at, lambda: self._flows(at)) if not lost else at)
        return Recovery("scheduler", host, at, recovered - at, tuple(sorted(lost)))

    def _runs(self, task_id: str, tries: int) -> bool:
        rows = self.query("SELECT FROM task_instance WHERE run_id = %s AND task_id = %s AND try_number = %s AND state = 'running'", self.run_id, task_id, tries)
        return bool(rows)

    @staticmethod
    def _later(lost: dict[str, int], task_id: str, tries: int, state: str | None) -> bool:
        return task_id in lost and (state in ("success", "deferred") or (tries > lost[task_id] and state == "running"))

    def _triggerer(self) -> Recovery:
        """All goes on when what the dead one watched is watched by a living one."""
        watched = self.airflow.cluster.wait_for("nothing waits in a triggerer", self._watching, 60)
        pod, job = watched
        self.node.kill(pod, "triggerer")
        at = time.time()

        def taken() -> float | None:
            found = self.query(TRIGGERS, job)
            return time.time() if found is not None and found[0] == (0, 0) else None

        return Recovery("triggerer", pod.metadata.name, at, self._wait("triggerer", at, taken) - at)

    def _watching(self) -> tuple[client.V1Pod, int] | None:
        for pod in self.airflow.pods("triggerer"):
            jobs = self.query(TRIGGERER, pod.metadata.name)
            found = self.query(TRIGGERS, jobs[0][0]) if jobs else None
            if jobs and found and found[0][0] > 0:
                return pod, jobs[0][0]
        return None

    def _kubelet(self) -> Recovery:
        """All goes on when a pod that was made after the kill runs."""
        self.node.kill_program("kubelet")
        at = time.time()
        core = self.airflow.cluster.core
        (like,) = self.airflow.cluster.pods("app=postgres", "ol-services")
        probe = probe_pod(like.spec.containers[0].image)
        core.create_namespaced_pod(NAMESPACE, probe)

        def runs() -> float | None:
            return time.time() if core.read_namespaced_pod(probe["metadata"]["name"], NAMESPACE).status.phase == "Running" else None

        try:
            return Recovery("kubelet", "", at, self._wait("kubelet", at, runs) - at)
        finally:
            core.delete_namespaced_pod(probe["metadata"]["name"], NAMESPACE, grace_period_seconds=0)

    def _job(self) -> Recovery:
        """All goes on when the job's task has another pod, and it runs."""
        pod = self.airflow.cluster.wait_for("no job runs", lambda: self._running_pod(NAMESPACE, "dag_id=kills", "base"), 120)
        self.node.kill(pod, "base")
        at, task_id = time.time(), pod.metadata.labels["task_id"]

        def again() -> float | None:
            found = self._running_pod(NAMESPACE, f"dag_id=kills,task_id={task_id}", "base")
            return time.time() if found and found.metadata.uid != pod.metadata.uid else None

        return Recovery("job's container", pod.metadata.name, at, self._wait("job's container", at, again) - at, (task_id,))

    def _worker(self) -> Recovery:
        """All goes on when the worker's task has begun again."""
        pod = self.airflow.cluster.wait_for("no task runs in a worker", self._busy_worker, 120)
        self.node.kill(pod, "base")
        at, host = time.time(), pod.metadata.name
        (task_id,) = {note.task_id for note in self.notes() or () if note.host == host}

        def again() -> float | None:
            return next((note.stored for note in self.notes() or () if note.task_id == task_id and note.what == "began" and note.at > at), None)

        return Recovery("worker's container", host, at, self._wait("worker's container", at, again) - at, (task_id,))

    def _busy_worker(self) -> client.V1Pod | None:
        notes = self.notes() or []
        busy = {note.host for note in notes if note.what == "began"} - {note.host for note in notes if note.what == "ended"}
        return next((pod for pod in self.airflow.pods("worker") if pod.metadata.name in busy and pod.status.phase == "Running"), None)

    def _running_pod(self, namespace: str, selector: str, container: str) -> client.V1Pod | None:
        for pod in self.airflow.cluster.pods(selector, namespace):
            states = [status.state for status in pod.status.container_statuses or () if status.name == container]
            if pod.metadata.deletion_timestamp is None and states and states[0].running:
                return pod
        return None

    def _wait(self, what: str, since: float, moment: Callable[[], float | None]) -> float:
        while time.time() - since < PATIENCE:
            try:
                if (found := moment()) is not None:
                    return found
            except (ApiException, HTTPError):
                pass
            time.sleep(0.3)
        return pytest.fail(f"{PATIENCE:.0f} s after the {what} was killed not all goes on: {self.airflow.tasks_if_any('kills', self.run_id)}")

    # --- the end ---------------------------------------------------------------------------------

    def executed_twice_without_need(self, recoveries: list[Recovery]) -> list[str]:
        """Executions that another one followed though they had ended, or though nobody had killed their process."""
        found: list[str] = []
        by_task: dict[str, list[Note]] = {}
        for note in self.notes() or ():
            by_task.setdefault(note.task_id, []).append(note)
        for task_id, notes in by_task.items():
            begun, ended = ([note for note in notes if note.what == what] for what in ("began", "ended"))
            if len(ended) != 1:
                found.append(f"{task_id}: ended {len(ended)} times")
            for one, following in itertools.pairwise(begun):
                if not any(kill.host == one.host and one.at < kill.at < following.at for kill in recoveries):
                    found.append(f"{task_id}: began on {one.host} and again {following.at - one.at:.0f} s later, and nobody had killed it")
        return found


def probe_pod(image: str) -> dict[str, Any]:
    """A pod that only runs, and passes the restricted standard and the quota."""
    security = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
    container = {
        "name": "probe",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "600"],
        "securityContext": security,
        "resources": {kind: {"cpu": "10m", "memory": "16Mi", "ephemeral-storage": "16Mi"} for kind in ("requests", "limits")},
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 65534, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
    }
    return {"metadata": {"name": "probe", "namespace": NAMESPACE}, "spec": spec}


def percentile(values: list[float], share: float) -> float:
    """The smallest value that at least ``share`` of them do not exceed."""
    ordered = sorted(values)
    return ordered[math.ceil(len(ordered) * share) - 1]


def replaced(airflow: AirflowCluster, parts: tuple[str, ...]) -> None:
    """New pods for these parts: the kubelet holds back a container that crashes again within ten minutes, 10 s and then ever longer."""
    for part in parts:
        for pod in airflow.cluster.pods(f"component={part}", RELEASE_NAMESPACE):
            airflow.cluster.core.delete_namespaced_pod(pod.metadata.name, RELEASE_NAMESPACE)
    airflow.wait_until_ready()
