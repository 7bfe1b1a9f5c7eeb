"""Kills on the node itself, as a crash would: a process is gone without a word to anybody, its pod stays, the kubelet starts the container again.

Deleting a pod, even without grace, sends TERM first; and inside a container nobody can kill its first process. So a pod that sees the node's processes
sends the signal. It needs a namespace that allows `hostPID`, and is there only while a block runs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kubernetes import client
from kubernetes.stream import stream

from tests.kubernetes.cluster import Cluster

NAMESPACE, POD = "ol-faults", "node"
# the process of the container that is number 1 within it
IN_CONTAINER = """
for process in /proc/[0-9]*; do
  grep -qs "$1" $process/cgroup || continue
  [ "$(sed -n 's/^NSpid:.*[[:space:]]//p' $process/status 2>/dev/null)" = 1 ] || continue
  kill -"$2" "${process#/proc/}" && echo "${process#/proc/}"
done
"""
# after the answer, which may come through the very program that is killed
DELAY = 1
BY_NAME = f"""
for pid in $(pgrep -x "$1"); do
  echo "$pid"
  setsid sh -c "sleep {DELAY}; kill -$2 $pid" </dev/null >/dev/null 2>&1 &
done
"""


class Node:
    """The node under the cluster's pods."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def kill(self, pod: client.V1Pod, container: str, signal: str = "KILL") -> int:
        """Sends a signal to the first process of a container; its pid on the node. A container that is just being started again is waited for."""
        return int(self._cluster.wait_for(f"no process of {pod.metadata.name}/{container} on the node", lambda: self.strike(pod, container, signal), 60))

    def strike(self, pod: client.V1Pod, container: str, signal: str = "KILL") -> int | None:
        """As :meth:`kill`, but none when the container has no process now: one that ended runs on in the API server for as long as its kubelet is away."""
        now = self._cluster.new_core().read_namespaced_pod(pod.metadata.name, pod.metadata.namespace)
        ids = [one.container_id or "none" for one in now.status.container_statuses or () if one.name == container]
        return self._signal(IN_CONTAINER, ids[0].rpartition("/")[2], signal) if ids else None

    def kill_program(self, name: str, signal: str = "KILL") -> int:
        """Sends a signal to a program of the node, for example ``kubelet``, which the node's own supervisor starts again."""
        pid = self._signal(BY_NAME, name, signal)
        if pid is None:
            pytest.fail(f"no process {name} on the node")
        time.sleep(DELAY)
        return pid

    def _signal(self, script: str, of: str, signal: str) -> int | None:
        # a client of its own: the stream replaces the way its client speaks
        call = self._cluster.new_core().connect_get_namespaced_pod_exec
        answer = stream(call, POD, NAMESPACE, command=["sh", "-c", script, "sh", of, signal], stdout=True, stderr=False, stdin=False, tty=False)
        pids = [word for word in str(answer).split() if word.isdecimal()]
        return int(pids[0]) if pids else None


@contextmanager
def node(cluster: Cluster, image_tag: str) -> Iterator[Node]:
    """The node, for the length of a block."""
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}
    container = {
        "name": POD,
        "image": f"ol-data-platform/test-databases:{image_tag}",
        "imagePullPolicy": "IfNotPresent",
        "command": ["sleep", "infinity"],
        "securityContext": {"runAsUser": 0, "runAsGroup": 0, "capabilities": {"add": ["KILL"]}},
    }
    spec: dict[str, Any] = {"hostPID": True, "priorityClassName": "ol-critical", "automountServiceAccountToken": False, "terminationGracePeriodSeconds": 0}
    spec["containers"] = [container]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD, "namespace": NAMESPACE}, "spec": spec}
    cluster.remove_namespaces((NAMESPACE,))
    cluster.apply([space])
    cluster.wait_for("no default service account", lambda: cluster.core.list_namespaced_service_account(NAMESPACE).items)
    cluster.apply([pod])
    cluster.wait_for("the node's pod does not run", lambda: cluster.core.read_namespaced_pod(POD, NAMESPACE).status.phase == "Running")
    try:
        yield Node(cluster)
    finally:
        cluster.remove_namespaces((NAMESPACE,))
