"""One test session at a time on a cluster: sessions share its namespaces, whose names are the platform's own."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

NAME, NAMESPACE = "ol-tests", "default"
LIFETIME = 60  # seconds without renewal after which a holder counts as dead
RENEW_EVERY = 15.0


@contextmanager
def turn(api: client.CoordinationV1Api, seconds: float = 1800.0) -> Iterator[None]:
    """Holds the lease ``ol-tests`` for the length of a block; waits while another session holds it. Fails the test after ``seconds``."""
    holder = f"{socket.gethostname()}-{os.getpid()}"
    deadline = time.monotonic() + seconds
    while not _take(api, holder):
        if time.monotonic() > deadline:
            pytest.fail(f"after {seconds:.0f} s another test session still holds lease {NAMESPACE}/{NAME}: {_holder(api)}", pytrace=False)
        time.sleep(1)
    done = threading.Event()
    renewal = threading.Thread(target=_renew, args=(api, holder, done), daemon=True)
    renewal.start()
    try:
        yield
    finally:
        done.set()
        renewal.join()
        api.delete_namespaced_lease(NAME, NAMESPACE)


def _renew(api: client.CoordinationV1Api, holder: str, done: threading.Event) -> None:
    while not done.wait(RENEW_EVERY):
        _take(api, holder)


def _take(api: client.CoordinationV1Api, holder: str) -> bool:
    """Makes, takes over or renews the lease; false when it is somebody else's, or the server did not say."""
    now = datetime.now(UTC)
    spec = client.V1LeaseSpec(holder_identity=holder, lease_duration_seconds=LIFETIME, renew_time=now)
    body = client.V1Lease(metadata=client.V1ObjectMeta(name=NAME), spec=spec)
    try:
        try:
            found = api.read_namespaced_lease(NAME, NAMESPACE)
        except ApiException as error:
            if error.status != 404:
                raise
            api.create_namespaced_lease(NAMESPACE, body)
            return True
        if found.spec.holder_identity != holder and found.spec.renew_time + timedelta(seconds=LIFETIME) > now:
            return False
        body.metadata.resource_version = found.metadata.resource_version  # refused when another session was faster
        api.replace_namespaced_lease(NAME, NAMESPACE, body)
    except ApiException as error:
        if error.status in (404, 409) or error.status >= 500:
            return False
        raise
    return True


def _holder(api: client.CoordinationV1Api) -> str:
    return str(api.read_namespaced_lease(NAME, NAMESPACE).spec.holder_identity)
