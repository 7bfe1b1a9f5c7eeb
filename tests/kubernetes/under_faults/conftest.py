"""Faults and load are for an Airflow as ``helm/airflow/base.yaml`` has it, two of each part; these tests come last, and nothing is set back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kubernetes.airflow_cluster import AirflowCluster
from tests.kubernetes.under_faults.changes import Change, changed, room_for

FULL_SIZE = {
    # the values of base.yaml, where the test cluster's file has 1 and 8
    "scheduler": Change(replicas=2, settings={"AIRFLOW__CORE__PARALLELISM": "32"}, limits={"memory": "4Gi"}),
    "api-server": Change(replicas=2),
    "triggerer": Change(replicas=2),
    "pgbouncer": Change(replicas=2),
}
PODS = 40


@pytest.fixture(scope="session")
def full_size(airflow_cluster: AirflowCluster) -> Iterator[AirflowCluster]:
    """Two of each part, 64 tasks at once, and room for their pods."""
    with room_for(airflow_cluster.cluster, PODS):
        changed(airflow_cluster, FULL_SIZE)
        yield airflow_cluster
