"""Why a pod ended without doing its work: what the kubelet knows, in words that say what to do."""

from __future__ import annotations

from dataclasses import dataclass

from kubernetes.client import models as k8s

KILLED = 137
DISRUPTED = "DisruptionTarget"
GONE = "its pod was taken away while it ran: its node was drained or lost, something of higher priority took its place, or somebody deleted it"


@dataclass(frozen=True)
class PodFailure:
    """One container's end. ``exit_code`` is ``None`` when it never ran, or when the pod was taken away from under it."""

    reason: str
    exit_code: int | None = None


def failure_of(pod: k8s.V1Pod | None, container: str, profile: str) -> PodFailure | None:
    """The failure of a pod's main container; ``None`` when it succeeded or has not ended.

    :param profile: the name of its compute profile, for the advice.
    """
    if pod is None or pod.status is None:
        return None
    if pod.status.reason:  # the kubelet's or the cluster's own word for the whole pod: Evicted, DeadlineExceeded, NodeLost, Preempting
        return PodFailure(f"{pod.status.reason}: {pod.status.message or 'no message'}", _exit_code(pod, container))
    for condition in pod.status.conditions or ():
        if condition.type == DISRUPTED and condition.status == "True":  # a drained node, a taint, a pod of higher priority: told before the pod is gone
            return PodFailure(f"{condition.reason}: {condition.message or 'no message'}", _exit_code(pod, container))
    terminated = _terminated(pod, container)
    if terminated is None or terminated.exit_code == 0:
        return None
    if terminated.reason == "OOMKilled":
        advice = f"it needed more memory than profile {profile} has; give its unit the next larger profile if this happens again"
        return PodFailure(f"OOMKilled: {advice}", terminated.exit_code)
    said = (terminated.message or "").strip()
    words = f"exit code {terminated.exit_code}" + (" (killed)" if terminated.exit_code == KILLED else "")
    return PodFailure(f"{words}: {said}" if said else words, terminated.exit_code)


def _terminated(pod: k8s.V1Pod, container: str) -> k8s.V1ContainerStateTerminated | None:
    for status in pod.status.container_statuses or ():
        if status.name == container and status.state is not None:
            return status.state.terminated
    return None


def _exit_code(pod: k8s.V1Pod, container: str) -> int | None:
    terminated = _terminated(pod, container)
    return None if terminated is None else int(terminated.exit_code)
