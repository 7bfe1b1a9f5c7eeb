"""Jobs, stream states and generation ids in PostgreSQL: what must outlive a kill of the service."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql
from psycopg.rows import class_row, dict_row

ACTIVE = ("pending", "queued", "running", "incomplete")
_LOCK = 7_215_004_310  # advisory lock: one service per state database
_DDL = """
CREATE TABLE IF NOT EXISTS jobs (
    job_id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id        uuid NOT NULL DEFAULT gen_random_uuid(),
    connection_id uuid NOT NULL,
    job_type      text NOT NULL,
    status        text NOT NULL,
    attempts      integer NOT NULL DEFAULT 0,
    rows_synced   bigint NOT NULL DEFAULT 0,
    bytes_synced  bigint NOT NULL DEFAULT 0,
    message       text NOT NULL DEFAULT '',
    cancelling    boolean NOT NULL DEFAULT false,
    faults        jsonb NOT NULL DEFAULT '{}',
    not_before    timestamptz NOT NULL DEFAULT now(),
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX IF NOT EXISTS one_active_job ON jobs (connection_id) WHERE status IN ('pending', 'queued', 'running', 'incomplete');
CREATE TABLE IF NOT EXISTS job_streams (
    job_id      bigint NOT NULL REFERENCES jobs,
    stream      text NOT NULL,
    rows        bigint NOT NULL,
    bytes       bigint NOT NULL,
    snapshot_id bigint,
    finished_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (job_id, stream)
);
CREATE TABLE IF NOT EXISTS stream_states (
    connection_id uuid NOT NULL,
    stream        text NOT NULL,
    cursor_value  text,
    cursor_rows   bigint NOT NULL DEFAULT 0,
    generation_id bigint NOT NULL,
    job_id        bigint NOT NULL,
    updated_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (connection_id, stream)
);
"""


@dataclass(frozen=True)
class Job:
    """One job. ``run_id`` is unique for ever, also if the state database is made anew and job ids start at 1 again."""

    job_id: int
    run_id: Any
    connection_id: Any
    job_type: str
    status: str
    attempts: int
    rows_synced: int
    bytes_synced: int
    message: str
    cancelling: bool
    faults: dict[str, Any]
    not_before: datetime
    created_at: datetime
    updated_at: datetime

    @property
    def active(self) -> bool:
        """Whether the job has not ended."""
        return self.status in ACTIVE


@dataclass(frozen=True)
class StreamState:
    """How far a stream was read: the greatest cursor value as text, how many rows had it, and the generation of its rows."""

    cursor_value: str | None
    cursor_rows: int
    generation_id: int
    job_id: int


@dataclass(frozen=True)
class StreamResult:
    """What one stream of one job wrote; ``snapshot_id`` is ``None`` when there was nothing to commit."""

    stream: str
    rows: int
    bytes: int
    snapshot_id: int | None
    state: StreamState


class AlreadyRunningError(Exception):
    """The connection has a job that has not ended."""


class StateTakenError(RuntimeError):
    """Another service runs on this state database."""


class Store:
    """The state database; safe to use from several threads, reconnects after PostgreSQL was restarted.

    Methods raise ``psycopg.OperationalError`` while PostgreSQL is away.
    """

    def __init__(self, dsn: str, wait: float = 10.0) -> None:
        """Creates the database that ``dsn`` names (``airbyte`` when it names none) and its tables where absent.

        Raises ``StateTakenError`` when another service holds the state for longer than ``wait`` seconds.
        """
        self._lock = threading.Lock()
        self._wait = wait
        database = str(psycopg.conninfo.conninfo_to_dict(dsn).get("dbname") or "airbyte")
        self._dsn = psycopg.conninfo.make_conninfo(dsn, dbname=database, application_name="airbyte")
        _create_database(self._dsn, database)
        self._connection = self._connect()
        self._connection.execute(_DDL)

    def _connect(self) -> psycopg.Connection[dict[str, Any]]:
        connection = psycopg.connect(self._dsn, autocommit=True, row_factory=dict_row)
        deadline = time.monotonic() + self._wait
        while not _scalar(connection.execute("SELECT pg_try_advisory_lock(%s) AS taken", [_LOCK])):
            if time.monotonic() > deadline:
                connection.close()
                raise StateTakenError(f"another Airbyte service uses {psycopg.conninfo.conninfo_to_dict(self._dsn)['dbname']}: stop it first")
            time.sleep(0.05)
        return connection

    def _query(self, statement: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        with self._lock:
            if self._connection.closed:
                self._connection = self._connect()
            cursor = self._connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    def _jobs(self, statement: str, parameters: Sequence[Any] = ()) -> list[Job]:
        with self._lock:
            if self._connection.closed:
                self._connection = self._connect()
            with self._connection.cursor(row_factory=class_row(Job)) as cursor:
                return cursor.execute(statement.encode(), parameters).fetchall()

    def create_job(self, connection_id: str, job_type: str, faults: dict[str, Any], delay: float) -> Job:
        """A new pending job that starts after ``delay`` seconds at the earliest. Raises ``AlreadyRunningError``."""
        try:
            rows = self._jobs(
                "INSERT INTO jobs (connection_id, job_type, status, faults, not_before) "
                "SELECT %s, %s, CASE WHEN %s > 0 THEN 'queued' ELSE 'pending' END, %s, now() + make_interval(secs => %s) "
                "WHERE NOT EXISTS (SELECT FROM jobs WHERE connection_id = %s AND status = ANY(%s)) RETURNING *",
                [connection_id, job_type, delay, json.dumps(faults), delay, connection_id, list(ACTIVE)],
            )
        except psycopg.errors.UniqueViolation as error:
            raise AlreadyRunningError(connection_id) from error
        if not rows:
            raise AlreadyRunningError(connection_id)
        return rows[0]

    def job(self, job_id: int) -> Job | None:
        """A job by id."""
        rows = self._jobs("SELECT * FROM jobs WHERE job_id = %s", [job_id])
        return rows[0] if rows else None

    def list_jobs(self, where: Sequence[tuple[str, Any]], order: str, limit: int, offset: int) -> list[Job]:
        """Jobs for which all conditions hold. ``where`` and ``order`` are SQL of this package, never of a request."""
        conditions = " AND ".join(condition for condition, _ in where) or "true"
        return self._jobs(f"SELECT * FROM jobs WHERE {conditions} ORDER BY {order} LIMIT %s OFFSET %s", [*(value for _, value in where), limit, offset])  # noqa: S608

    def due_jobs(self) -> list[Job]:
        """Jobs that wait for a slot and may start now, oldest first."""
        return self._jobs("SELECT * FROM jobs WHERE status IN ('pending', 'queued', 'incomplete') AND not_before <= now() ORDER BY job_id")

    def requeue_interrupted(self) -> list[Job]:
        """Jobs that ran when the service ended: incomplete now, so that the next attempt goes on with them, or cancelled if that was asked."""
        return self._jobs(
            "UPDATE jobs SET status = CASE WHEN cancelling THEN 'cancelled' ELSE 'incomplete' END, not_before = now(), updated_at = now() "
            "WHERE status = 'running' RETURNING *"
        )

    def mark_queued(self, job_id: int) -> None:
        """A pending job found no free slot."""
        self._query("UPDATE jobs SET status = 'queued', updated_at = now() WHERE job_id = %s AND status = 'pending'", [job_id])

    def start_attempt(self, job_id: int) -> Job | None:
        """The job, running, with one attempt more; ``None`` when it was cancelled meanwhile."""
        rows = self._jobs(
            "UPDATE jobs SET status = 'running', attempts = attempts + 1, updated_at = now() "
            "WHERE job_id = %s AND status IN ('pending', 'queued', 'incomplete') RETURNING *",
            [job_id],
        )
        return rows[0] if rows else None

    def end_attempt(self, job_id: int, status: str, message: str = "", retry_in: float = 0.0) -> None:
        """The running job's new status; ``incomplete`` starts again after ``retry_in`` seconds. A cancelled job stays cancelled."""
        self._query(
            "UPDATE jobs SET status = CASE WHEN cancelling AND %s = 'incomplete' THEN 'cancelled' ELSE %s END, message = %s, "
            "not_before = now() + make_interval(secs => %s), updated_at = now() WHERE job_id = %s AND status = 'running'",
            [status, status, message, retry_in, job_id],
        )

    def cancel(self, job_id: int) -> None:
        """A waiting job is cancelled at once; a running one is marked, and cancelled by the worker once it has stopped."""
        self._query(
            "UPDATE jobs SET cancelling = true, status = CASE WHEN status = 'running' THEN status ELSE 'cancelled' END, updated_at = now() "
            "WHERE job_id = %s AND status = ANY(%s)",
            [job_id, list(ACTIVE)],
        )

    def finished_streams(self, job_id: int) -> set[str]:
        """Streams of a job that an earlier attempt has committed."""
        return {row["stream"] for row in self._query("SELECT stream FROM job_streams WHERE job_id = %s", [job_id])}

    def stream_state(self, connection_id: str, stream: str) -> StreamState | None:
        """How far a stream was read, or ``None`` before its first sync."""
        rows = self._query(
            "SELECT cursor_value, cursor_rows, generation_id, job_id FROM stream_states WHERE connection_id = %s AND stream = %s", [connection_id, stream]
        )
        return StreamState(**rows[0]) if rows else None

    def finish_stream(self, job: Job, result: StreamResult) -> None:
        """Saves a committed stream: its state, its figures, and their sum at the job, in one statement."""
        state = result.state
        self._query(
            "WITH done AS (INSERT INTO job_streams (job_id, stream, rows, bytes, snapshot_id) VALUES (%s, %s, %s, %s, %s) "
            "  ON CONFLICT DO NOTHING RETURNING rows, bytes), "
            "state AS (INSERT INTO stream_states (connection_id, stream, cursor_value, cursor_rows, generation_id, job_id) VALUES (%s, %s, %s, %s, %s, %s) "
            "  ON CONFLICT (connection_id, stream) DO UPDATE SET cursor_value = excluded.cursor_value, cursor_rows = excluded.cursor_rows, "
            "  generation_id = excluded.generation_id, job_id = excluded.job_id, updated_at = now()) "
            "UPDATE jobs SET rows_synced = rows_synced + done.rows, bytes_synced = bytes_synced + done.bytes, updated_at = now() FROM done WHERE job_id = %s",
            [
                *(job.job_id, result.stream, result.rows, result.bytes, result.snapshot_id),
                *(job.connection_id, result.stream, state.cursor_value, state.cursor_rows, state.generation_id, job.job_id),
                job.job_id,
            ],
        )

    def close(self) -> None:
        """Ends the connection, and with it the hold on the state."""
        with self._lock:
            self._connection.close()


def _create_database(dsn: str, database: str) -> None:
    with psycopg.connect(psycopg.conninfo.make_conninfo(dsn, dbname="postgres"), autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_database WHERE datname = %s", [database]).fetchone() is None:
            try:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
            except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                return  # another starter was faster


def _scalar(cursor: psycopg.Cursor[dict[str, Any]]) -> Any:
    row = cursor.fetchone()
    return None if row is None else next(iter(row.values()))
