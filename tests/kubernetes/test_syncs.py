"""An Airbyte sync loses all that waits for it: the job is somebody else's, and goes on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from include.local.platform import Platform
from tests.kubernetes.airflow_cluster import AirflowCluster
from tests.kubernetes.node import Node
from tests.local.services.airbyte_harness import Client

SYNC = "airbyte__mitxpro__app_postgres"
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(1500)]


@pytest.fixture
def slow_airbyte(filled_sources: Platform) -> Iterator[Client]:
    """Every stream of the next job waits two seconds."""
    airbyte = Client(filled_sources.airbyte_url.removesuffix("/api/public/v1")).authorize(filled_sources.airbyte_login)
    airbyte.faults({"match": {"method": "POST", "path": "/jobs"}, "job": {"stream_seconds": 2}}).raise_for_status()
    yield airbyte
    airbyte.clear()


def test_a_sync_that_nobody_waits_for_any_more_is_attached_and_not_doubled(airflow_cluster: AirflowCluster, cluster_node: Node, slow_airbyte: Client) -> None:
    cluster = airflow_cluster.cluster
    before = {job["jobId"] for job in slow_airbyte.jobs()}

    def running() -> list[dict[str, Any]]:
        return [job for job in slow_airbyte.jobs() if job["jobId"] not in before and job["status"] == "running"]

    run_id = airflow_cluster.start(SYNC)
    cluster.wait_for("no job runs", running, 240)
    airflow_cluster.kill("worker", cluster_node)  # who asked for it, without the word that would make it cancel the job
    airflow_cluster.kill("triggerer", cluster_node)  # who waits for it
    assert running(), "it must outlive those who wait for it"
    airflow_cluster.wait_until_ready()
    tasks = {task.task_id: task for task in airflow_cluster.finished(SYNC, run_id, 600)}
    assert {task.state for task in tasks.values()} == {"success"}, tasks
    assert len({job["jobId"] for job in slow_airbyte.jobs()} - before) == 1
