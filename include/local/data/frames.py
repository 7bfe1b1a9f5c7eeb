"""Moves columns between numpy and PostgreSQL: insert by COPY, update and delete by key, read in a stated order.

A frame is a mapping from column name to a sequence of values, all of one length. Missing values are ``None``, or ``NaT`` in ``datetime64`` arrays.
Timestamps are UTC without zone, in microseconds; the session's time zone must be UTC (see :func:`include.local.data.generate.open_database`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, LiteralString

import numpy as np
import psycopg
from psycopg import sql

Column = Sequence[Any] | np.ndarray[Any, Any]
Frame = Mapping[str, Column]
Arrays = dict[str, np.ndarray[Any, Any]]
Connection = psycopg.Connection[tuple[Any, ...]]

_NULL = "\\N"
_CHUNK = 20_000
_ANALYZE_FROM = 1_000
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _text(value: Any) -> str:
    if value is None:
        return _NULL
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    return str(value)


def _texts(column: Column) -> list[str]:
    """A column in COPY's text format."""
    if not isinstance(column, np.ndarray) or column.dtype == object:
        return [_text(value) for value in column]
    if column.dtype.kind == "M":
        stamps = np.datetime_as_string(column.astype("datetime64[us]")).tolist()
        return [_NULL if stamp == "NaT" else stamp for stamp in stamps]
    if column.dtype.kind == "U":
        return [value.translate(_ESCAPES) for value in column.tolist()]
    return [str(value) for value in column.tolist()]


def _length(frame: Frame) -> int:
    lengths = {name: len(column) for name, column in frame.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"frame: found columns of lengths {lengths}; allowed: one length")
    return next(iter(lengths.values()))


def insert(connection: Connection, table: str, frame: Frame) -> int:
    """Add the rows of ``frame`` to ``table``; returns how many. Nothing is sent for an empty frame."""
    rows = _length(frame)
    if not rows:
        return 0
    columns = sql.SQL(", ").join(map(sql.Identifier, frame))
    texts = [_texts(column) for column in frame.values()]
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(sql.Identifier(table), columns)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for start in range(0, rows, _CHUNK):
            chunk = [column[start : start + _CHUNK] for column in texts]
            copy.write("\n".join(map("\t".join, zip(*chunk, strict=True))) + "\n")
    if rows >= _ANALYZE_FROM:
        # Later queries of the same transaction join these rows; without statistics the planner takes the table for empty and loops over it.
        connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))
    return rows


def update(connection: Connection, table: str, frame: Frame, key: str = "id") -> int:
    """Set the other columns of ``frame`` in the rows that its ``key`` column names; returns how many rows were found."""
    if not _length(frame):
        return 0
    columns = sql.SQL(", ").join(map(sql.Identifier, frame))
    name, work = sql.Identifier(table), sql.Identifier(f"change_{table}")
    connection.execute(sql.SQL("CREATE TEMP TABLE {} ON COMMIT DROP AS SELECT {} FROM {} WITH NO DATA").format(work, columns, name))
    insert(connection, f"change_{table}", frame)
    pairs = sql.SQL(", ").join(sql.SQL("{0} = w.{0}").format(sql.Identifier(column)) for column in frame if column != key)
    statement = sql.SQL("UPDATE {0} AS t SET {1} FROM {2} AS w WHERE t.{3} = w.{3}").format(name, pairs, work, sql.Identifier(key))
    changed = connection.execute(statement).rowcount
    connection.execute(sql.SQL("DROP TABLE {}").format(work))
    return changed


def delete(connection: Connection, table: str, keys: Column, key: str = "id") -> int:
    """Remove the rows whose ``key`` is among ``keys``; returns how many there were."""
    values = keys.tolist() if isinstance(keys, np.ndarray) else list(keys)
    return connection.execute(sql.SQL("DELETE FROM {} WHERE {} = ANY(%s)").format(sql.Identifier(table), sql.Identifier(key)), [values]).rowcount


def read(connection: Connection, query: LiteralString, parameters: Mapping[str, Any] | None = None) -> Arrays:
    """The result of ``query`` as one array for each column: bool, int64, float64, datetime64[us] or object.

    The query must say its order: what is drawn at random from the result would otherwise depend on how the table happens to lie on disk.
    """
    cursor = connection.execute(query, parameters)
    assert cursor.description is not None
    names = [column.name for column in cursor.description]
    rows = cursor.fetchall()
    columns = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    oids = [column.type_code for column in cursor.description]
    return {name: _array(values, oid) for name, values, oid in zip(names, columns, oids, strict=True)}


_KINDS = {16: "bool", 20: "int64", 23: "int64", 701: "float64"}
_STAMPS = (1114, 1184)


def _array(values: Sequence[Any], oid: int) -> np.ndarray[Any, Any]:
    if oid in _STAMPS:
        plain = [value.replace(tzinfo=None) if isinstance(value, datetime) else None for value in values]
        stamps: np.ndarray[Any, Any] = np.array(plain, dtype="datetime64[us]")
        return stamps
    if oid in _KINDS and None not in values:
        numbers: np.ndarray[Any, Any] = np.array(values, dtype=_KINDS[oid])
        return numbers
    array: np.ndarray[Any, Any] = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def take(frame: Mapping[str, np.ndarray[Any, Any]], rows: np.ndarray[Any, Any]) -> Arrays:
    """The rows at some positions, or where a mask is true."""
    return {name: column[rows] for name, column in frame.items()}


def next_ids(connection: Connection, table: str, count: int, key: str = "id") -> np.ndarray[Any, Any]:
    """``count`` ids that follow the largest id of ``table``."""
    row = connection.execute(sql.SQL("SELECT coalesce(max({}), 0) FROM {}").format(sql.Identifier(key), sql.Identifier(table))).fetchone()
    assert row is not None
    first = int(row[0]) + 1
    return np.arange(first, first + count, dtype=np.int64)
