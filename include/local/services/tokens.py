"""Access tokens of the stand-ins: signed JSON web tokens with an expiry, so that they outlive a restart as those of the real services do."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Tokens:
    """Issues and checks tokens of one application (client id and secret); ``seconds`` is their lifetime."""

    client_id: str
    client_secret: str = field(repr=False)
    seconds: int = 900

    def accepts(self, client_id: str, client_secret: str) -> bool:
        """Whether these are the application's credentials."""
        return hmac.compare_digest(f"{client_id}\n{client_secret}".encode(), f"{self.client_id}\n{self.client_secret}".encode())

    def issue(self, now: float | None = None) -> str:
        """A new token, valid from ``now`` (seconds since the epoch) on."""
        issued = time.time() if now is None else now
        head = _encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
        body = _encode(json.dumps({"sub": self.client_id, "iat": int(issued), "exp": issued + self.seconds}).encode())
        return f"{head}.{body}.{self._signature(f'{head}.{body}')}"

    def valid(self, token: str, now: float | None = None) -> bool:
        """Whether a token was issued here and has not expired."""
        signed, _, signature = token.rpartition(".")
        if not signed or not hmac.compare_digest(signature.encode(), self._signature(signed).encode()):
            return False
        claims = _decode(signed.partition(".")[2])
        return claims.get("sub") == self.client_id and float(claims.get("exp", 0)) > (time.time() if now is None else now)

    def _signature(self, text: str) -> str:
        return _encode(hmac.new(self.client_secret.encode(), text.encode(), hashlib.sha256).digest())


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> dict[str, Any]:
    try:
        claims = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error):
        return {}
    return claims if isinstance(claims, dict) else {}
