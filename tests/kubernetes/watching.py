"""What happened to the pods of a namespace while a block ran: every pod that was there, also those that are gone again."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

ENDED = frozenset({"Succeeded", "Failed"})


@dataclass
class Seen:
    """All pods by uid in their last known form, the largest number that had not ended at any one moment, and when containers ended."""

    pods: dict[str, client.V1Pod] = field(default_factory=dict)
    most_alive: int = 0
    ends: dict[str, set[datetime]] = field(default_factory=dict)
    """Container → when one of that name ended (UTC), however often it was started again."""
    _alive: set[str] = field(default_factory=set)

    def still_there(self, uids: set[str]) -> None:
        """Takes in a new listing: pods may have gone since the watch before ended."""
        self._alive &= uids

    def note(self, kind: str, pod: client.V1Pod) -> None:
        """Takes in one event of the watch."""
        uid = pod.metadata.uid
        self.pods[uid] = pod
        for status in pod.status.container_statuses or ():
            for state in (status.state, status.last_state):
                if state and state.terminated and state.terminated.finished_at:
                    self.ends.setdefault(status.name, set()).add(state.terminated.finished_at)
        if kind == "DELETED":
            for container in pod.spec.containers:
                self.ends.setdefault(container.name, set()).add(datetime.now(UTC))
        if kind == "DELETED" or pod.status.phase in ENDED:
            self._alive.discard(uid)
        else:
            self._alive.add(uid)
        self.most_alive = max(self.most_alive, len(self._alive))


@contextmanager
def watched(core: Callable[[], client.CoreV1Api], namespace: str, selector: str = "") -> Iterator[Seen]:
    """Watches from the API server's present state on; a lost watch is taken up again."""
    seen, done = Seen(), threading.Event()
    began = threading.Event()

    def follow() -> None:
        api = core()
        while not done.is_set():
            try:
                listed = api.list_namespaced_pod(namespace, label_selector=selector)
                seen.still_there({pod.metadata.uid for pod in listed.items})
                for pod in listed.items:
                    seen.note("ADDED", pod)
                began.set()
                version = listed.metadata.resource_version
                stream = watch.Watch().stream(
                    api.list_namespaced_pod, namespace, label_selector=selector, resource_version=version, timeout_seconds=30, _request_timeout=35
                )
                for event in stream:
                    if event is None:  # a line that the client could not read
                        continue
                    seen.note(event["type"], event["object"])
                    if done.is_set():
                        return
            except (ApiException, HTTPError):  # the API server restarts, or the watch had nothing to say
                time.sleep(0.5)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    assert began.wait(60), "the API server does not list pods"
    try:
        yield seen
    finally:
        time.sleep(0.5)  # the last events are on their way
        done.set()
