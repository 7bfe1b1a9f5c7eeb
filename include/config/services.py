"""Where other systems answer, and who we are there: addresses and credentials from variables, which secrets fill in pods.

``OL_OPENEDX_URL`` …         local only: see :func:`local_service`
``AIRBYTE_CLIENT_ID`` …      see :func:`airbyte_application`
``OPENEDX_CLIENT_ID`` …      see :func:`openedx_application`
``MIT_LEARN_…``              see :func:`learn_settings`
``WEBHOOK_OUTBOX_DSN``       see :func:`outbox_dsn`
``GITHUB_TOKEN``             see :func:`github_token`
``FORUM_MONGODB_USERNAME`` … see :func:`forum_login`
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr

from include.config.environments import name_of, refuse, variables
from include.config.vocabulary import Environment


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


LOCAL_SERVICES = {
    "openedx": ("OL_OPENEDX_URL", "http://openedx.local"),
    "mongodb": ("OL_MONGODB_URL", "mongodb://mongodb.local"),
    "landing": ("OL_LANDING", "file:///landing"),
    "github": ("OL_GITHUB_URL", "http://github.local"),
}
"""What ``{…}`` in a unit's local addresses stands for: the variable that the local platform sets, and what a DAG shows where it does not run."""


def local_service(address: str, environ: Mapping[str, str] | None = None) -> str:
    """An address of a unit file with ``{service}`` replaced by where that service of the local platform is. Raises ``ConfigError`` for an unknown one."""
    environ = variables() if environ is None else environ
    name, _, rest = address.removeprefix("{").partition("}")
    if not address.startswith("{"):
        return address
    if name not in LOCAL_SERVICES:
        raise refuse("address", repr(address), "one of " + ", ".join(f"{{{known}}}" for known in LOCAL_SERVICES))
    variable, elsewhere = LOCAL_SERVICES[name]
    return environ.get(variable, elsewhere) + rest


class Application(_Model):
    """A client that may call somebody's API."""

    client_id: str
    client_secret: SecretStr


def airbyte_application(environ: Mapping[str, str] | None = None) -> Application:
    """The application that the local Airbyte accepts, from ``AIRBYTE_CLIENT_ID`` and ``AIRBYTE_CLIENT_SECRET``. Raises ``ConfigError``."""
    name, secret = _application("AIRBYTE", "the credentials of the one application that may call the local Airbyte", environ)
    return Application(client_id=name, client_secret=SecretStr(secret))


def openedx_application(environ: Mapping[str, str] | None = None) -> tuple[str, str]:
    """Client id and secret for one deployment's Open edX, from ``OPENEDX_CLIENT_ID`` and ``OPENEDX_CLIENT_SECRET``. Raises ``ConfigError``."""
    return _application("OPENEDX", "the credentials of this platform's OAuth application at the deployment's Open edX", environ)


def _application(prefix: str, allowed: str, environ: Mapping[str, str] | None) -> tuple[str, str]:
    environ = variables() if environ is None else environ
    names = (f"{prefix}_CLIENT_ID", f"{prefix}_CLIENT_SECRET")
    for name in names:
        if not environ.get(name):
            raise refuse(name, "nothing", allowed)
    return environ[names[0]], environ[names[1]]


class WebhookKey(_Model):
    """A key that signs webhooks: its id travels in a header, its secret never does."""

    id: str
    secret: SecretStr


class LearnSettings(_Model):
    """Where MIT Learn is told of new content, and the keys to sign with: the first signs, the second is tried when MIT Learn refuses the first."""

    base_url: str
    keys: tuple[WebhookKey, ...]


def learn_settings(environ: Mapping[str, str] | None = None) -> LearnSettings:
    """``MIT_LEARN_BASE_URL`` and ``MIT_LEARN_WEBHOOK_KEYS`` (see :func:`webhook_keys`). Raises ``ConfigError``.

    The address is https, without user, query or fragment; on a laptop http will do.
    """
    environ = variables() if environ is None else environ
    found = environ.get("MIT_LEARN_BASE_URL", "")
    schemes = {"https", "http"} if name_of(environ) is Environment.LOCAL else {"https"}
    try:
        url = urlsplit(found)
        plain = url.scheme in schemes and bool(url.hostname) and url.port != 0 and not set("@?#") & set(found)
    except ValueError:
        plain = False
    if not plain:
        allowed = f"an address of {' or '.join(sorted(schemes))} without user, query and fragment"
        raise refuse("MIT_LEARN_BASE_URL", repr(found) if found else "nothing", allowed, "MIT_LEARN_BASE_URL=https://api.learn.mit.edu")
    return LearnSettings(base_url=found.rstrip("/"), keys=webhook_keys(environ))


def webhook_keys(environ: Mapping[str, str] | None = None) -> tuple[WebhookKey, ...]:
    """One or two ``<id>=<secret>`` from ``MIT_LEARN_WEBHOOK_KEYS``, apart by spaces or lines. Raises ``ConfigError``, which never shows a secret."""
    environ = variables() if environ is None else environ
    entries = [entry.partition("=") for entry in environ.get("MIT_LEARN_WEBHOOK_KEYS", "").split()]
    ids = [entry[0] for entry in entries]
    known = all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) and len(secret) >= 16 for name, _, secret in entries)
    if not known or len(set(ids)) != len(ids) or not 1 <= len(ids) <= 2:
        lengths = ", ".join(f"an id of {len(name)} and a secret of {len(secret)} characters" for name, _, secret in entries) or "nothing"
        allowed = "one or two <id>=<secret>, ids of letters, digits, _ and -, secrets of 16 characters or more, the one that signs first"
        raise refuse("MIT_LEARN_WEBHOOK_KEYS", lengths, allowed, "MIT_LEARN_WEBHOOK_KEYS='2026-11=… 2026-05=…'")
    return tuple(WebhookKey(id=name, secret=SecretStr(secret)) for name, _, secret in entries)


def outbox_dsn(environ: Mapping[str, str] | None = None) -> str:
    """The PostgreSQL database of the webhooks' outbox, from ``WEBHOOK_OUTBOX_DSN``; libpq adds ``PGPASSWORD``. Raises ``ConfigError``."""
    environ = variables() if environ is None else environ
    found = environ.get("WEBHOOK_OUTBOX_DSN", "")
    if not re.match(r"postgres(ql)?://", found):
        # not shown: an address may hold a password
        told = f"{len(found)} characters that do not begin with postgresql://" if found else "nothing"
        raise refuse("WEBHOOK_OUTBOX_DSN", told, "the outbox's PostgreSQL database", "WEBHOOK_OUTBOX_DSN=postgresql://user@host:5432/webhooks")
    return found


def forum_login(environ: Mapping[str, str] | None = None) -> tuple[str, str] | None:
    """User and password of the forum's MongoDB, from ``FORUM_MONGODB_USERNAME`` and ``FORUM_MONGODB_PASSWORD``; ``None`` for a server without login.

    Raises ``ConfigError`` when only one of them is set.
    """
    environ = variables() if environ is None else environ
    names = ("FORUM_MONGODB_USERNAME", "FORUM_MONGODB_PASSWORD")
    found = [environ.get(name, "") for name in names]
    if not any(found):
        return None
    if not all(found):
        missing = names[found.index("")]
        raise refuse(missing, "nothing", "both or neither of " + " and ".join(names))
    return found[0], found[1]


def github_token(environ: Mapping[str, str] | None = None) -> str:
    """What may read pull requests, from ``GITHUB_TOKEN``. Raises ``ConfigError``."""
    environ = variables() if environ is None else environ
    found = environ.get("GITHUB_TOKEN", "").strip()
    if not found:
        raise refuse("GITHUB_TOKEN", "nothing", "a token that may read the repository's pull requests")
    return found
