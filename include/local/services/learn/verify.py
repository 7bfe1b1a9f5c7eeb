r"""Whether a request is MIT Learn's own platform's.

In ``today`` mode one header counts, as in MIT Learn's present code: ``X-MITLearn-Signature``, hex HMAC-SHA256 of the body. Whoever once saw a request can send
it again, at any time and to any endpoint.

In ``strict`` mode the request also says when (``X-MITLearn-Timestamp``, seconds since the epoch), with which key
(``X-MITLearn-Key-Id``) and what about (``Idempotency-Key``), and ``X-MITLearn-Signature-V2`` is the hex HMAC-SHA256 of
``v2\n<timestamp>\n<key id>\n<idempotency key>\n<path>\n<body>``.

This is written from the description of the protocol and shares no code with the sender, so that a mistake in one of them shows.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Mode = Literal["today", "strict"]
WINDOW_SECONDS = 300
_FORMS = {
    "X-MITLearn-Timestamp": re.compile(r"[0-9]{1,12}"),
    "X-MITLearn-Key-Id": re.compile(r"[A-Za-z0-9_-]{1,64}"),
    "Idempotency-Key": re.compile(r"[A-Za-z0-9_-]{1,128}"),
    "X-MITLearn-Signature": re.compile(r"[0-9a-f]{64}"),
    "X-MITLearn-Signature-V2": re.compile(r"[0-9a-f]{64}"),
}


class RefusedError(Exception):
    """A request that is not believed: ``error`` is a word for programs (header, key, signature, timestamp), the text is for people."""

    def __init__(self, error: str, message: str) -> None:
        self.error = error
        super().__init__(message)


@dataclass(frozen=True)
class Request:
    """What a decision rests on. Header names are looked up without regard to case, as the mapping's own business."""

    path: str
    headers: Mapping[str, str]
    body: bytes


def check_today(request: Request, keys: Mapping[str, str]) -> None:
    """Raises ``RefusedError`` unless one of the keys signed the body."""
    given = _header(request, "X-MITLearn-Signature")
    if not any(_same(_hmac(secret, request.body), given) for secret in keys.values()):
        raise RefusedError("signature", "X-MITLearn-Signature is not the body's")


def check_strict(request: Request, keys: Mapping[str, str], now: float) -> str:
    """The idempotency key of a request that is believed. Raises ``RefusedError``. ``now`` in seconds since the epoch."""
    timestamp, key_id, idempotency_key = (_header(request, name) for name in ("X-MITLearn-Timestamp", "X-MITLearn-Key-Id", "Idempotency-Key"))
    if key_id not in keys:
        raise RefusedError("key", f"key {key_id} is not known; known: {', '.join(sorted(keys))}")
    head = "\n".join(("v2", timestamp, key_id, idempotency_key, request.path, "")).encode()
    if not _same(_hmac(keys[key_id], request.body), _header(request, "X-MITLearn-Signature")):
        raise RefusedError("signature", "X-MITLearn-Signature is not the body's")
    if not _same(_hmac(keys[key_id], head + request.body), _header(request, "X-MITLearn-Signature-V2")):
        raise RefusedError("signature", "X-MITLearn-Signature-V2 is not that of timestamp, key id, idempotency key, path and body")
    if abs(now - int(timestamp)) > WINDOW_SECONDS:
        raise RefusedError("timestamp", f"signed {now - int(timestamp):.0f} s ago by this clock; allowed: {WINDOW_SECONDS} s either way")
    return idempotency_key


def _header(request: Request, name: str) -> str:
    found = request.headers.get(name)
    if found is None or not _FORMS[name].fullmatch(found):
        raise RefusedError("header", f"{name}: found {'nothing' if found is None else repr(found[:100])}; allowed: {_FORMS[name].pattern}")
    return found


def _hmac(secret: str, text: bytes) -> str:
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
