"""Deploying our own chart with Helm, and rolling it back: the commands of ``helm/README.md`` and of the how-to, in namespaces of their own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from include.config.files import ROOT
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.howto import bash, blocks

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
