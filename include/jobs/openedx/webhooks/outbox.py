"""The outbox: what MIT Learn is to be told, in PostgreSQL.

PostgreSQL and not a table of the lake, for two reasons. A claim must be one sender's alone and end with the sender, however it dies: a
row lock does both, whereas a commit of Iceberg takes a good part of a second, excludes nobody from reading the same event, and leaves a
claim behind that only a timeout ends. And several events a second change state one by one, which in Iceberg is a snapshot each. PostgreSQL
runs wherever the platform does (laptop, tests, cluster). Analysts read the outbox as an Iceberg table all the same, see :mod:`.mirror`.

``webhooks.events``  one row per event; ``state`` is pending, delivered or dead, ``sequence`` the order in which events were enqueued
``webhooks.lanes``   one row per lane; whoever locks it may send the lane's first pending event

All moments are the database's, never a sender's: senders' clocks differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import psycopg
from psycopg.rows import class_row, dict_row

from include.contract import PermanentError, TransientError
from include.jobs.openedx.webhooks.events import Event

APPLICATION = "webhook-outbox"
_DDL_LOCK = 7_215_004_320  # advisory lock: one maker of the tables at a time
_DDL = """
CREATE SCHEMA IF NOT EXISTS webhooks;
CREATE TABLE IF NOT EXISTS webhooks.lanes (lane text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS webhooks.events (
    id          uuid PRIMARY KEY,
    sequence    bigint NOT NULL UNIQUE GENERATED ALWAYS AS IDENTITY,
    endpoint    text NOT NULL,
    lane        text NOT NULL REFERENCES webhooks.lanes,
    run_key     text NOT NULL,
    body        bytea NOT NULL,
    state       text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'delivered', 'dead')),
    attempts    integer NOT NULL DEFAULT 0,
    replays     integer NOT NULL DEFAULT 0,
    status      integer,
    reason      text NOT NULL DEFAULT '',
    key_id      text NOT NULL DEFAULT '',
    not_before  timestamptz NOT NULL DEFAULT clock_timestamp(),
    queued_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    created_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    settled_at  timestamptz
);
CREATE INDEX IF NOT EXISTS events_pending ON webhooks.events (sequence) WHERE state = 'pending';
CREATE INDEX IF NOT EXISTS events_of_lane ON webhooks.events (lane, state, sequence);
CREATE INDEX IF NOT EXISTS events_dead ON webhooks.events (sequence) WHERE state = 'dead';
CREATE INDEX IF NOT EXISTS events_updated ON webhooks.events (updated_at);
"""


@dataclass(frozen=True)
class DeadLetter:
    """An event that was given up. ``superseded`` when a later event of its lane has been delivered: sent now, it would undo that one."""

    id: UUID
    sequence: int
    endpoint: str
    lane: str
    run_key: str
    attempts: int
    status: int | None
    reason: str
    settled_at: datetime
    superseded: bool

    def told(self) -> dict[str, Any]:
        """The letter for logs and results."""
        return {
            "id": str(self.id),
            "lane": self.lane,
            "endpoint": self.endpoint,
            "run_key": self.run_key,
            "attempts": self.attempts,
            "status": self.status,
            "reason": self.reason,
            "dead_since": self.settled_at.isoformat(),
            "superseded": self.superseded,
        }


@dataclass(frozen=True)
class Figures:
    """How much lies in the outbox; ``oldest_pending_seconds`` is 0 when nothing is pending."""

    pending: int
    delivered: int
    dead: int
    oldest_pending_seconds: float


_LETTERS = """
SELECT event.id, event.sequence, event.endpoint, event.lane, event.run_key, event.attempts, event.status, event.reason, event.settled_at,
       EXISTS (SELECT FROM webhooks.events AS later
               WHERE later.lane = event.lane AND later.state = 'delivered' AND later.sequence > event.sequence) AS superseded
FROM webhooks.events AS event WHERE event.state = 'dead'
"""


class Outbox:
    """The outbox for everybody but senders; a context manager that closes its connection.

    Methods raise ``TransientError`` while PostgreSQL is away.
    """

    def __init__(self, dsn: str) -> None:
        """Connects, and makes the tables where they are missing."""
        try:
            self._connection = psycopg.connect(dsn, autocommit=True, row_factory=dict_row, application_name=APPLICATION)
            with self._connection.transaction():
                if self._connection.execute("SELECT to_regclass('webhooks.events_updated') AS made").fetchone() == {"made": None}:
                    self._connection.execute("SELECT pg_advisory_xact_lock(%s)", [_DDL_LOCK])
                    self._connection.execute(_DDL)
        except psycopg.OperationalError as error:
            raise TransientError(f"the webhooks' outbox does not answer: {str(error).strip()}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()
        if isinstance(error, psycopg.OperationalError):
            raise TransientError(f"the webhooks' outbox went away: {str(error).strip()}") from error

    def enqueue(self, event: Event) -> bool:
        """Writes an event down; ``False`` when its run has done so before.

        Raises ``PermanentError`` when the same run has told something else before: which of the two is true cannot be known here.
        """
        with self._connection.transaction():
            # one writer of a lane at a time: otherwise a smaller sequence could become visible after a greater one was sent
            self._connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"webhooks\n{event.lane}"])
            self._connection.execute("INSERT INTO webhooks.lanes VALUES (%s) ON CONFLICT DO NOTHING", [event.lane])
            known = self._connection.execute("SELECT body FROM webhooks.events WHERE id = %s", [event.id]).fetchone()
            if known is None:
                self._connection.execute(
                    "INSERT INTO webhooks.events (id, endpoint, lane, run_key, body) VALUES (%s, %s, %s, %s, %s)",
                    [event.id, event.endpoint, event.lane, event.run_key, event.body],
                )
        if known is not None and bytes(known["body"]) != event.body:
            found = bytes(known["body"]).decode(errors="replace")
            raise PermanentError(f"run key {event.run_key!r} of {event.lane}: found {event.body.decode()!r}, but the run has told {found!r}; allowed: the same")
        return known is None

    def figures(self) -> Figures:
        """What lies in the outbox now."""
        with self._connection.cursor(row_factory=class_row(Figures)) as cursor:
            found = cursor.execute(
                "SELECT count(*) FILTER (WHERE state = 'pending') AS pending, count(*) FILTER (WHERE state = 'delivered') AS delivered, "
                "count(*) FILTER (WHERE state = 'dead') AS dead, "
                "coalesce(extract(epoch FROM clock_timestamp() - min(queued_at) FILTER (WHERE state = 'pending')), 0)::float8 AS oldest_pending_seconds "
                "FROM webhooks.events"
            ).fetchone()
        assert found is not None  # noqa: S101 - an aggregate without groups is always one row
        return found

    def changed_since(self, moment: datetime) -> list[dict[str, Any]]:
        """Whole rows that were written or changed at ``moment`` or later, in the order in which they were enqueued; times in UTC."""
        with self._connection.transaction():
            self._connection.execute("SET LOCAL TimeZone = 'UTC'")
            return self._connection.execute("SELECT * FROM webhooks.events WHERE updated_at >= %s ORDER BY sequence", [moment]).fetchall()

    def dead_letters(self, limit: int | None = None) -> list[DeadLetter]:
        """Events that were given up, oldest first."""
        with self._connection.cursor(row_factory=class_row(DeadLetter)) as cursor:
            return cursor.execute(f"{_LETTERS} ORDER BY event.sequence LIMIT %s", [limit]).fetchall()

    def replay(self, ids: Sequence[UUID] | None = None, *, even_if_superseded: bool = False) -> tuple[list[DeadLetter], list[DeadLetter]]:
        """Makes dead letters pending again, all or those with ``ids``: ``(replayed, left)``; those left are superseded.

        A replayed event keeps its place before the later ones of its lane, and its id: if it had been applied after all, it is not applied twice.
        Raises ``PermanentError`` for an id that is no dead letter, before anything is changed.
        """
        letters = self.dead_letters()
        if ids is not None:
            unknown = [str(one) for one in ids if one not in {letter.id for letter in letters}]
            if unknown:
                raise PermanentError(f"replay: found {', '.join(unknown)}; allowed: ids of dead letters, see webhook-dead-letters")
            letters = [letter for letter in letters if letter.id in ids]
        replayed: list[DeadLetter] = []
        left: list[DeadLetter] = []
        for letter in letters:
            (replayed if self._replay(letter, even_if_superseded) else left).append(letter)
        return replayed, left

    def _replay(self, letter: DeadLetter, even_if_superseded: bool) -> bool:
        with self._connection.transaction():
            # waits for a sender that is in the lane: what it sends now may be what supersedes this letter
            self._connection.execute("SELECT FROM webhooks.lanes WHERE lane = %s FOR NO KEY UPDATE", [letter.lane])
            changed = self._connection.execute(
                "UPDATE webhooks.events AS event SET state = 'pending', attempts = 0, replays = replays + 1, settled_at = NULL, "
                "not_before = clock_timestamp(), queued_at = clock_timestamp(), updated_at = clock_timestamp() "
                "WHERE id = %s AND state = 'dead' AND (%s OR NOT EXISTS (SELECT FROM webhooks.events AS later "
                "  WHERE later.lane = event.lane AND later.state = 'delivered' AND later.sequence > event.sequence))",
                [letter.id, even_if_superseded],
            )
        return changed.rowcount == 1
