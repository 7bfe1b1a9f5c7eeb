"""P3: from the request that triggers a DAG to the success of its pods, one and 20, on the cluster of ``KUBECONFIG``.

Ours is the platform's operator with the settings of ``helm/airflow``. The peer is the provider's operator with its defaults, in a worker of
KubernetesExecutor with its defaults and Airflow's own pauses; the limit is a bare pod of the same image and command, from its creation to
its success. The variables are those of the tests on a cluster: docs/howto/test-on-kubernetes.md.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kubernetes import watch

from benchmarks.options import Options
from benchmarks.results import Case, Goal, Outcome, Series, seconds_text
from benchmarks.stage import stamp, timed_run
from include.config.environments import read_environment
from include.local.airflow_api import AirflowApi
from include.pods.operator import NAMESPACE
from tests.kubernetes.addresses import ObjectStore, Service, Trino, variable
from tests.kubernetes.airflow_cluster import AirflowCluster, Given, place_objects, running_airflow
from tests.kubernetes.cluster import Cluster, installed
from tests.kubernetes.dags.timed import NUMBERS, RESULT, SCRIPT
from tests.kubernetes.turn import turn
from tests.kubernetes.under_faults.changes import Change, changed, room_for

REPEATS = 10
BURSTS = 3
STOCK_REPEATS, STOCK_BURSTS = 5, 1
BOUND = 600.0
ONE, MANY = NUMBERS
GOALS = {ONE: Goal(above=2.5), MANY: Goal(seconds=MANY / 2)}
OURS = Change(settings={"AIRFLOW__CORE__PARALLELISM": "32"}, limits={"memory": "4Gi"})  # as base.yaml; the test cluster's file has 8
STOCK = Change(
    settings={
        "AIRFLOW__CORE__PARALLELISM": "32",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "1",
        "AIRFLOW__KUBERNETES_EXECUTOR__WORKER_PODS_CREATION_BATCH_SIZE": "1",
    },
    limits=OURS.limits,
)


def measure(options: Options) -> Outcome:
    """Ours, stock and the limit; bare pods are measured in turns with each."""
    found: dict[tuple[str, int], list[float]] = {(name, number): [] for name in ("ours", "stock", "bare") for number in NUMBERS}
    phases: list[dict[str, float]] = []
    cluster = Cluster(variable("KUBECONFIG", "the configuration of a cluster on which the benchmark may make namespaces"))
    with airflow_on(cluster) as airflow, room_for(cluster, 2 * MANY):
        for name, change, repeats, bursts in (
            ("ours", OURS, options.repeats or REPEATS, BURSTS),
            ("stock", STOCK, min(options.repeats or STOCK_REPEATS, STOCK_REPEATS), STOCK_BURSTS),
        ):
            changed(airflow, {"scheduler": change})
            prepare(airflow.api, name)
            for number, times in ((ONE, repeats), (MANY, bursts)):
                for _ in range(times):
                    found["bare", number].append(bare_pods(cluster, airflow.given.tag, number))
                    seconds, where = run_of(airflow.api, name, number)
                    found[name, number].append(seconds)
                    if (name, number) == ("ours", ONE):
                        phases.append(where)
    return Outcome(
        tuple(case(found, phases, number) for number in NUMBERS), {"pods": list(NUMBERS), "executor": "ours LocalExecutor, stock KubernetesExecutor"}
    )


def case(found: dict[tuple[str, int], list[float]], phases: list[dict[str, float]], number: int) -> Case:
    """One number of pods."""
    notes = {
        "ours": "PlatformPodOperator beside the scheduler",
        "stock": "KubernetesPodOperator with its defaults in a worker pod",
        "bare": "the same container, created by itself",
    }
    ours, stock, bare = (Series(tuple(found[name, number]), note) for name, note in notes.items())
    where = {phase: sorted(one[phase] for one in phases)[len(phases) // 2] for phase in phases[0]}
    note = ", ".join(f"{phase} {seconds_text(seconds)}" for phase, seconds in where.items()) if number == ONE else f"{number / ours.median:.1f} pods/s"
    return Case(ours, stock, bare, GOALS[number], "" if number == ONE else f"{number} pods", (note,))


@contextmanager
def airflow_on(cluster: Cluster) -> Iterator[AirflowCluster]:
    """An Airflow of the benchmark's own, and nothing of it afterwards."""
    tag = variable("OL_IMAGE_TAG", "the tag of the platform's images in the cluster")
    given = Given(tag, ObjectStore.from_variables(), Trino.from_variables(), Service("http://127.0.0.1:1", "", ""))  # nothing here asks Airbyte
    objects = place_objects(given)
    names = tuple(one["metadata"]["name"] for one in objects if one["kind"] == "Namespace")
    with turn(cluster.leases), tempfile.TemporaryDirectory() as folder:
        cluster.remove_namespaces(names)
        with installed(cluster, objects):
            try:
                with running_airflow(cluster, given, Path(folder)) as airflow:
                    yield airflow
            finally:
                cluster.remove_namespaces(names)


def prepare(api: AirflowApi, name: str) -> None:
    """The first runs load what later ones find loaded."""
    for number in NUMBERS:
        api.wait_for_dags({f"timed_{name}_{number}"}, BOUND)
        api.unpause(f"timed_{name}_{number}")
    for _ in range(2):
        timed_run(api, f"timed_{name}_{ONE}", bound=BOUND)


def run_of(api: AirflowApi, name: str, number: int) -> tuple[float, dict[str, float]]:
    """Seconds of one run, and where they went; every task has to return the job's result."""
    dag_id = f"timed_{name}_{number}"
    time.sleep(1)
    begin = time.time()
    run = timed_run(api, dag_id, bound=BOUND)
    assert run.state == "success", f"{dag_id}, run {run.run_id}: {run.state}"
    tasks: list[dict[str, Any]] = api.call("GET", f"/dags/{dag_id}/dagRuns/{run.run_id}/taskInstances", limit=100)["task_instances"]
    for task in tasks:
        path = f"/dags/{dag_id}/dagRuns/{run.run_id}/taskInstances/{task['task_id']}/xcomEntries/return_value"
        value = api.call("GET", path, deserialize="true")["value"]
        result = json.loads(value) if isinstance(value, str) else value
        assert result["facts"] == json.loads(RESULT)["facts"], f"{dag_id}, {task['task_id']}: {value!r}"
    started, ended = min(stamp(task["start_date"]) for task in tasks), max(stamp(task["end_date"]) for task in tasks)
    return run.seconds, {"to start": started - begin, "task": ended - started, "to end of run": stamp(run.run["end_date"]) - ended}


def bare_pods(cluster: Cluster, tag: str, number: int) -> float:
    """Seconds from the creation of the first of so many pods to the success of all."""
    core, name = cluster.core, f"bare-{time.time_ns():x}"
    done: dict[str, float] = {}
    all_done = threading.Event()
    version = core.list_namespaced_pod(NAMESPACE).metadata.resource_version

    def follow() -> None:
        stream = watch.Watch().stream(cluster.new_core().list_namespaced_pod, NAMESPACE, label_selector=f"ol/bare={name}", resource_version=version)
        for event in stream:
            pod = event["object"]
            if pod.status.phase in ("Succeeded", "Failed"):
                assert pod.status.phase == "Succeeded", f"{pod.metadata.name}: {pod.status}"
                done.setdefault(pod.metadata.name, time.perf_counter())
            if len(done) == number:
                all_done.set()
                return

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    time.sleep(0.5)  # until it watches
    begin = time.perf_counter()
    for index in range(number):
        core.create_namespaced_pod(NAMESPACE, bare_pod(f"{name}-{index}", name, tag))
    assert all_done.wait(BOUND), f"{len(done)} of {number} bare pods succeeded within {BOUND:.0f} s"
    core.delete_collection_namespaced_pod(NAMESPACE, label_selector=f"ol/bare={name}", grace_period_seconds=0)
    return max(done.values()) - begin


def bare_pod(name: str, label: str, tag: str) -> dict[str, Any]:
    """The timed job's container alone."""
    resources = {"cpu": "100m", "memory": "256Mi", "ephemeral-storage": "1Gi"}
    container = {
        "name": "base",
        "image": f"{read_environment({}).images.jobs}:{tag}",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", SCRIPT, "/tmp/return.json"],
        "resources": {"requests": resources, "limits": {**resources, "cpu": "1"}},
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "scratch", "mountPath": "/tmp"}],
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "priorityClassName": "ol-batch",
        "securityContext": {"runAsNonRoot": True, "runAsUser": 50000, "fsGroup": 50000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    }
    return {"metadata": {"name": name, "namespace": NAMESPACE, "labels": {"ol/bare": label}}, "spec": spec}
