"""Every part is killed in turn under a run of 60 tasks: the run succeeds, nothing that lives runs twice, no row of the lake is lost or doubled."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pytest
from pyiceberg.table import Table

from include.lake.catalog import ensure_table, open_catalog
from include.lake.names import TableRef
from include.pods.operator import NAMESPACE
from tests.kubernetes.addresses import ObjectStore, Trino
from tests.kubernetes.airflow_cluster import AirflowCluster
from tests.kubernetes.node import Node
from tests.kubernetes.under_faults.kills import Recovery, Victim, percentile, replaced
from tests.kubernetes.watching import Seen, watched

DAG_ID = "kills"
TASKS = 60
JOBS = 9
SECONDS = 20
PARTS = ("scheduler", "api-server", "dag-processor", "triggerer", "postgres", "pgbouncer", "kubelet", "job's container", "worker's container")
CRASHED = ("scheduler", "api-server", "dag-processor", "triggerer", "pgbouncer")
GOALS = {"scheduler": 75.0}
GOAL = 10.0
"""Seconds; what counts as recovered is said in :class:`tests.kubernetes.under_faults.kills.Victim`."""
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def rows(place: str) -> Iterator[Table]:
    """The table that the run's jobs write to, on the lake that pods write to."""
    trino, store = Trino.from_variables(), ObjectStore.from_variables()
    keys = {"s3.endpoint": store.endpoint, "s3.region": store.region, "s3.access-key-id": store.key, "s3.secret-access-key": store.secret}
    catalog = open_catalog(trino.catalog, {"uri": trino.catalog_uri, "warehouse": trino.warehouse, **keys})
    table = TableRef(trino.catalog, "kubernetes_tests", "kills")
    yield ensure_table(catalog, table, pa.schema([("key", pa.string())]))
    catalog.drop_table(table.identifier)


@pytest.fixture(scope="module")
def recoveries(tell: list[str]) -> Iterator[list[Recovery]]:
    """All of the module's kills; told at the session's end."""
    found: list[Recovery] = []
    yield found
    tell.append(f"recovery after {len(found)} kills, seconds:")
    for name in ("scheduler", "all others", *PARTS):
        seconds = [kill.seconds for kill in found if kill.what == name or (name == "all others" and kill.what != "scheduler")]
        if seconds:
            goal = GOALS.get(name, GOAL)
            p95 = percentile(seconds, 0.95)
            each = " ".join(f"{one:.1f}" for one in seconds)
            met = "yes" if p95 <= goal else "no"
            tell.append(f"  {name:20} p95={p95:.1f} goal={goal:.0f} met={met}" + ("" if name == "all others" else f"   each: {each}"))


def test_a_run_outlives_the_kill_of_every_part(kill_round: int, full_size: AirflowCluster, cluster_node: Node, rows: Table, recoveries: list[Recovery]) -> None:
    if kill_round:
        replaced(full_size, CRASHED)
    order = list(PARTS)
    random.Random(kill_round).shuffle(order)
    with watched(full_size.cluster.new_core, NAMESPACE, f"dag_id={DAG_ID}") as pods:
        run_id = full_size.start(DAG_ID, {"seconds": SECONDS, "table": ".".join(rows.name())})
        victim = Victim(full_size, cluster_node, run_id)
        full_size.cluster.wait_for("no task has ended", lambda: [note for note in victim.notes() or () if note.what == "ended"], 120)
        kills = [victim.kill(what) for what in order]
        recoveries += kills
        tasks = full_size.finished(DAG_ID, run_id, 600)
    assert Counter(task.state for task in tasks) == {"success": TASKS}
    assert victim.executed_twice_without_need(kills) == []
    assert pods_by_task(pods) == Counter({task.task_id: 1 for task in tasks if task.task_id.startswith(("waiting", "deferred"))}) + killed_pods(kills)
    keys = Counter(rows.refresh().scan().to_arrow()["key"].to_pylist())
    assert {key: number for key, number in keys.items() if number > 1} == {}
    assert len([key for key in keys if key.startswith(run_id)]) == JOBS
    victim.close()


def pods_by_task(pods: Seen) -> Counter[str]:
    """How many pods each task's job had."""
    return Counter(pod.metadata.labels["task_id"] for pod in pods.pods.values())


def killed_pods(kills: list[Recovery]) -> Counter[str]:
    """How many pods more than one each job was to have: one for each that lost its container."""
    return Counter(task_id for kill in kills if kill.what == "job's container" for task_id in kill.lost)
