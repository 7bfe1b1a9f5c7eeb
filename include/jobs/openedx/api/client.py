"""One request to an Open edX API: authorised, bounded in time and attempts, and with a clear line between permanent and transient failures."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
import msgspec
from yarl import URL

from include.contract import PermanentError, TransientError
from include.jobs.openedx.api.retries import TRANSIENT, Budget, Patience, asked_pause
from include.jobs.openedx.api.tokens import Application, TokenCache

log = logging.getLogger(__name__)
TOTAL_SECONDS, CONNECT_SECONDS = 60.0, 10.0
PAGE_SIZE = 100
MOST_BYTES = 64 << 20  # of one answer; the structure of a course of 20,000 blocks is a sixth of it
UNLIMITED = 10**9
PATIENCE = Patience()
LOST = (aiohttp.ClientError, TimeoutError)
"""No answer, a late one, or one whose body ends too early: its length was announced, or its last chunk is missing."""


class NotFoundError(PermanentError):
    """The API knows no such thing (HTTP 404)."""


@dataclass(frozen=True)
class Answer:
    """A complete answer with a status that was allowed."""

    status: int
    body: bytes
    url: URL

    def decode(self, kind: Any) -> Any:
        """The body as ``kind``, a msgspec type: what it does not name is skipped, not built, and outlines are long. Raises ``TransientError``."""
        try:
            return msgspec.json.decode(self.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise TransientError(f"{self.url}: the answer could not be read: {error}; found {self.body[:80]!r}") from error


@dataclass
class _Request:
    """A request on its way: what is asked, how patiently, how often that was tried, and why the last attempt brought nothing."""

    method: str
    url: URL
    body: Any
    allowed: tuple[int, ...]
    patience: Patience
    attempts: int = 0
    throttled: int = 0
    refused: str | None = None
    reason: str = ""
    pause: float = 0.0

    def __str__(self) -> str:
        return f"{self.method} {self.url.path}"

    def failed(self, reason: str) -> None:
        """Another attempt failed in a way that the next one may not."""
        self.attempts += 1
        self.reason, self.pause = reason, self.patience.pause(self.attempts)

    @property
    def hopeless(self) -> bool:
        """Whether patience has run out."""
        return self.attempts >= self.patience.attempts or self.throttled > self.patience.throttled


class Client:
    """Requests to one API.

    :param base_url: the start of all its addresses; nothing is ever asked of another host, redirects included.
    :param concurrency: requests under way at once, and connections.
    :param budget: what the job may spend; a request beyond it raises ``BudgetSpentError``.
    """

    def __init__(self, base_url: str, application: Application, *, concurrency: int = 16, patience: Patience = PATIENCE, budget: Budget | None = None) -> None:
        self.base_url = base_url.rstrip("/")
        self.budget = budget or Budget(float("inf"), UNLIMITED)
        self.concurrency = concurrency
        self._application, self._patience = application, patience
        self._tokens = TokenCache(application, self._ask_for_token)
        self._session: aiohttp.ClientSession | None = None
        self._slots = asyncio.Semaphore(concurrency)
        self._resume_at = 0.0  # after a 429 to one request, all of them wait
        self._username: str | None = None
        self._username_lock = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=self.concurrency + 1),  # who asks for the token has a slot already
            timeout=aiohttp.ClientTimeout(total=TOTAL_SECONDS, sock_connect=CONNECT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._session is not None:
            await self._session.close()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The open session. Raises ``RuntimeError`` outside of ``async with``."""
        if self._session is None:
            raise RuntimeError("the client is used outside of 'async with'")
        return self._session

    async def get(self, path: str, params: Mapping[str, str] | None = None, *, allowed: tuple[int, ...] = (200,)) -> Answer:
        """A document. Raises :class:`NotFoundError` for a 404 that is not allowed, ``PermanentError``, ``TransientError`` or ``BudgetSpentError``."""
        url = self._url(path, {**await self._default_params(), **(params or {})})
        return await self._patiently(_Request("GET", url, None, allowed, self._patience))

    async def post_once(self, path: str, body: Any, *, allowed: tuple[int, ...] = (200,)) -> Answer:
        """A request that must not be repeated: after a lost or late answer nobody knows whether it was carried out, so it is a ``TransientError`` at once.

        A 429 and a refused token are answers that it was not; those are tried again.
        """
        patience = Patience(1, throttled=self._patience.throttled, asked=self._patience.asked)
        return await self._patiently(_Request("POST", self._url(path, {}), body, allowed, patience))

    def _url(self, path: str, params: Mapping[str, str]) -> URL:
        return URL(f"{self.base_url}{path}{'?' if params else ''}{urlencode(params)}", encoded=True)

    async def _default_params(self) -> dict[str, str]:
        """``username`` and ``page_size`` where the token comes from this very API (the LMS), nothing elsewhere."""
        if self._application.token_url != f"{self.base_url}/oauth2/access_token":
            return {}
        if self._username is None:
            async with self._username_lock:
                if self._username is None:
                    self._username = await self._ask_for_username()
        return {"username": self._username, "page_size": str(PAGE_SIZE)}

    async def _ask_for_username(self) -> str:
        answer = await self._patiently(_Request("GET", self._url("/api/user/v1/me", {}), None, (200,), self._patience))
        name = answer.decode(dict[str, Any]).get("username")
        if not isinstance(name, str):
            raise PermanentError(f"{answer.url}: found {answer.body[:80]!r}; allowed: an object with username")
        return name

    async def _patiently(self, request: _Request) -> Answer:
        while True:
            answer = await self._once(request)
            if answer is not None:
                return answer
            if request.hopeless:
                raise TransientError(f"{request}: given up after {request.attempts + request.throttled} attempts: {request.reason}")
            log.debug("%s: %s; again in %.1f s", request, request.reason, request.pause)
            if request.pause:
                await asyncio.sleep(request.pause)

    async def _once(self, request: _Request) -> Answer | None:
        """One attempt: its answer, or nothing when another attempt may bring one."""
        async with self._slots:  # before the look at the pause: who waited for a connection after it would ask in the midst of one
            while (wait := self._resume_at - time.monotonic()) > 0 and not self.budget.spent:
                await asyncio.sleep(min(wait, self.budget.left))
            header = await self._tokens.header(request.refused)
            self.budget.take()
            try:
                async with self.session.request(
                    request.method, request.url, json=request.body, headers={"Authorization": header}, allow_redirects=False
                ) as response:
                    content = await _content(response)
            except LOST as error:
                request.failed(f"{type(error).__name__} {error}".strip())
                return None
        if response.status in request.allowed:
            return Answer(response.status, content, request.url)
        self._judge(request, response, f"HTTP {response.status} {_shown(content)}".strip(), header)
        return None

    def _judge(self, request: _Request, response: aiohttp.ClientResponse, text: str, header: str) -> None:
        """Notes how to go on after a status that was not allowed. Raises for one that no repetition mends."""
        status = response.status
        request.reason, request.pause = text, 0.0
        if status == 401 and request.refused is None:
            request.refused = header
        elif status == 429:
            self._throttle(request, asked_pause(response.headers))
        elif status in TRANSIENT:
            request.failed(text)
        elif status == 404:
            raise NotFoundError(f"{request}: {text}")
        else:
            hint = {401: "; are the client id and secret right?", 403: "; the application may not do this"}.get(status, "")
            hint = f"; it leads to {response.headers.get('Location', 'nowhere')}, which is not followed" if 300 <= status < 400 else hint
            raise PermanentError(f"{request}: {text}{hint}")

    def _throttle(self, request: _Request, asked: float) -> None:
        """All requests pause as long as the server asks, within bounds."""
        if asked > request.patience.asked:
            raise TransientError(f"{request}: asked to wait {asked:.0f} s by a 429; at most {request.patience.asked:.0f} s are granted")
        request.throttled += 1
        self._resume_at = max(self._resume_at, time.monotonic() + asked)

    async def _ask_for_token(self, application: Application) -> dict[str, Any]:
        """The token endpoint's answer, patiently. Raises ``PermanentError`` when it refuses the credentials."""
        request = _Request("POST", URL(application.token_url), None, (200,), self._patience)
        while True:
            try:
                async with self.session.post(request.url, data=application.form, allow_redirects=False) as response:
                    content = await _content(response)
                if response.status == 200:
                    found: dict[str, Any] = Answer(200, content, request.url).decode(dict[str, Any])
                    return found
                reason = f"HTTP {response.status} {_shown(content)}"
                if response.status not in TRANSIENT | {429}:
                    raise PermanentError(f"{request}: {reason}; are the client id and secret right?")
                request.failed(reason)
                if response.status == 429:
                    request.pause = min(request.patience.asked, asked_pause(response.headers))
            except (*LOST, TransientError) as error:
                request.failed(f"{type(error).__name__} {error}".strip())
            if request.hopeless:
                raise TransientError(f"{request}: no token after {request.attempts} attempts: {request.reason}")
            await asyncio.sleep(request.pause)


async def _content(response: aiohttp.ClientResponse) -> bytes:
    """The whole body. Raises ``PermanentError`` for one that is too long to be held, as soon as that is seen."""
    content = bytearray()
    async for piece in response.content.iter_any():
        content += piece
        if len(content) > MOST_BYTES:
            raise PermanentError(f"{response.method} {response.url}: found more than {MOST_BYTES:,} bytes; allowed: an answer of at most so many")
    return bytes(content)


def _shown(content: bytes) -> str:
    return " ".join(content[:300].decode("utf-8", "replace").split())
