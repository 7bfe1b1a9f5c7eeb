"""Brings the three source databases to a day: creates what is absent, then writes one transaction for each database and day.

The day a database is at stands in its table ``generator_state`` and changes in the transaction that writes the day's rows. A killed run therefore leaves
every database at the day before or at the day itself, and the next run goes on from there. MITx Online's application comes first on each day; the other
two read it and are never ahead of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from include.local.data import mitxonline, mitxpro, openedx
from include.local.data.frames import Connection
from include.local.data.names import DATABASES, MITXONLINE, MITXPRO, OPENEDX
from include.local.data.steps import Step

__all__ = ["DATABASES", "GeneratorError", "State", "advance", "generate", "read_state"]


SCHEMAS = Path(__file__).parent / "schemas"

_STATE = """CREATE TABLE IF NOT EXISTS generator_state (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row), seed bigint NOT NULL, scale double precision NOT NULL, day integer NOT NULL)"""
_LOCK = 7_104_226  # any number: one generator at a time, held until the session ends


@dataclass(frozen=True)
class State:
    """What a database holds: the seed and scale factor it was made with, and the last day written."""

    seed: int
    scale: float
    day: int


class GeneratorError(ValueError):
    """The databases hold something else than what was asked for; nothing has been changed."""


@contextmanager
def open_database(dsn: str, database: str) -> Iterator[Connection]:
    """A session in UTC, commits at the end of each ``transaction()`` block.

    The server ends sessions that pause within a transaction; a large day on a busy machine pauses to think, so this one is exempt.
    """
    options = "-c timezone=UTC -c idle_in_transaction_session_timeout=0"
    with psycopg.connect(dsn, dbname=database, autocommit=True, options=options) as connection:
        yield connection


def read_state(dsn: str, database: str) -> State | None:
    """What ``database`` holds; ``None`` when it, its state table or the first day is absent."""
    try:
        with open_database(dsn, database) as connection:
            return _state(connection)
    except psycopg.OperationalError as error:
        if "does not exist" in str(error):
            return None
        raise


def _state(connection: Connection) -> State | None:
    row = connection.execute("SELECT to_regclass('public.generator_state') IS NOT NULL").fetchone()
    if row is None or not row[0]:
        return None
    found = connection.execute("SELECT seed, scale, day FROM generator_state").fetchone()
    return State(*found) if found else None


def generate(dsn: str, *, scale: float, seed: int, day: int = 0) -> dict[str, dict[str, int]]:
    """Bring all three databases to ``day``; returns rows per table of each database.

    ``dsn`` is the address of the server's maintenance database, whose user may create databases. ``scale`` 1 is about 20,000 learners.
    Equal ``scale``, ``seed`` and ``day`` give equal rows, by whatever calls the day is reached. Asking again for the present day changes nothing.

    Raises ``GeneratorError`` when a database was made with another seed or scale, or is at a later day: days cannot be taken back.
    """
    if not 0 < scale <= 50:
        raise GeneratorError(f"scale: found {scale}; allowed: more than 0, at most 50; for example: 0.05")
    if day < 0 or seed < 0:
        raise GeneratorError(f"day and seed: found {day} and {seed}; allowed: 0 or more")
    with psycopg.connect(dsn, autocommit=True) as server:
        server.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        for database in DATABASES:
            _create(server, database)
        with open_database(dsn, MITXONLINE) as first, open_database(dsn, OPENEDX) as second, open_database(dsn, MITXPRO) as third:
            return _bring_to(dict(zip(DATABASES, (first, second, third), strict=True)), State(seed, scale, day))


def advance(dsn: str) -> dict[str, dict[str, int]]:
    """Bring the databases to the day after the present one (the earliest, when a killed run left them apart). Raises ``GeneratorError`` when they are empty."""
    states = [read_state(dsn, database) for database in DATABASES]
    first = states[0]
    if first is None:
        raise GeneratorError(f"{MITXONLINE}: found no generated data; allowed: a database at some day; for example: --scale 0.05 --seed 7 --day 0")
    reached = min(-1 if state is None else state.day for state in states)
    return generate(dsn, scale=first.scale, seed=first.seed, day=reached + 1)


def _create(server: Connection, database: str) -> None:
    if server.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,)).fetchone() is None:
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(database)))


def _bring_to(connections: dict[str, Connection], target: State) -> dict[str, dict[str, int]]:
    for database, connection in connections.items():
        _refuse_other(database, _state(connection), target)
    application = connections[MITXONLINE]
    writers: dict[str, Callable[[Step], None]] = {
        MITXONLINE: lambda step: mitxonline.write_day(application, step),
        OPENEDX: lambda step: openedx.write_day(connections[OPENEDX], step, application),
        MITXPRO: lambda step: mitxpro.write_day(connections[MITXPRO], step, application),
    }
    for day in range(target.day + 1):
        for database, connection in connections.items():
            reached = _state(connection)
            if reached is None or reached.day < day:
                _write(connection, Step(target.seed, target.scale, day, database), writers[database])
    return {database: count_rows(connection) for database, connection in connections.items()}


def _refuse_other(database: str, found: State | None, target: State) -> None:
    if found is None:
        return
    if (found.seed, found.scale) != (target.seed, target.scale):
        raise GeneratorError(f"{database}: found seed {found.seed}, scale {found.scale}; asked for seed {target.seed}, scale {target.scale}; drop it first")
    if found.day > target.day:
        raise GeneratorError(f"{database}: found day {found.day}; asked for day {target.day}; allowed: the same day or a later one")


def _write(connection: Connection, step: Step, write: Callable[[Step], None]) -> None:
    """One day of one database, all or nothing."""
    with connection.transaction():
        if step.day == 0:
            # The rows come from one program that keeps them consistent; checking each reference again would double the time of the first load.
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute((SCHEMAS / f"{step.database}.sql").read_bytes())
            connection.execute(_STATE)
        write(step)
        connection.execute(
            """INSERT INTO generator_state (seed, scale, day) VALUES (%s, %s, %s)
               ON CONFLICT (only_row) DO UPDATE SET day = excluded.day""",
            (step.seed, step.scale, step.day),
        )
    connection.execute("ANALYZE")


def table_names(connection: Connection) -> list[str]:
    """The source tables of a database, without the generator's own."""
    rows = connection.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'generator_state' ORDER BY tablename",
    ).fetchall()
    return [row[0] for row in rows]


def count_rows(connection: Connection) -> dict[str, int]:
    """Rows of every source table."""
    counts = {}
    for name in table_names(connection):
        row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))).fetchone()
        counts[name] = row[0] if row else 0
    return counts
