"""What Airflow's masker is told beyond its own connections: other forms of a secret, the secrets of a task's environment, and what is in an XCom.

Airflow masks registered values, in logs and rendered fields, as they are. Here it learns

- the forms in which texts bring a secret (``[logging] secret_mask_adapter = secret_masking.forms``): percent-encoded in a URL, escaped in JSON,
  doubled quotes in SQL, base64, single lines of a key;
- what the environment of a process holds in confidence: the supervisor of a task begins with an empty masker, and a task of
  LocalExecutor inherits the scheduler's keys and the metadata database's address;
- that what components print is read by whoever may read their logs: the scheduler repeats every line of a task of LocalExecutor, the triggerer
  those of triggers (``masked_trigger`` keeps events and errors of triggers);
- that the stack trace of a DAG file is shown;
- that an XCom is read by whoever may see the DAG (``[core] xcom_backend``): registered values are taken out of it.

The names and forms are those of ``include/config/confidential.py`` and ``include/redaction.py``, which jobs use; a test keeps both alike. Plugins
import nothing of the repository.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin
from airflow.providers.common.io.xcom.backend import XComObjectStorageBackend
from airflow.sdk.bases.xcom import BaseXCom
from airflow_processes import is_api_server

_SECRET = re.compile(r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|(PRIVATE|ACCESS|API|FERNET|SIGNING|WEBHOOK)_KEY|HMAC|DSN$|_CONN(_|$)", re.IGNORECASE)
_BESIDE = re.compile(r"_(ID|FILE|PATH|NAME|URL|VARIABLES|BACKEND)$", re.IGNORECASE)
_WORDS = frozenset({"", "true", "false", "none", "null", "airflow"})
_LINE = 16


def forms(secret: str) -> Iterator[str]:
    """The texts that give a secret away."""
    yield secret
    yield from (quote(secret), quote(secret, safe=""), quote_plus(secret))
    once = [one for plain in (secret, secret.replace("'", "''")) for one in (plain, *_quoted(plain))]
    yield from once
    yield from (two for one in once for two in _quoted(one))  # a text of JSON in another, or in a list that is printed
    for before in range(3):
        encoded = base64.b64encode(b"\0" * before + secret.encode()).rstrip(b"=").decode()
        inside = encoded[(0, 2, 3)[before] : len(encoded) - (1 if (before + len(secret.encode())) % 3 else 0)]
        if len(inside) >= 10:
            yield from (inside, inside.replace("+", "-").replace("/", "_"))
    lines = secret.split("\n")
    if len(lines) > 1:
        yield from (line.strip() for line in lines if len(line.strip()) >= _LINE and not line.startswith("-----"))


def _quoted(text: str) -> tuple[str, ...]:
    """As JSON and Python write it in quotes; the last one where double quotes stand beside it."""
    return json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1], repr("'\"" + text)[4:-1]


def confidential(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The secrets among a set of environment variables, by their names and by what their values are; sorted."""
    found: set[str] = set()
    for name, value in environ.items():
        if _is_secret_name(name):
            found |= {value, value.strip(), *(word.partition("=")[2] for word in value.split() if "=" in word)}
        found |= _in_json(value) | _in_url(value)
    return tuple(sorted(text for text in found if text.lower() not in _WORDS))


def _is_secret_name(name: str) -> bool:
    return bool(_SECRET.search(name)) and not _BESIDE.search(name)


def _in_json(value: str) -> set[str]:
    if not value.lstrip().startswith("{"):
        return set()
    with contextlib.suppress(ValueError):
        return _under_secret_names(json.loads(value), secret=False)
    return set()


def _under_secret_names(data: object, *, secret: bool) -> set[str]:
    if isinstance(data, dict):
        return {text for key, item in data.items() for text in _under_secret_names(item, secret=secret or _is_secret_name(str(key)))}
    if isinstance(data, list):
        return {text for item in data for text in _under_secret_names(item, secret=secret)}
    if isinstance(data, str):
        return ({data} if secret else set()) | _in_json(data) | _in_url(data)
    return set()


def _in_url(value: str) -> set[str]:
    if "://" not in value or "@" not in value:
        return set()
    with contextlib.suppress(ValueError):
        password = urlsplit(value).password or ""
        return {password, unquote(password)}
    return set()


# --- processes -----------------------------------------------------------------------------------------------------------------------


@hookimpl
def on_starting(component: Any) -> None:
    """Registers the environment's secrets: in a task's process before its DAG file is read, in a component before it does anything.

    ``component`` is a ``Job`` in scheduler, DAG processor and triggerer, which forward what tasks, DAG files and triggers print.
    """
    _register()
    if hasattr(component, "job_type"):
        mask_own_log()
        mask_import_errors()


@hookimpl
def on_task_instance_running() -> None:
    """For tasks that no supervisor starts (``airflow dags test``)."""
    _register()


def _register() -> None:
    """In a task's process: one message to the supervisor, which writes the log."""
    from airflow.sdk.log import mask_secret

    mask_secret(list(confidential(os.environ)))


class _MaskedLine:
    """The last processor of a log: what it makes of an event, tracebacks included, without registered secrets."""

    def __init__(self, render: Any) -> None:
        self._render = render

    def __call__(self, logger: Any, method: str, event: Any) -> Any:
        from airflow.sdk._shared.secrets_masker import redact

        line = self._render(logger, method, event)
        return str(redact(line.decode())).encode() if isinstance(line, bytes) else redact(line)


def mask_own_log() -> None:
    """Masks what this component writes to its own output: Airflow does so for tasks and worker pods only.

    Called before anything is logged by loggers that would keep another list of processors.
    """
    import structlog

    formatters = [handler.formatter for handler in logging.getLogger().handlers]
    for processors in (structlog.get_config()["processors"], *(getattr(formatter, "processors", None) for formatter in formatters)):
        if isinstance(processors, list) and not isinstance(processors[-1], _MaskedLine):
            processors[-1] = _MaskedLine(processors[-1])


def mask_import_errors() -> None:
    """Masks stack traces of DAG files on their way into the metadata database: Airflow shows them as they are to whoever may see the DAG."""
    from airflow.models.errors import ParseImportError
    from sqlalchemy import Text, TypeDecorator

    class Masked(TypeDecorator[str]):
        impl = Text
        cache_ok = True

        def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
            from airflow.sdk._shared.secrets_masker import redact

            return None if value is None else str(redact(value))

    ParseImportError.__table__.c.stacktrace.type = Masked()


class SecretMasking(AirflowPlugin):
    """Makes the hooks above some of Airflow's listeners, and does for the API server, which tells no listener of its start, what they do for others."""

    name = "secret_masking"
    listeners = [__import__(__name__)]  # noqa: RUF012 - Airflow's interface

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Called in each process that loads plugins."""
        if is_api_server():
            _register()
            mask_own_log()


# --- XCom ----------------------------------------------------------------------------------------------------------------------------


class MaskedXCom(BaseXCom):
    """XComs in the metadata database, without registered secrets. ``[core] xcom_backend`` of a laptop."""

    @staticmethod
    def serialize_value(value: Any, **where: Any) -> str:
        """As Airflow's."""
        return BaseXCom.serialize_value(masked(value), **where)


class MaskedObjectStorageXCom(XComObjectStorageBackend):
    """XComs in the object store where they are large, without registered secrets. ``[core] xcom_backend`` of a cluster."""

    @staticmethod
    def serialize_value(value: Any, **where: Any) -> bytes | str:  # type: ignore[override]
        """As the provider's."""
        return XComObjectStorageBackend.serialize_value(masked(value), **where)


def masked(value: Any) -> Any:
    """``value`` without registered secrets: names do not matter, numbers stay numbers, and what holds none is the same object."""
    from airflow.sdk.serde import deserialize, serialize

    if isinstance(value, bool | int | float | None):
        return value
    if isinstance(value, str):
        return _masked_texts(value)
    data: Any = serialize(value)
    found = _masked_texts(data)
    return value if found == data else deserialize(found)


def _masked_texts(data: Any) -> Any:
    from airflow.sdk._shared.secrets_masker import redact

    if isinstance(data, str):
        return redact(data)
    if isinstance(data, dict):
        return {_masked_texts(key): _masked_texts(item) for key, item in data.items()}
    if isinstance(data, list | tuple):
        return type(data)(_masked_texts(item) for item in data)
    return data
