"""A laptop's Airflow runs jobs in pods of a cluster when it is told to, from the same DAG file."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from include.config.files import ROOT
from include.local.platform import Platform
from include.pods.operator import NAMESPACE
from tests.kubernetes.cluster import Cluster
from tests.kubernetes.howto import bash, blocks
from tests.kubernetes.watching import watched
from tests.supervised.database import airflow_settings

DAGS = Path(__file__).parent / "dags"
PROGRAM = ROOT / "tests" / "supervised" / "laptop.py"
pytestmark = [pytest.mark.kubernetes, pytest.mark.timeout(900)]


def test_how_to_run_a_job_in_a_pod(place: str, cluster: Cluster, sources: Platform, image_tag: str, tmp_path: Path) -> None:
    """The how-to's block, with one task of one DAG in the place of the whole platform."""
    shutil.copy(DAGS / "crowd.py", tmp_path)
    bundle = {"name": "laptop", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {"path": str(tmp_path)}}
    settings = airflow_settings(sources, "laptop") | {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle])}
    settings["PYTHONPATH"] = f"{ROOT}:{settings['PYTHONPATH']}"
    (block,) = blocks("run-a-job-in-a-pod.md")
    for theirs, ours in {"OL_IMAGE_TAG=test": f"OL_IMAGE_TAG={image_tag}", "$HOME/.kube/config": cluster.kubeconfig}.items():
        assert theirs in block
        block = block.replace(theirs, ours)
    assert block.endswith("make up\n")
    with watched(cluster.new_core, NAMESPACE, "dag_id=forty_pods") as seen:
        told = json.loads(bash(block.replace("make up", f"{sys.executable} {PROGRAM} forty_pods pod_0"), cluster, **settings).splitlines()[-1])
    assert told["state"] == "success", told["log"]
    (pod,) = seen.pods.values()
    assert f"on {pod.metadata.name}" in told["log"]
    assert told["returned"] == {"facts": {}, "links": {}, "tables": {}}
