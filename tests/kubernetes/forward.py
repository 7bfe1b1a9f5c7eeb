"""Reaching a pod's port through the API server, as ``kubectl port-forward`` does, with a new pod for each connection when the old one is gone."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Any

from kubernetes import client
from kubernetes.stream import portforward

CHUNK = 65536


class Forward:
    """Listens on a free port of the loopback interface; each connection goes to a ready pod of a selector.

    ``close`` ends it. A connection that finds no pod is closed at once, as by a server that is away.
    """

    def __init__(self, core: Callable[[], client.CoreV1Api], namespace: str, selector: str, port: int) -> None:
        self._core, self._namespace, self._selector, self._target = core, namespace, selector, port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        """No further connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(accepted,), daemon=True).start()

    def _connect(self, accepted: socket.socket) -> None:
        with accepted:
            try:
                name = self._pod()
                if name is None:
                    return
                # a client of its own: the stream replaces the way its client speaks
                forwarded = portforward(self._core().connect_get_namespaced_pod_portforward, name, self._namespace, ports=str(self._target))
                with contextlib.closing(forwarded.socket(self._target)) as remote:
                    _pump(accepted, remote)
            except Exception:  # noqa: BLE001 - whatever ended it, the caller sees a closed connection
                return

    def _pod(self) -> str | None:
        pods = self._core().list_namespaced_pod(self._namespace, label_selector=self._selector).items
        ready = [pod.metadata.name for pod in pods if pod.metadata.deletion_timestamp is None and _is_ready(pod)]
        return ready[0] if ready else None


def _is_ready(pod: client.V1Pod) -> bool:
    return any(condition.type == "Ready" and condition.status == "True" for condition in (pod.status.conditions or ()))


def _pump(one: socket.socket, other: Any) -> None:
    """Bytes in both directions until either side ends."""
    other.setblocking(True)
    with selectors.DefaultSelector() as selector:
        selector.register(one, selectors.EVENT_READ, other)
        selector.register(other, selectors.EVENT_READ, one)
        while True:
            for key, _ in selector.select():
                source: Any = key.fileobj
                data = source.recv(CHUNK)
                if not data:
                    return
                key.data.sendall(data)
