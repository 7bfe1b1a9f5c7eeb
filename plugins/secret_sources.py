"""Where secrets are kept, and how they are asked for: two sources behind one store that caches, waits no longer than agreed and says what is wrong."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any, Protocol

from airflow.sdk.exceptions import AirflowSecretsBackendAccessDenied

OLDEST = 900.0
"""Seconds for which a value may serve, whatever happens."""
MISSING = 60.0
"""Seconds for which "there is none" is believed."""
CONNECTIONS, VARIABLES = "connections", "variables"
log = logging.getLogger(__name__)


class SecretsDeniedError(AirflowSecretsBackendAccessDenied):
    """The source refuses this identity. Another try meets the same, until somebody changes its rights."""


class SecretsUnavailableError(AirflowSecretsBackendAccessDenied):
    """The source does not answer, or what it answers cannot be used. Airflow passes on no error of another class."""


class Source(Protocol):
    """Where secrets are kept."""

    name: str
    """In messages."""

    def fetch(self, location: str, kind: str, key: str) -> str | None:
        """The secret's text, ``None`` where there is none. ``kind`` is ``connections`` or ``variables``.

        Raises :class:`SecretsDeniedError`; every other error means that the source is unavailable.
        """


class AwsSecretsManager:
    """Secrets called ``<root>/<location>/connections/<id>``, read with the pod's own identity; ``options`` go to boto3's client.

    The provider's own backend takes a failing service and a key that may not be used for a secret that is not there.
    """

    DENIED = frozenset({"AccessDeniedException", "UnrecognizedClientException", "InvalidSignatureException", "ExpiredTokenException", "DecryptionFailure"})

    def __init__(self, root: str, timeout: float, **options: Any) -> None:
        from boto3.session import Session  # a quarter of a second, which parsing need not pay
        from botocore.config import Config

        config = Config(connect_timeout=min(3.0, timeout), read_timeout=timeout, retries={"total_max_attempts": 2, "mode": "standard"})
        self.root = root
        self._client = Session().client("secretsmanager", config=config, **options)
        self.name = f"AWS Secrets Manager ({self._client.meta.endpoint_url})"

    def fetch(self, location: str, kind: str, key: str) -> str | None:
        """See :class:`Source`."""
        from botocore.exceptions import ClientError, NoCredentialsError

        path = f"{self.root}/{location}/{kind}/{key}"
        try:
            answer = self._client.get_secret_value(SecretId=path)
        except NoCredentialsError as error:
            raise SecretsDeniedError(f"{self.name}: this process has no identity to ask for {path} with") from error
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "ResourceNotFoundException":
                return None
            if code in self.DENIED:
                raise SecretsDeniedError(f"{self.name} refuses {path}: {code}; see what this pod's identity may read") from error
            raise
        return str(answer["SecretString"]) if "SecretString" in answer else bytes(answer["SecretBinary"]).decode()


class KubernetesSecrets:
    """Secrets in the namespace ``<root>-<location>``, found by the labels of Airflow's provider, whose backend does the reading.

    A namespace for each location, because rights to list secrets cannot be had for some of a namespace. ``kubeconfig`` is for an
    Airflow that runs beside the cluster.
    """

    name = "Kubernetes"

    def __init__(self, root: str, timeout: float, kubeconfig: str = "") -> None:
        from airflow.providers.cncf.kubernetes.secrets.kubernetes_secrets_backend import KubernetesSecretsBackend
        from kubernetes import client, config

        self.root = root
        self._timeout = timeout
        self._backend = KubernetesSecretsBackend
        if kubeconfig:
            self._api = config.new_client_from_config(kubeconfig)
        else:
            config.load_incluster_config()
            self._api = client.ApiClient()
        self._core = client.CoreV1Api(self._api)

    def fetch(self, location: str, kind: str, key: str) -> str | None:
        """See :class:`Source`."""
        from kubernetes.client.exceptions import ApiException

        namespace = f"{self.root}-{location}"
        backend = self._backend(namespace=namespace)
        backend.__dict__["client"] = self._core  # its own is for pods only
        try:
            found = backend.get_conn_value(key) if kind == CONNECTIONS else backend.get_variable(key)
        except ApiException as error:
            if error.status in (401, 403):
                raise SecretsDeniedError(
                    f"Kubernetes refuses secrets of namespace {namespace} ({error.status}); see what this pod's identity may list"
                ) from error
            raise
        return None if found is None else str(found)


SOURCES: dict[str, Callable[..., Source]] = {"aws": AwsSecretsManager, "kubernetes": KubernetesSecrets}


@dataclass
class _Entry:
    value: str | None
    fetched: float


@dataclass
class Store:
    """A source with its cache, shared by all backends of a process with the same settings: Airflow makes new ones for every look-up in places."""

    make: Callable[[], Source]
    timeout: float
    fresh: float
    _source: Source | None = None
    _entries: dict[tuple[str, str, str], _Entry] = field(default_factory=dict)
    _flights: dict[tuple[str, str, str], Future[str | None]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, what: tuple[str, str, str]) -> str | None:
        """The value of ``(location, kind, key)``, ``None`` where there is none. Raises :class:`SecretsDeniedError` and :class:`SecretsUnavailableError`."""
        entry, now = self._entries.get(what), time.monotonic()
        if entry is not None and now - entry.fetched < (self.fresh if entry.value is not None else min(self.fresh, MISSING)):
            return entry.value
        try:
            return self._ask(what)
        except AirflowSecretsBackendAccessDenied:
            self._entries.pop(what, None)  # rights that were taken away are gone now, not in a quarter of an hour
            raise
        except Exception as error:
            if entry is not None and entry.value is not None and now - entry.fetched < OLDEST:
                log.warning("%s; %s of %s was read %d s ago and serves on", self._unavailable(error), what[2], what[0], now - entry.fetched)
                return entry.value
            raise SecretsUnavailableError(f"{self._unavailable(error)}: {what[1].removesuffix('s')} {what[2]} of {what[0]} cannot be read") from error

    def _unavailable(self, error: Exception) -> str:
        name = self._source.name if self._source else "the source of secrets"
        reason = f"no answer within {self.timeout:g} s" if isinstance(error, TimeoutError) else f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return f"{name} is unavailable ({reason})"

    def _ask(self, what: tuple[str, str, str]) -> str | None:
        """One request at a time for each secret, in a thread of its own: no client ends all of its waiting by itself. The answer is kept.

        The client itself is made here. That imports it, which takes seconds on a busy node: no answer would be blamed for them, and a process
        that forked meanwhile would have a child for which the import never ends.
        """
        with self._lock:
            self._source = self._source or self.make()
            source = self._source
            flight = self._flights.get(what)
            if flight is None:
                flight = self._flights[what] = Future()
                threading.Thread(target=self._fly, args=(source, what, flight), name="secrets", daemon=True).start()
        try:
            return flight.result(timeout=self.timeout)
        except TimeoutError:
            self._forget(what, flight)  # given up: nobody joins what may never end
            raise

    def _forget(self, what: tuple[str, str, str], flight: Future[str | None]) -> None:
        with self._lock:
            if self._flights.get(what) is flight:
                del self._flights[what]

    def _fly(self, source: Source, what: tuple[str, str, str], flight: Future[str | None]) -> None:
        try:
            answer = source.fetch(*what)
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._forget(what, flight)  # before it is heard of: who asks again asks the source, and is not told the last one's failure
            flight.set_exception(error)
        else:
            with self._lock:  # at once: who asks in between would find neither the answer nor the request, and ask the source again
                if self._flights.get(what) is flight:  # not one that was given up: its answer may be older than the one that is kept
                    self._entries[what] = _Entry(answer, time.monotonic())
                    del self._flights[what]
            flight.set_result(answer)

    def land(self) -> None:
        """Waits for requests that are under way, as long as an answer may take."""
        wait(tuple(self._flights.values()), timeout=self.timeout)


_stores: dict[Hashable, Store] = {}


def _land() -> None:
    for one in tuple(_stores.values()):
        one.land()


# a fork has its parent's sockets and locks, but none of its threads: what a thread holds in that moment is never given back
os.register_at_fork(before=_land, after_in_child=_stores.clear)


def store(source: str, root: str, timeout: float, fresh: float, **options: Any) -> Store:
    """The process's store for these settings. Raises ``ValueError`` for settings that cannot be."""
    if source not in SOURCES:
        raise ValueError(f"[secrets] backend_kwargs: source: found {source!r}; allowed: {', '.join(SOURCES)}")
    if not 0 <= fresh <= OLDEST:
        raise ValueError(f"[secrets] backend_kwargs: cache_seconds: found {fresh:g}; allowed: 0 to {OLDEST:.0f}")
    key = (source, root, timeout, fresh, json.dumps(options, sort_keys=True))
    return _stores.setdefault(key, Store(lambda: SOURCES[source](root=root, timeout=timeout, **options), timeout, fresh))
