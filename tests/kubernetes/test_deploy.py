"""Deploying our own chart with Helm, and rolling it back: the commands of ``helm/README.md`` and of the how-to, in namespaces of their own.

And Airflow itself: a run that is under way lives through an upgrade and the way back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from pyiceberg.table import Table

from include.config.files import ROOT
from include.pods.operator import NAMESPACE
from tests.kubernetes.airflow_cluster import AirflowCluster
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.howto import bash, blocks
from tests.kubernetes.watching import watched

RELEASE_NAMESPACE, JOBS_NAMESPACE = "ol-howto", "ol-howto-jobs"
OWN = {
    "jobs": {"namespace": JOBS_NAMESPACE},
    "priorityClasses": {"create": False},  # the other installation's
    "secretStore": {"source": "aws"},
}
"""What a second installation on one cluster is told besides its addresses."""
pytestmark = pytest.mark.kubernetes


@pytest.fixture
def helm(place: str, cluster: Cluster) -> Iterator[Callable[[str], str]]:
    """Runs commands with Airflow's namespace and release replaced by this test's; both namespaces are gone afterwards."""
    names = (RELEASE_NAMESPACE, JOBS_NAMESPACE)
    cluster.remove_namespaces(names)

    def run(text: str) -> str:
        return bash(text.replace("-n ol-airflow", f"-n {RELEASE_NAMESPACE}"), cluster)

    yield run
    cluster.remove_namespaces(names)


def test_a_chart_is_installed_upgraded_and_rolled_back(helm: Callable[[str], str], cluster: Cluster, tmp_path: Path) -> None:
    text = (ROOT / "helm" / "README.md").read_text(encoding="utf-8")
    (install,) = re.findall(r"^helm upgrade --install platform .*$", text, re.MULTILINE)
    network = tmp_path / "network.yaml"
    network.write_text(yaml.safe_dump(OWN), encoding="utf-8")
    install = install.replace("environments/qa.yaml", "environments/local.yaml").replace("network.yaml", str(network))
    history, back = (
        blocks("deploy-to-a-cluster.md")[-1].replace("history airflow", "history platform").replace("rollback airflow", "rollback platform").splitlines()
    )

    def room() -> str:
        return str(cluster.core.read_namespaced_resource_quota("ol-jobs", JOBS_NAMESPACE).spec.hard["pods"])

    assert "Secrets that must exist:" in helm(install), "the chart's notes"
    assert room() == "12"
    helm(f"{install} --set quota.pods=7")
    assert room() == "7"
    assert re.findall(r"^(\d)\s.*(superseded|deployed)", helm(history), re.MULTILINE) == [("1", "superseded"), ("2", "deployed")]
    helm(back)
    assert room() == "12"
    assert cluster.core.read_namespaced_config_map("ol-pgbouncer", RELEASE_NAMESPACE).data


@pytest.mark.timeout(1200)
def test_a_run_lives_through_an_upgrade_of_airflow_and_the_way_back(airflow_cluster: AirflowCluster, rows: Table, tmp_path: Path) -> None:
    dag_id, cluster = "row__KubernetesExecutor", airflow_cluster.cluster
    before = {pod.metadata.uid for component in ("scheduler", "api-server") for pod in airflow_cluster.pods(component)}
    with watched(cluster.new_core, NAMESPACE, f"dag_id={dag_id}") as seen:
        run_id = airflow_cluster.start(dag_id, {"seconds": 90, "table": ".".join(rows.name())})
        cluster.wait_for("no job runs", lambda: any(pod.status.phase == "Running" for pod in list(seen.pods.values())), 240)
        with airflow_cluster.deployed_with({"config": {"core": {"max_map_length": 1000}}}, tmp_path):
            after = {pod.metadata.uid for component in ("scheduler", "api-server") for pod in airflow_cluster.pods(component)}
            assert not before & after, "an upgrade makes other pods"
        (task,) = airflow_cluster.finished(dag_id, run_id, 600)
    assert (task.state, task.try_number) == ("success", 1)
    assert len(seen.pods) == 1
    assert rows.refresh().scan().to_arrow()["key"].to_pylist().count(run_id) == 1
