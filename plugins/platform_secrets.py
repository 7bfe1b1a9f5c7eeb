"""Airflow's secrets backend: connections and variables from AWS Secrets Manager or Kubernetes, with one behaviour whatever the source.

Named by ``[secrets] backend``; ``include/units/environments.yml`` says which source an environment has. Every component and every task
asks with its own identity, and only below its own ``locations``: a task of one code location cannot read another's secrets, because its
identity may not.

=============  ===========================================================================================================
the source     what happens
=============  ===========================================================================================================
answers        the value serves for ``cache_seconds`` (15 minutes at most), then it is fetched again: rotation needs no restart
has no value   Airflow asks on: the environment, then its own database or the API server
is slow        one request for all who ask at the same time; after ``timeout_seconds`` it counts as down
is down        a value of up to 15 minutes serves on; without one, an error that names the source
refuses        an error that names the source and the path
=============  ===========================================================================================================

Both errors are of the one kind that Airflow passes on: at any other error of a backend it asks the next one, and ends by saying that
the connection is not defined, which would send people looking in the wrong place.

Values are registered with Airflow's masker, in all forms that texts can bring them in (``secret_masking.forms``).
Parsing DAG files asks for nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from airflow.secrets import BaseSecretsBackend
from secret_sources import CONNECTIONS, VARIABLES, SecretsUnavailableError, store

_ID = re.compile(r"[A-Za-z0-9_.-]{1,200}\Z")


class PlatformSecrets(BaseSecretsBackend):
    """See the module.

    :param source: ``aws`` or ``kubernetes``.
    :param root: what all paths (AWS) or namespaces (Kubernetes) begin with.
    :param locations: where to look, in this order, divided by commas. Every container says its own:
        ``AIRFLOW__SECRETS__BACKEND_KWARG__LOCATIONS=openedx,shared``.
    :param options: of the source: ``region_name``, ``endpoint_url``; ``kubeconfig``.
    """

    def __init__(
        self, source: str, root: str, locations: str = "shared", cache_seconds: float | str = 300, timeout_seconds: float | str = 10, **options: Any
    ) -> None:
        super().__init__()
        self.locations = tuple(name.strip() for name in locations.split(",") if name.strip())
        self._store = store(source, root, float(timeout_seconds), float(cache_seconds), **options)

    def get_conn_value(self, conn_id: str, team_name: str | None = None) -> str | None:
        """The connection as a URI or JSON."""
        return self._find(CONNECTIONS, conn_id)

    def get_connection(self, conn_id: str, team_name: str | None = None) -> Any:
        """As Airflow's own, but a value that is no connection is an error that says so, and says it without the value."""
        value = self.get_conn_value(conn_id)
        if value is None:
            return None
        try:
            connection = self.deserialize_connection(conn_id=conn_id, value=value)
            extra = connection.extra_dejson
            reason = "" if connection.conn_type else "it has no conn_type"
        except Exception as error:  # noqa: BLE001 - parsers of all kinds, whose words may hold the value
            reason = type(error).__name__
        if reason:
            found = f"connection {conn_id} is in the secrets of {', '.join(self.locations)} but cannot be used ({reason})"
            raise SecretsUnavailableError(f"{found}; allowed: an Airflow connection as a URI, or as JSON with conn_type")
        _mask(connection.password, extra)
        return connection

    def get_variable(self, key: str, team_name: str | None = None) -> str | None:
        """The variable's text. Airflow masks variables by their names; what lies among secrets is one, whatever its name."""
        value = self._find(VARIABLES, key)
        if value is not None:
            _mask(*_texts(value))
        return value

    def _find(self, kind: str, key: str) -> str | None:
        if not _ID.match(key):
            return None
        for location in self.locations:
            value = self._store.get((location, kind, key))
            if value is not None and value.strip():
                _mask(value)
                return value
        return None


def _texts(value: str) -> Iterator[str]:
    """The texts in a JSON document; the value itself when it is none."""
    try:
        data = json.loads(value)
    except ValueError:
        yield value
        return
    waiting = [data]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        waiting += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()


def _mask(*secrets: Any) -> None:
    """Registers values in both of Airflow's maskers: the components' and that of tasks, which tells the supervisor that writes their logs."""
    from airflow._shared.secrets_masker import mask_secret as mask_in_component
    from airflow.sdk.log import mask_secret as mask_in_task

    for secret in secrets:
        if secret:
            mask_in_component(secret)
            mask_in_task(secret)
