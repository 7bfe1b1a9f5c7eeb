"""PostgreSQL tables as Arrow record batches, read by COPY inside one snapshot of the database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import LiteralString

import psycopg
import pyarrow as pa
import pyarrow.csv
from psycopg import sql

BLOCK = 4 * 1024 * 1024  # bytes of CSV parsed at a time, which bounds the memory of a reader
_DECIMAL = pa.decimal128(38, 9)
_DAYS = "CASE WHEN isfinite({0}) THEN {0} - date '1970-01-01' END"
# microseconds since the epoch travel exactly and need no parsing of zones; infinite moments become null
_MICROSECONDS = "CASE WHEN isfinite({0}) THEN (extract(epoch FROM {0}) * 1000000)::bigint END"
# PostgreSQL type: the Arrow type it arrives as, the SQL that selects it for COPY, the type COPY's text is parsed as; every other type is text
_KINDS: dict[str, tuple[pa.DataType, LiteralString, pa.DataType]] = {
    **dict.fromkeys(("int2", "int4", "int8", "oid"), (pa.int64(), "{0}", pa.int64())),
    **dict.fromkeys(("float4", "float8"), (pa.float64(), "{0}", pa.float64())),
    "numeric": (_DECIMAL, "round(nullif({0}, 'NaN'), 9)", _DECIMAL),
    "bool": (pa.bool_(), "{0}", pa.bool_()),
    "date": (pa.date32(), _DAYS, pa.int32()),
    "timestamp": (pa.timestamp("us"), _MICROSECONDS, pa.int64()),
    "timestamptz": (pa.timestamp("us", tz="UTC"), _MICROSECONDS, pa.int64()),
}


class SourceError(RuntimeError):
    """The source cannot be read as the connection says: a table, a cursor or a key is missing."""


@dataclass(frozen=True)
class Column:
    """A source column: its name, the Arrow type it arrives as, the SQL that selects it for COPY, and the type COPY is parsed as."""

    name: str
    type: pa.DataType
    expression: sql.Composed
    wire: pa.DataType


@dataclass(frozen=True)
class SourceTable:
    """A table of schema ``public``, its columns in order, and the column sets its unique indexes guarantee."""

    name: str
    columns: tuple[Column, ...]
    unique: tuple[frozenset[str], ...]

    def schema(self) -> pa.Schema:
        """Names and Arrow types of the columns."""
        return pa.schema([(column.name, column.type) for column in self.columns])


@dataclass(frozen=True)
class Boundary:
    """The greatest cursor value of a table, as text, and how many rows have it."""

    value: str | None
    rows: int


def _column(name: str, kind: str) -> Column:
    arrow, expression, wire = _KINDS.get(kind, (pa.string(), "{0}::text", pa.string()))
    return Column(name, arrow, sql.SQL(expression).format(sql.Identifier(name)), wire)


class Source:
    """One read-only, repeatable-read transaction on a source database; use as a context manager.

    Raises ``psycopg.OperationalError`` when the database cannot be reached and ``SourceError`` for anything missing in it.
    """

    def __init__(self, dsn: str) -> None:
        self._connection = psycopg.connect(dsn, application_name="airbyte source", options="-c timezone=UTC -c datestyle=ISO")
        self._connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        self._connection.read_only = True

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def table(self, name: str) -> SourceTable:
        """Columns and unique keys of ``public.<name>``."""
        columns = self._connection.execute(
            "SELECT a.attname, t.typname FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid "
            "WHERE a.attrelid = to_regclass('public.' || quote_ident(%s)) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
            [name],
        ).fetchall()
        if not columns:
            raise SourceError(f"stream {name}: the source database {self._connection.info.dbname} has no table public.{name}")
        indexes = self._connection.execute(
            "SELECT array_agg(a.attname::text) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) "
            "WHERE i.indrelid = to_regclass('public.' || quote_ident(%s)) AND i.indisunique AND i.indpred IS NULL AND i.indexprs IS NULL "
            "GROUP BY i.indexrelid",
            [name],
        ).fetchall()
        return SourceTable(name, tuple(_column(*column) for column in columns), tuple(frozenset(row[0]) for row in indexes))

    def boundary(self, table: SourceTable, cursor: str, at: str | None = None) -> Boundary:
        """The greatest value of a cursor column, or the value ``at``, with the number of rows that have it."""
        self._require(table, cursor)
        column = sql.Identifier(cursor)
        value = at
        if at is None:
            row = self._connection.execute(sql.SQL("SELECT max({})::text FROM {}").format(column, sql.Identifier("public", table.name))).fetchone()
            value = row[0] if row else None
        if value is None:
            return Boundary(None, 0)
        count = self._connection.execute(
            sql.SQL("SELECT count(*) FROM {} WHERE {} = {}").format(sql.Identifier("public", table.name), column, sql.Literal(value))
        ).fetchone()
        return Boundary(value, count[0] if count else 0)

    def read(
        self, table: SourceTable, cursor: str | None = None, at_least: str | None = None, above: str | None = None, distinct: tuple[str, ...] = ()
    ) -> CopyReader:
        """The rows of a table, or those with ``cursor >= at_least`` or ``cursor > above``.

        ``distinct`` names a key that the table does not enforce: of several rows with one key the one with the greatest cursor is read.
        Every batch carries ``_airbyte_raw_id`` (a new UUID) before the table's own columns.
        """
        for name in (*distinct, *([cursor] if cursor else [])):
            self._require(table, name)
        body = sql.SQL(", ").join([sql.SQL("gen_random_uuid()::text"), *(column.expression for column in table.columns)])
        statement = sql.SQL("SELECT {}{} FROM {}").format(_distinct(table, distinct), body, sql.Identifier("public", table.name))
        if cursor and above is not None:
            statement += sql.SQL(" WHERE {} > {}").format(sql.Identifier(cursor), sql.Literal(above))
        elif cursor and at_least is not None:
            statement += sql.SQL(" WHERE {} >= {}").format(sql.Identifier(cursor), sql.Literal(at_least))
        if distinct and not _enforced(table, distinct):
            keys = [sql.Identifier(name) for name in distinct]
            order = [*keys, sql.SQL("{} DESC NULLS LAST").format(sql.Identifier(cursor))] if cursor else keys
            statement += sql.SQL(" ORDER BY ") + sql.SQL(", ").join(order)
        return CopyReader(self._connection, sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(statement), table)

    def _require(self, table: SourceTable, name: str) -> None:
        known = [column.name for column in table.columns]
        if name not in known:
            raise SourceError(f"stream {table.name}: found no column {name} in the source; it has: {', '.join(known)}")


def _enforced(table: SourceTable, key: tuple[str, ...]) -> bool:
    return any(columns <= set(key) for columns in table.unique)


def _distinct(table: SourceTable, key: tuple[str, ...]) -> sql.Composed:
    if not key or _enforced(table, key):
        return sql.SQL("{}").format(sql.SQL(""))
    return sql.SQL("DISTINCT ON ({}) ").format(sql.SQL(", ").join(sql.Identifier(name) for name in key))


class CopyReader:
    """Iterates over the record batches of one COPY; ``bytes`` grows as they arrive."""

    def __init__(self, connection: psycopg.Connection[tuple[object, ...]], statement: sql.Composed, table: SourceTable) -> None:
        self.bytes = 0
        self.schema = pa.schema([("_airbyte_raw_id", pa.string()), *((column.name, column.type) for column in table.columns)])
        self._connection = connection
        self._statement = statement
        self._wire = pa.schema([("_airbyte_raw_id", pa.string()), *((column.name, column.wire) for column in table.columns)])

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        with self._connection.cursor() as cursor, cursor.copy(self._statement) as copy:
            chunks = self._blocks(iter(copy))
            first = next(chunks, b"")
            if not first:
                return
            reader = pa.csv.open_csv(
                pa.PythonFile(_Chunks(first, chunks), mode="r"),
                read_options=pa.csv.ReadOptions(column_names=self._wire.names, block_size=BLOCK, use_threads=False),
                parse_options=pa.csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
                convert_options=pa.csv.ConvertOptions(
                    column_types=self._wire, null_values=[""], true_values=["t"], false_values=["f"], strings_can_be_null=True, quoted_strings_can_be_null=False
                ),
            )
            for batch in reader:
                if batch.num_rows:
                    yield _typed(batch, self.schema)

    def _blocks(self, rows: Iterator[bytes | bytearray | memoryview]) -> Iterator[bytes]:
        """libpq hands out one row at a time; the parser wants large pieces."""
        gathered: list[bytes | bytearray | memoryview] = []
        size = 0
        for row in rows:
            gathered.append(row)
            size += len(row)
            if size >= BLOCK // 4:
                self.bytes += size
                yield b"".join(gathered)
                gathered, size = [], 0
        self.bytes += size
        yield b"".join(gathered)


class _Chunks:
    """The few methods of a readable file that Arrow needs, over an iterator of bytes."""

    closed = False

    def __init__(self, first: bytes, rest: Iterator[bytes]) -> None:
        self._buffer = first
        self._rest = rest

    def read(self, size: int = -1) -> bytes:
        while len(self._buffer) < size or size < 0:
            more = next(self._rest, b"")
            if not more:
                break
            self._buffer += more
        piece = self._buffer if size < 0 else self._buffer[:size]
        self._buffer = self._buffer[len(piece) :]
        return piece

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self.closed = True


def _typed(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Epoch counts become dates and timestamps; everything else is parsed as what it is."""
    columns = [column if column.type == field.type else column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
