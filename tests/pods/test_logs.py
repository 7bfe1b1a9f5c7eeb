"""The log of a pod whose node does not know it for a moment, from an API server on a socket."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes import client
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException

from include.pods import logs
from include.pods.logs import PatientPodManager

POD = k8s.V1Pod(metadata=k8s.V1ObjectMeta(name="row", namespace="ol-jobs"))
BASE = {"name": "base", "ready": True, "restartCount": 0, "image": "jobs", "imageID": "jobs", "state": {"running": {"startedAt": "2026-11-27T13:05:20Z"}}}
STATUS = {"phase": "Running", "containerStatuses": [BASE]}
STORED = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "row", "namespace": "ol-jobs"}, "status": STATUS}
NOT_FOUND = {"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}


@dataclass
class ApiServer:
    """Answers for one pod and its log."""

    unknown: int = 0
    """Times that the log is not found before it is."""
    gone: bool = False
    """Whether the pod itself is not found."""
    asked: list[str] = field(default_factory=list)

    def answer(self, path: str) -> tuple[int, bytes]:
        self.asked.append(path.partition("?")[0].rpartition("/")[2])
        if self.asked[-1] == "log" and self.asked.count("log") > self.unknown:
            return 200, b"2026-11-27T13:05:21.5Z begun\n"
        if self.asked[-1] == "row" and not self.gone:
            return 200, json.dumps(STORED).encode()
        return 404, json.dumps(NOT_FOUND).encode()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ApiServer, PatientPodManager]]:
    """An API server and a pod manager that asks it."""
    monkeypatch.setattr(logs, "PAUSE", 0.01)
    found = ApiServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = found.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        api = client.ApiClient(client.Configuration(host=f"http://127.0.0.1:{server.server_port}"))
        yield found, PatientPodManager(kube_client=client.CoreV1Api(api))
        server.shutdown()


def test_a_log_that_its_node_does_not_know_yet_is_waited_for(served: tuple[ApiServer, PatientPodManager]) -> None:
    server, manager = served
    server.unknown = 3
    assert b"".join(manager.read_pod_logs(POD, "base", follow=False)) == b"2026-11-27T13:05:21.5Z begun\n"
    assert server.asked[:7] == ["log", "row", "log", "row", "log", "row", "log"]


def test_a_pod_that_is_gone_is_told_at_once(served: tuple[ApiServer, PatientPodManager]) -> None:
    server, manager = served
    server.unknown, server.gone = 3, True
    with pytest.raises(ApiException) as caught:
        manager.read_pod_logs(POD, "base", follow=False)
    assert (caught.value.status, server.asked) == (404, ["log", "row"])


def test_patience_ends(served: tuple[ApiServer, PatientPodManager], monkeypatch: pytest.MonkeyPatch) -> None:
    server, manager = served
    server.unknown = 10_000
    clock = itertools.count(step=0.4)
    monkeypatch.setattr(logs, "PATIENCE", 1.0)
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: next(clock), sleep=lambda seconds: None))
    with pytest.raises(ApiException) as caught:
        manager.read_pod_logs(POD, "base", follow=False)
    assert caught.value.status == 404
    assert server.asked.count("log") == 3
