"""The commands of the how-tos for a cluster do what they say."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

import pytest

from include.pods.operator import NAMESPACE
from tests.helm.charts import RELEASE_NAMESPACE, platform_deployed, render
from tests.kubernetes.airflow_cluster import AirflowCluster
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.howto import bash, blocks

DAG_ID = "sleeps__waiting"  # of dags/pods.py
SECRET = "learn-webhooks"
pytestmark = pytest.mark.kubernetes


@pytest.fixture
def asleep(airflow_cluster: AirflowCluster) -> Iterator[str]:
    """The name of a pod whose job works, and has said so."""
    run_id = airflow_cluster.start(DAG_ID)

    def said() -> str | None:
        for pod in airflow_cluster.cluster.pods(f"dag_id={DAG_ID}"):
            if pod.status.phase == "Running" and pod.metadata.deletion_timestamp is None:
                log = airflow_cluster.cluster.core.read_namespaced_pod_log(pod.metadata.name, NAMESPACE, container="base")
                return str(pod.metadata.name) if "asleep" in log else None
        return None

    yield airflow_cluster.cluster.wait_for("no pod sleeps", said, 300)
    airflow_cluster.api.call("PATCH", f"/dags/{DAG_ID}/dagRuns/{run_id}", json={"state": "failed"})
    airflow_cluster.cluster.wait_for("the pod outlives its task", lambda: not airflow_cluster.cluster.pods(f"dag_id={DAG_ID}"), 90)


def test_how_to_look_at_a_pod_while_it_lives(asleep: str, cluster: Cluster) -> None:
    (looking,) = blocks("read-the-log-of-a-dead-pod.md")
    told = bash(looking.replace("dag_id=warehouse,task_id=build", f"dag_id={DAG_ID},task_id=pod").replace("dag_id=warehouse", f"dag_id={DAG_ID}"), cluster)
    assert asleep in told
    assert "asleep" in told.replace(asleep, "")


def test_how_to_rotate_the_key_of_webhooks(place: str, cluster: Cluster) -> None:
    making, patching, dropping = blocks("rotate-the-webhook-key.md")
    old = "2026-10=" + "0" * 32
    values = {"outbox": "postgresql://user@host:5432/webhooks", "base-url": "https://learn.test", "keys": old}
    metadata = {"name": SECRET, "namespace": place}
    cluster.apply([{"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values}])

    def kept(key: str) -> str:
        return base64.b64decode(cluster.core.read_namespaced_secret(SECRET, place).data[key]).decode()

    *_, new = bash(f'{making}\n{patching}\necho\necho "$NEW"', cluster, OLD=old).splitlines()
    assert re.fullmatch(r"\d{4}-\d\d=[0-9a-f]{64}", new)
    assert kept("keys") == f"{new} {old}"
    bash(dropping, cluster, NEW=new)
    assert (kept("keys"), kept("base-url")) == (new, values["base-url"])


def test_the_charts_notes_give_airflows_namespace_the_standard(place: str, cluster: Cluster) -> None:
    notes = render(platform_deployed("local"))["ol-platform/templates/NOTES.txt"]
    (command,) = re.findall(r"^ +(kubectl .*)$", notes, re.MULTILINE)
    bash(command, cluster)
    labels = cluster.core.read_namespace(RELEASE_NAMESPACE).metadata.labels
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert labels["pod-security.kubernetes.io/enforce-version"] == "v1.34"
