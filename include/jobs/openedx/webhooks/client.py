"""One attempt to deliver an event: signed for this moment, sent, and the answer judged.

A receiver that refuses (401, 403) may have another clock, or not know the key yet or any more. Then the attempt is signed again, by the receiver's
own clock as its ``Date`` tells it, and with the other key; what was accepted is remembered for the next events. All of it is one
attempt within one limit of time.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import httpx

from include.config.services import LearnSettings, WebhookKey
from include.jobs.openedx.webhooks.addresses import CheckedTransport
from include.jobs.openedx.webhooks.events import path_of
from include.jobs.openedx.webhooks.lanes import Claim
from include.jobs.openedx.webhooks.retries import Answer, Verdict, moment_of, seconds_to_wait, verdict_of
from include.jobs.openedx.webhooks.signing import signed_headers

LONGEST_ANSWER = 64 * 1024
TOLD_CHARACTERS = 300
CLOCKS_DIFFER = 60.0
"""Seconds between the receiver's clock and an attempt's timestamp from which on the timestamp may be what was refused."""
FARTHEST_CLOCK = 3_600.0
"""Seconds that a receiver's clock is followed at most: a signature must not be talked far into the future."""


def wall_clock() -> float:
    """This machine's time, seconds since the epoch; may be wrong."""
    return time.time()


@dataclass(frozen=True)
class _Reply:
    """What came back over HTTP. ``date`` is the receiver's own time; ``whole`` is false when the body broke off."""

    status: int
    headers: httpx.Headers
    body: bytes
    whole: bool

    @property
    def date(self) -> datetime | None:
        return moment_of(self.headers.get("Date"))


class Client:
    """MIT Learn's webhooks; used by many tasks at once. ``seconds`` bounds one attempt, whatever the receiver does."""

    def __init__(self, settings: LearnSettings, *, public_only: bool, seconds: float, connections: int) -> None:
        self._settings, self._seconds = settings, seconds
        self._keys = list(settings.keys)  # the one that was accepted last comes first
        self._offset = 0.0
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._transport = CheckedTransport(public_only=public_only, limits=limits)
        self._http = httpx.AsyncClient(
            transport=self._transport,
            timeout=httpx.Timeout(seconds, connect=min(5.0, seconds)),
            follow_redirects=False,
            trust_env=False,
            # nothing compressed: a small answer must not unfold into a large one
            headers={"User-Agent": "open-learning-data-platform", "Accept-Encoding": "identity"},
        )

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._http.__aexit__(kind, error, trace)

    async def check_target(self) -> None:
        """Raises ``BlockedAddressError`` when the target's name leads where webhooks are not sent, ``httpx.ConnectError`` when it leads nowhere."""
        await self._transport.checked_addresses(httpx.URL(self._settings.base_url))

    async def attempt(self, claim: Claim) -> Answer:
        """Delivers one event, or says why not. Raises ``BlockedAddressError`` when the target must not be connected to."""
        try:
            async with asyncio.timeout(self._seconds):
                answer = Answer(Verdict.REFUSED, None, "no key")
                for key in tuple(self._keys):
                    answer = await self._with_key(claim, key)
                    if answer.verdict is not Verdict.REFUSED:
                        self._keys.sort(key=lambda other: other.id != key.id)
                        break
                return answer
        except TimeoutError:
            return Answer(Verdict.TRANSIENT, None, f"no whole answer within {self._seconds:g} s")
        except httpx.TransportError as error:
            return Answer(Verdict.TRANSIENT, None, f"{type(error).__name__}: {error}"[:TOLD_CHARACTERS])

    async def _with_key(self, claim: Claim, key: WebhookKey) -> Answer:
        signed_at = wall_clock() + self._offset
        reply = await self._post(claim, key, signed_at)
        if verdict_of(reply.status) is Verdict.REFUSED and self._follow_clock(reply.date, signed_at):
            reply = await self._post(claim, key, wall_clock() + self._offset)
        return replace(_judged(reply), key_id=key.id)

    def _follow_clock(self, date: datetime | None, signed_at: float) -> bool:
        """Takes over the receiver's clock; whether that gives another timestamp."""
        if date is None or abs(date.timestamp() - signed_at) < CLOCKS_DIFFER:
            return False
        offset = date.timestamp() - wall_clock()
        if abs(offset) > FARTHEST_CLOCK:
            return False
        self._offset = offset
        return True

    async def _post(self, claim: Claim, key: WebhookKey, signed_at: float) -> _Reply:
        path = path_of(claim.endpoint)
        headers = signed_headers(key, timestamp=int(signed_at), idempotency_key=str(claim.id), path=path, body=claim.body)
        body = bytearray()
        async with self._http.stream("POST", self._settings.base_url + path, content=claim.body, headers=headers) as response:
            try:
                async for piece in response.aiter_raw():
                    body += piece
                    if len(body) > LONGEST_ANSWER:
                        break
            except httpx.TransportError:
                return _Reply(response.status_code, response.headers, bytes(body), whole=False)
        return _Reply(response.status_code, response.headers, bytes(body), whole=len(body) <= LONGEST_ANSWER)


def _judged(reply: _Reply) -> Answer:
    verdict = verdict_of(reply.status)
    told = " ".join(reply.body[: 2 * TOLD_CHARACTERS].decode(errors="replace").split())[:TOLD_CHARACTERS]
    if verdict is Verdict.DELIVERED:
        if reply.whole and _says_success(reply.body):
            return Answer(verdict, reply.status, "", duplicate=reply.headers.get("Idempotent-Replayed") == "true")
        return Answer(Verdict.TRANSIENT, reply.status, f"status {reply.status} without MIT Learn's answer: {told!r}")
    if 300 <= reply.status < 400:
        told = f"redirect to {reply.headers.get('Location', 'nowhere')[:TOLD_CHARACTERS]!r}, which is not followed"
    now = reply.date or datetime.now(UTC)
    return Answer(verdict, reply.status, f"status {reply.status}: {told}", retry_after=seconds_to_wait(reply.headers.get("Retry-After"), now))


def _says_success(body: bytes) -> bool:
    try:
        found = json.loads(body)
    except ValueError:
        return False
    return isinstance(found, dict) and found.get("status") == "success"
