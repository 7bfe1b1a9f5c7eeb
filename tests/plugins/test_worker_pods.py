"""The pods of Airflow's tasks: the executor builds them, and each gets the identity of the code location its task is loaded from."""

from __future__ import annotations

import json
import uuid
from typing import Any

import airflow_local_settings
import pytest
from airflow.executors.workloads import BundleInfo, ExecuteTask
from airflow.executors.workloads.task import TaskInstanceDTO
from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator, workload_to_command_args
from kubernetes.client import models as k8s

from include.config.environments import read_environment
from include.config.locations import bundles

LOCATIONS = "AIRFLOW__SECRETS__BACKEND_KWARG__LOCATIONS"


@pytest.fixture(autouse=True)
def configured(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = read_environment({"OL_ENVIRONMENT": "qa", "OL_IMAGE_TAG": "t1"})
    found = bundles(environment, root="/opt/platform", release={})
    found[1]["kwargs"]["image"] = "ol-data-platform/airflow-openedx:t2"
    monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps(found))
    monkeypatch.setattr("airflow.settings.pod_mutation_hook", airflow_local_settings.pod_mutation_hook, raising=False)


def pod(bundle: str, override: k8s.V1Pod | None = None) -> Any:
    task = TaskInstanceDTO(
        id=uuid.uuid4(),
        dag_version_id=uuid.uuid4(),
        task_id="t",
        dag_id="d",
        run_id="r",
        try_number=1,
        map_index=-1,
        pool_slots=1,
        queue="default",
        priority_weight=1,
    )
    work = ExecuteTask(ti=task, dag_rel_path="x.py", token="t", log_path=None, bundle_info=BundleInfo(name=bundle, version="v"))
    template = k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(labels={"ol/role": "worker"}),
        spec=k8s.V1PodSpec(
            service_account_name="airflow-worker",
            containers=[k8s.V1Container(name="base", env=[k8s.V1EnvVar(name=LOCATIONS, value="shared"), k8s.V1EnvVar(name="A", value="b")])],
        ),
    )
    return PodGenerator.construct_pod(
        dag_id="d",
        task_id="t",
        pod_id="p",
        try_number=1,
        kube_image="ol-data-platform/airflow:t1",
        date=None,
        args=workload_to_command_args(work),
        pod_override_object=override,
        base_worker_pod=template,
        namespace="ol-airflow",
        scheduler_job_id="1",
        run_id="r",
        with_mutation_hook=True,
    )


@pytest.mark.parametrize(("bundle", "image"), [("platform", "ol-data-platform/airflow:t1"), ("openedx", "ol-data-platform/airflow-openedx:t2")])
def test_a_task_runs_as_its_location(bundle: str, image: str) -> None:
    found = pod(bundle)
    (base,) = found.spec.containers
    assert found.spec.service_account_name == f"airflow-worker-{bundle}"
    assert found.metadata.labels["ol/location"] == bundle
    assert base.image == image
    assert sorted((variable.name, variable.value) for variable in base.env if variable.name in (LOCATIONS, "A")) == [
        ("A", "b"),
        (LOCATIONS, f"{bundle},shared"),
    ]


def test_a_dag_cannot_choose_another_identity() -> None:
    override = k8s.V1Pod(
        spec=k8s.V1PodSpec(
            service_account_name="airflow-worker-platform",
            containers=[k8s.V1Container(name="base", env=[k8s.V1EnvVar(name=LOCATIONS, value="platform")])],
        )
    )
    found = pod("openedx", override)
    assert found.spec.service_account_name == "airflow-worker-openedx"
    assert [variable.value for variable in found.spec.containers[0].env if variable.name == LOCATIONS] == ["openedx,shared"]


def test_pods_of_jobs_and_of_bundles_without_workers_stay_as_they_are() -> None:
    job = k8s.V1Pod(metadata=k8s.V1ObjectMeta(labels={"ol/job": "x"}), spec=k8s.V1PodSpec(service_account_name="job-dbt", containers=[]))
    airflow_local_settings.pod_mutation_hook(job)
    assert job.spec.service_account_name == "job-dbt"
    assert pod("elsewhere").spec.service_account_name == "airflow-worker"
