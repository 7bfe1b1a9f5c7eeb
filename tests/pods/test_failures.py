"""What is said of a pod that did not succeed."""

from __future__ import annotations

import pytest
from kubernetes.client import models as k8s

from include.pods.failures import PodFailure, failure_of


def pod(terminated: k8s.V1ContainerStateTerminated | None = None, **status: object) -> k8s.V1Pod:
    containers = [k8s.V1ContainerStatus(name="base", state=k8s.V1ContainerState(terminated=terminated), image="", image_id="", ready=False, restart_count=0)]
    return k8s.V1Pod(status=k8s.V1PodStatus(container_statuses=containers, **status))


def ended(code: int, **more: object) -> k8s.V1ContainerStateTerminated:
    return k8s.V1ContainerStateTerminated(exit_code=code, **more)


def disrupted(status: str) -> list[k8s.V1PodCondition]:
    return [k8s.V1PodCondition(type="DisruptionTarget", status=status, reason="EvictionByEvictionAPI", message="Eviction API: evicting")]


@pytest.mark.parametrize(
    ("found", "failure"),
    [
        (None, None),
        (pod(), None),
        (pod(ended(0)), None),
        (pod(ended(75, message="the lake is away\n")), PodFailure("exit code 75: the lake is away", 75)),
        (pod(ended(137)), PodFailure("exit code 137 (killed)", 137)),
        (pod(ended(143), conditions=disrupted("True")), PodFailure("EvictionByEvictionAPI: Eviction API: evicting", 143)),
        (pod(ended(143), conditions=disrupted("False")), PodFailure("exit code 143", 143)),
        (pod(reason="Evicted", message="too much on the disk"), PodFailure("Evicted: too much on the disk")),
    ],
)
def test_the_cluster_s_reason_comes_first(found: k8s.V1Pod | None, failure: PodFailure | None) -> None:
    assert failure_of(found, "base", "xs") == failure


def test_memory_is_told_with_what_to_do() -> None:
    found = failure_of(pod(ended(137, reason="OOMKilled")), "base", "xs")
    assert found is not None
    assert found.reason == "OOMKilled: it needed more memory than profile xs has; give its unit the next larger profile if this happens again"
