"""P3: from the request that triggers a run to its success, when its task is a pod that does nothing; one pod, and twenty at once.

Ours is the platform's operator with the chart's values; the peer is the provider's operator as it comes, under Airflow's own settings (a worker pod
for each task, one made a round); the limit is the same pod, made and watched through the API server without any Airflow. Needs the cluster and the
variables of the tests on a cluster (docs/howto/test-on-kubernetes.md).
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from kubernetes import client, watch

from benchmarks.options import Options
from benchmarks.results import Case, Goal, Outcome, Series
from benchmarks.stage import Timed, scratch, timed_run
from include.pods.operator import NAMESPACE
from tests.kubernetes.airflow_cluster import AirflowCluster
from tests.kubernetes.session import airflow_on_the_cluster
from tests.kubernetes.watching import ENDED

REPEATS = 5
MANY = 20
GOAL_MORE = 2.5  # seconds beside a bare pod
GOAL_RATE = 2.0  # pods a second
BOUND = 600.0
ROOM = 2 * MANY  # pods that the namespace has room for: those that end, and those that begin
OURS: dict[str, Any] = {"config": {"core": {"parallelism": MANY}}}
STOCK: dict[str, Any] = {
    "config": {
        "core": {"parallelism": 32},
        "scheduler": dict.fromkeys(("scheduler_idle_sleep_time", "orphaned_tasks_check_interval", "task_instance_heartbeat_timeout", "task_queued_timeout")),
        "kubernetes_executor": {"worker_pods_creation_batch_size": None},
    }
}
"""Values that are taken away: Airflow's own defaults are left."""


def measure(options: Options) -> Outcome:
    """Ours, stock and bare pods."""
    repeats = options.repeats or REPEATS
    bare: dict[int, list[float]] = {1: [], MANY: []}
    found: dict[str, dict[int, list[Timed]]] = {}
    with scratch() as folder:
        for part in ("sources", "chart", "values"):
            (folder / part).mkdir()
        with airflow_on_the_cluster(folder) as airflow:
            _make_room(airflow)
            for name, over in {"ours": OURS, "stock": STOCK}.items():
                with airflow.deployed_with(over, folder / "values"):
                    found[name] = {count: _runs(airflow, f"pods_{name}_{count}", repeats if count == 1 else 2) for count in (1, MANY)}
                    for count, times in bare.items():  # in between, so that both meet the same machine
                        times += [_bare(airflow, count) for _ in range(repeats if count == 1 else 1)]
    return Outcome(tuple(_case(count, found, bare[count]) for count in (1, MANY)), {"repeats": repeats, "image": "jobs"})


def _case(count: int, found: dict[str, dict[int, list[Timed]]], bare: list[float]) -> Case:
    ours, stock = (Series(tuple(run.seconds for run in found[name][count])) for name in ("ours", "stock"))
    limit = Series(tuple(bare), "the same pods without Airflow")
    if count == 1:
        goal, note = Goal(seconds=limit.median + GOAL_MORE), f"{ours.median - limit.median:.2f} s more than a bare pod, goal {GOAL_MORE} s"
    else:
        goal, note = (
            Goal(seconds=count / GOAL_RATE),
            f"{count / ours.median:.1f} pods a second, stock {count / stock.median:.1f}, bare {count / limit.median:.1f}",
        )
    return Case(ours, stock, limit, goal, name="" if count == 1 else f"{count}", notes=(note,))


def _make_room(airflow: AirflowCluster) -> None:
    (quota,) = airflow.cluster.core.list_namespaced_resource_quota(NAMESPACE).items
    hard = {name: str(ROOM) if name == "pods" else "1000" if "cpu" in name else "1000Gi" for name in quota.spec.hard}
    airflow.cluster.core.patch_namespaced_resource_quota(quota.metadata.name, NAMESPACE, {"spec": {"hard": hard}})


def _runs(airflow: AirflowCluster, dag_id: str, repeats: int) -> list[Timed]:
    """Repeats after one that is not counted; every run has to succeed, or there is nothing to compare."""
    airflow.api.wait_for_dags({dag_id}, BOUND)
    airflow.api.unpause(dag_id)
    runs = [timed_run(airflow.api, dag_id, bound=BOUND) for _ in range(repeats + 1)]
    assert {run.state for run in runs} == {"success"}, [run.run for run in runs]
    return runs[1:]


def _bare(airflow: AirflowCluster, count: int) -> float:
    """Seconds from the first request until the API server has seen all of them succeed."""
    core, mark = airflow.cluster.new_core(), f"bare-{uuid.uuid4().hex[:8]}"
    begin = time.monotonic()
    for number in range(count):
        core.create_namespaced_pod(NAMESPACE, _pod(airflow, f"{mark}-{number}", mark))
    waiting = {f"{mark}-{number}" for number in range(count)}
    for event in watch.Watch().stream(core.list_namespaced_pod, NAMESPACE, label_selector=f"bare={mark}", timeout_seconds=int(BOUND)):
        pod: client.V1Pod = event["object"]
        if pod.status.phase in ENDED:
            assert pod.status.phase == "Succeeded", pod.status
            waiting.discard(pod.metadata.name)
        if not waiting:
            break
    seconds = time.monotonic() - begin
    assert not waiting, f"after {BOUND:.0f} s not ended: {sorted(waiting)}"
    core.delete_collection_namespaced_pod(NAMESPACE, label_selector=f"bare={mark}", grace_period_seconds=0)
    return seconds


def _pod(airflow: AirflowCluster, name: str, mark: str) -> dict[str, Any]:
    security = {"runAsNonRoot": True, "runAsUser": 50000, "runAsGroup": 50000, "fsGroup": 50000, "seccompProfile": {"type": "RuntimeDefault"}}
    container = {
        "name": "base",
        "image": f"ol-data-platform/jobs:{airflow.given.tag}",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", "pass"],
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}},
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}, "limits": {"cpu": "1", "memory": "256Mi"}},
    }
    spec = {"restartPolicy": "Never", "automountServiceAccountToken": False, "securityContext": security, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"bare": mark}}, "spec": spec}
