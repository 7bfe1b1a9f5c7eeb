"""Looks at the source databases from outside the generator."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import sql

from include.config.environments import UNITS
from include.config.load import read_unit
from include.config.units import AirbyteUnit
from include.local.data.names import DATABASES

Key = tuple[Any, ...]
Rows = dict[Key, tuple[Any, ...]]


@contextmanager
def session(dsn: str, database: str):
    with psycopg.connect(dsn, dbname=database, autocommit=True, options="-c timezone=UTC") as connection:
        yield connection


def query(dsn: str, database: str, text: str, parameters: Iterable[Any] | None = None) -> list[tuple[Any, ...]]:
    with session(dsn, database) as connection:
        return connection.execute(text, parameters).fetchall()


def unit(database: str) -> AirbyteUnit:
    found = read_unit("airbyte", UNITS / "airbyte" / f"{database}.yml")
    assert isinstance(found, AirbyteUnit)
    return found


def columns(dsn: str, database: str) -> dict[str, tuple[str, ...]]:
    """Columns of every table in the order of the table, also of the generator's own."""
    found: dict[str, list[str]] = {}
    text = "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
    for table, column in query(dsn, database, text):
        found.setdefault(table, []).append(column)
    return {table: tuple(names) for table, names in found.items()}


@functools.cache
def saved_rows(dsn: str, day: int, database: str) -> dict[str, Rows]:
    """The rows of a database as it was saved at a day."""
    return rows_of(dsn, database, saved=f"day{day}__{database}")


def rows_of(dsn: str, database: str, *, saved: str | None = None) -> dict[str, Rows]:
    """All rows of all streams of the unit, by primary key; of the database ``saved`` instead where it is given."""
    found = {}
    with session(dsn, saved or database) as connection:
        for stream in unit(database).streams:
            names = sql.SQL(", ").join(map(sql.Identifier, (*stream.primary_key, *stream.columns)))
            all_rows = connection.execute(sql.SQL("SELECT {} FROM {}").format(names, sql.Identifier(stream.name))).fetchall()
            width = len(stream.primary_key)
            found[stream.name] = {row[:width]: row[width:] for row in all_rows}
            assert len(found[stream.name]) == len(all_rows), f"{database}.{stream.name}: primary key not unique"
    return found


def checksums(dsn: str) -> dict[str, str]:
    """One word for the content of each database, whatever the order of rows on disk."""
    found = {}
    for database in DATABASES:
        digest = hashlib.sha256()
        for table, rows in sorted(rows_of(dsn, database).items()):
            digest.update(repr((table, sorted(rows.items(), key=lambda item: item[0]))).encode())
        found[database] = digest.hexdigest()
    return found


def drop(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for database in DATABASES:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(database)))


def save(dsn: str, word: str) -> None:
    """Keep a copy of the three databases under a word."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        for database in DATABASES:
            copy = sql.Identifier(f"{word}__{database}")
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(copy))
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(copy, sql.Identifier(database)))


def restore(dsn: str, word: str) -> None:
    """Put the copy in the databases' place."""
    drop(dsn)
    with psycopg.connect(dsn, autocommit=True) as connection:
        for database in DATABASES:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(database), sql.Identifier(f"{word}__{database}")))
