"""Keeps secrets out of what a process writes: registered values are replaced in texts, in every form that a text can bring them in.

Airflow has a masker of its own, which knows the values of its connections. A job knows no Airflow: what its environment gave it in
confidence is registered here when it starts, and everything it writes passes :func:`redact`.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TextIO
from urllib.parse import quote, quote_plus

MASK = "***"
SHORTEST = 5
"""Characters. Shorter values occur in texts by accident; Airflow's masker has the same limit."""
_LINE = 16

_lock = threading.Lock()
_known: tuple[str, ...] = ()


def forms(secret: str) -> Iterator[str]:
    """The texts that give a secret away: itself, and as URLs, JSON, Python, SQL and base64 would write it.

    Of a text of several lines, such as a private key, each long line counts too: logs are written line by line. ``plugins/platform_secrets.py``
    says the same to Airflow's masker; a test keeps both alike.
    """
    yield secret
    yield from (quote(secret), quote(secret, safe=""), quote_plus(secret))
    once = [one for plain in (secret, secret.replace("'", "''")) for one in (plain, *_quoted(plain))]
    yield from once
    yield from (two for one in once for two in _quoted(one))  # a text of JSON in another, or in a list that is printed
    for before in range(3):  # base64 of a text that holds the secret depends on where in three bytes it begins
        encoded = base64.b64encode(b"\0" * before + secret.encode()).rstrip(b"=").decode()
        inside = encoded[(0, 2, 3)[before] : len(encoded) - (1 if (before + len(secret.encode())) % 3 else 0)]
        if len(inside) >= 2 * SHORTEST:
            yield from (inside, inside.replace("+", "-").replace("/", "_"))
    lines = secret.split("\n")
    if len(lines) > 1:
        yield from (line.strip() for line in lines if len(line.strip()) >= _LINE and not line.startswith("-----"))


def _quoted(text: str) -> tuple[str, ...]:
    """As JSON and Python write it in quotes; the last one where double quotes stand beside it."""
    return json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1], repr("'\"" + text)[4:-1]


def register(secrets: Iterable[str]) -> None:
    """From now on :func:`redact` replaces these. Values of less than :data:`SHORTEST` characters are left out."""
    global _known  # noqa: PLW0603 - what a process knows in confidence is a matter of the process
    with _lock:
        found = {form for secret in secrets if len(secret) >= SHORTEST for form in forms(secret) if len(form) >= SHORTEST}
        # the longest first: of two that begin alike, the shorter would leave the other's end readable
        _known = tuple(sorted({*_known, *found}, key=lambda form: (-len(form), form)))


def redact(text: str) -> str:
    """``text`` with every registered secret replaced by ``***``."""
    for form in _known:  # one look for each is faster than one expression for all
        if form in text:
            text = text.replace(form, MASK)
    return text


def redacted(value: Any) -> Any:
    """A copy of JSON-like data in which every text, keys included, is redacted; numbers stay numbers."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {redact(key) if isinstance(key, str) else key: redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(redacted(item) for item in value)
    return value


def redact_json(data: bytes) -> bytes:
    """A JSON document without registered secrets; the same bytes when it holds none."""
    text = data.decode("utf-8", errors="replace")
    return json.dumps(redacted(json.loads(data))).encode() if redact(text) != text else data


class RedactingStream:
    """A text stream that holds lines back until they are whole, and lets none with a secret pass."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._held = ""
        self._writing = threading.RLock()

    def write(self, text: str) -> int:
        """Writes what is whole of it."""
        with self._writing:
            whole, newline, self._held = (self._held + text).rpartition("\n")
            if newline:
                self._stream.write(redact(whole) + newline)
        return len(text)

    def flush(self) -> None:
        """Passes on what was written; half a line stays, for its second half may be that of a secret."""
        with self._writing:
            self._stream.flush()

    def finish(self) -> None:
        """Writes the last line, when nothing ended it."""
        with self._writing:
            self._stream.write(redact(self._held))
            self._held = ""
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
