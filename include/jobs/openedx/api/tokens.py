"""OAuth2 client credentials: one access token for all requests that are under way, refreshed before it ends and when the server refuses it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from include.contract import PermanentError

AHEAD = 30.0
"""Seconds before its end at which a token is replaced, so that none ends on its way."""
TYPES = ("JWT", "Bearer")


@dataclass(frozen=True)
class Application:
    """An OAuth application: where it gets its tokens, with which credentials, of which type (``JWT`` or ``Bearer``)."""

    token_url: str
    client_id: str
    client_secret: str = field(repr=False)
    token_type: str = "JWT"  # noqa: S105 - a word of the protocol

    def __post_init__(self) -> None:
        if self.token_type not in TYPES:
            raise PermanentError(f"token type: found {self.token_type!r}; allowed: {', '.join(TYPES)}")

    @property
    def form(self) -> dict[str, str]:
        """What is posted for a token."""
        return {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.client_secret,
            "token_type": self.token_type.lower(),
        }


@dataclass(frozen=True)
class Token:
    """An access token; ``until`` is when it should be replaced, on this process's monotonic clock."""

    header: str
    until: float


class TokenCache:
    """The application's token. ``ask`` posts the form and returns the server's answer; it is called by one request at a time."""

    def __init__(self, application: Application, ask: Callable[[Application], Awaitable[dict[str, Any]]]) -> None:
        self._application, self._ask = application, ask
        self._token: Token | None = None
        self._lock = asyncio.Lock()

    async def header(self, refused: str | None = None) -> str:
        """The ``Authorization`` header to use; ``refused`` is one that the server would not take, never returned again."""
        token = self._token
        if token is not None and token.header != refused and time.monotonic() < token.until:
            return token.header
        async with self._lock:
            token = self._token  # another request may have fetched one meanwhile
            if token is None or token.header == refused or time.monotonic() >= token.until:
                token = self._token = self._read(await self._ask(self._application))
            return token.header

    def _read(self, answer: dict[str, Any]) -> Token:
        token, seconds = answer.get("access_token"), answer.get("expires_in", 0)
        if not isinstance(token, str) or not token or not isinstance(seconds, int | float):
            shown = ", ".join(sorted(answer))
            raise PermanentError(f"{self._application.token_url}: found an answer with {shown or 'nothing'}; allowed: access_token and expires_in")
        return Token(f"{self._application.token_type} {token}", time.monotonic() + max(1.0, float(seconds) - AHEAD))
