"""Claims of senders.

A sender locks a lane's row for as long as it sends the lane's first pending event; other senders skip locked lanes. The lock lives in a
transaction that does nothing else, so it ends with its connection: when a sender is killed, its lane is free at once. The attempt's
number, written down before the attempt is made, and its outcome go over a second connection, each committed by itself: attempts of
killed senders count, and an event that kills its senders is given up in the end.

An outcome is written only if its attempt is still the newest: a sender that lost its lock (PostgreSQL restarted while it waited for an
answer) cannot undo what its successor did. A delivery is a fact and is always written.

The transaction is idle while an answer is awaited, at most ``Client.seconds``; servers that end idle transactions
(``idle_in_transaction_session_timeout``, a minute here) must allow more than that.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import psycopg
from psycopg.rows import class_row, tuple_row

from include.jobs.openedx.webhooks.outbox import APPLICATION

LONGEST_REASON = 500

# In the order of sequence, not of dueness: what waits longest goes first, and a lane's later events wait for its first.
_LOCK_A_LANE = """
SELECT lane.lane FROM webhooks.events AS event JOIN webhooks.lanes AS lane USING (lane)
WHERE event.state = 'pending' AND event.not_before <= clock_timestamp()
  AND NOT EXISTS (SELECT FROM webhooks.events AS earlier
                  WHERE earlier.lane = event.lane AND earlier.state = 'pending' AND earlier.sequence < event.sequence)
ORDER BY event.sequence LIMIT 1 FOR NO KEY UPDATE OF lane SKIP LOCKED
"""
# Looked up anew: between the snapshot of the query above and its lock another sender may have been in the lane.
_BEGIN_ATTEMPT = """
UPDATE webhooks.events SET attempts = attempts + 1, updated_at = clock_timestamp()
WHERE id = (SELECT id FROM webhooks.events WHERE lane = %s AND state = 'pending' ORDER BY sequence LIMIT 1) AND not_before <= clock_timestamp()
RETURNING id, sequence, endpoint, lane, body, attempts AS attempt, extract(epoch FROM clock_timestamp() - queued_at)::float8 AS age
"""
_NEXT_DUE = """
SELECT extract(epoch FROM min(not_before) - clock_timestamp())::float8
FROM (SELECT DISTINCT ON (lane) not_before FROM webhooks.events WHERE state = 'pending' ORDER BY lane, sequence) AS heads
"""


@dataclass(frozen=True)
class Claim:
    """An event that is this sender's to send: its ``attempt`` (1 is the first) is counted. ``age``: seconds since it was enqueued or replayed."""

    id: UUID
    sequence: int
    endpoint: str
    lane: str
    body: bytes
    attempt: int
    age: float


class Lanes:
    """The outbox for one process that sends; used by many tasks at once. Methods raise ``psycopg.OperationalError`` while PostgreSQL is away."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._writer: psycopg.AsyncConnection[Any] | None = None
        self._idle: list[psycopg.AsyncConnection[Any]] = []

    async def __aenter__(self) -> Self:
        self._writer = await self._connect(autocommit=True)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for connection in filter(None, [self._writer, *self._idle]):
            await connection.close()

    async def _connect(self, *, autocommit: bool) -> psycopg.AsyncConnection[Any]:
        return await psycopg.AsyncConnection.connect(self._dsn, autocommit=autocommit, application_name=APPLICATION)

    @asynccontextmanager
    async def claim(self) -> AsyncIterator[Claim | None]:
        """The oldest due event whose lane nobody else is in, its attempt counted; ``None`` when there is none. The lane is free again afterwards."""
        connection = self._idle.pop() if self._idle else await self._connect(autocommit=False)
        try:
            lane = await (await connection.execute(_LOCK_A_LANE)).fetchone()
            yield await self._begin(lane[0]) if lane else None
        finally:
            # closing is what frees the lane when this task is cancelled or the connection is broken
            if connection.broken or (task := asyncio.current_task()) is None or task.cancelling():
                await connection.close()
            else:
                await connection.rollback()
                self._idle.append(connection)

    async def _begin(self, lane: str) -> Claim | None:
        async with self._own_writer.cursor(row_factory=class_row(Claim)) as cursor:
            await cursor.execute(_BEGIN_ATTEMPT, [lane])
            return await cursor.fetchone()

    async def delivered(self, claim: Claim, status: int, key_id: str) -> None:
        """The receiver has applied the event."""
        await self._own_writer.execute(
            "UPDATE webhooks.events SET state = 'delivered', status = %s, reason = '', key_id = %s, settled_at = clock_timestamp(), "
            "updated_at = clock_timestamp() WHERE id = %s AND state <> 'delivered'",
            [status, key_id, claim.id],
        )

    async def try_again(self, claim: Claim, status: int | None, reason: str, wait: float) -> None:
        """The attempt failed; the next one is due in ``wait`` seconds."""
        await self._own_writer.execute(
            "UPDATE webhooks.events SET status = %s, reason = %s, not_before = clock_timestamp() + make_interval(secs => %s), updated_at = clock_timestamp() "
            "WHERE id = %s AND state = 'pending' AND attempts = %s",
            [status, _storable(reason), wait, claim.id, claim.attempt],
        )

    async def dead(self, claim: Claim, status: int | None, reason: str) -> None:
        """The event is given up; its lane goes on with the next."""
        await self._own_writer.execute(
            "UPDATE webhooks.events SET state = 'dead', status = %s, reason = %s, settled_at = clock_timestamp(), updated_at = clock_timestamp() "
            "WHERE id = %s AND state = 'pending' AND attempts = %s",
            [status, _storable(reason), claim.id, claim.attempt],
        )

    async def next_due(self) -> float | None:
        """Seconds until the next lane has something due, 0 or less when one is due (or being sent) now; ``None`` when nothing is pending."""
        async with self._own_writer.cursor(row_factory=tuple_row) as cursor:
            await cursor.execute(_NEXT_DUE)
            row = await cursor.fetchone()
        return None if row is None or row[0] is None else float(row[0])

    @property
    def _own_writer(self) -> psycopg.AsyncConnection[Any]:
        if self._writer is None:
            raise RuntimeError("claims are made inside of 'async with'")
        return self._writer


def _storable(reason: str) -> str:
    """Short enough, and without the one character that PostgreSQL has no text for."""
    return reason.replace("\0", "\ufffd")[:LONGEST_REASON]
