"""Which of a process's variables hold secrets: by their names, and by what their values are."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

_SECRET = re.compile(r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|(PRIVATE|ACCESS|API|FERNET|SIGNING|WEBHOOK)_KEY|HMAC|DSN$|_CONN(_|$)", re.IGNORECASE)
_BESIDE = re.compile(r"_(ID|FILE|PATH|NAME|URL|VARIABLES|BACKEND)$", re.IGNORECASE)  # what only belongs to a secret
_WORDS = frozenset({"", "true", "false", "none", "null", "airflow"})


def is_secret_name(name: str) -> bool:
    """Whether a variable or key is called like a secret."""
    return bool(_SECRET.search(name)) and not _BESIDE.search(name)


def confidential(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The secrets among a set of environment variables, sorted.

    They are the values of variables that are called like a secret (whole, and what stands behind ``id=`` in a list of keys), the texts
    under such names in a value that is a JSON object (an Airflow connection), and the password of any value that is a URL with one (a catalog's address).
    """
    found: set[str] = set()
    for name, value in environ.items():
        if is_secret_name(name):
            found |= {value, value.strip(), *(word.partition("=")[2] for word in value.split() if "=" in word)}
        found |= _in_json(value) | _in_url(value)
    return tuple(sorted(text for text in found if text.lower() not in _WORDS))


def _in_json(value: str) -> set[str]:
    if not value.lstrip().startswith("{"):
        return set()
    with contextlib.suppress(ValueError):
        return _under_secret_names(json.loads(value), secret=False)
    return set()


def _under_secret_names(data: object, *, secret: bool) -> set[str]:
    if isinstance(data, dict):
        return {text for key, item in data.items() for text in _under_secret_names(item, secret=secret or is_secret_name(str(key)))}
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
