"""Fills the raw tables straight from the source databases, as finished syncs leave them, so that the dbt project is tested without Airbyte."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Any, LiteralString

import psycopg
import pyarrow as pa
from psycopg import sql
from pyiceberg.catalog import Catalog

from include.config.environments import EnvironmentSettings
from include.config.load import load_units_strictly
from include.config.units import AirbyteUnit, Stream
from include.config.vocabulary import Layer, SyncMode
from include.lake.catalog import ensure_table
from include.lake.names import table_in

TYPES: dict[str, pa.DataType] = {
    "bigint": pa.int64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "double precision": pa.float64(),
    "numeric": pa.decimal128(38, 9),
    "timestamp with time zone": pa.timestamp("us", tz="UTC"),
    "timestamp without time zone": pa.timestamp("us"),
}
_COLUMNS: LiteralString = """
    SELECT column_name, data_type FROM information_schema.columns
    WHERE table_schema = 'public' AND table_name = %s ORDER BY ordinal_position"""


def sync_all(dsn: str, catalog: Catalog, environment: EnvironmentSettings, extracted_at: datetime) -> int:
    """Brings every stream of every unit to the state of its source database; returns the rows written.

    Appending streams get the rows at or after their newest cursor again, so the boundary rows are doubled, as at-least-once delivery does.
    """
    written = 0
    for unit in load_units_strictly("airbyte", environment):
        with psycopg.connect(dsn, dbname=unit.id) as connection:
            connection.execute("SET TIME ZONE 'UTC'")
            written += sum(_sync(connection, catalog, environment, unit, stream, extracted_at) for stream in unit.streams)
    return written


def _sync(
    connection: psycopg.Connection[Any], catalog: Catalog, environment: EnvironmentSettings, unit: AirbyteUnit, stream: Stream, extracted_at: datetime
) -> int:
    kinds = connection.execute(_COLUMNS, (stream.name,)).fetchall()
    schema = pa.schema(
        [
            *((name, TYPES.get(kind, pa.string())) for name, kind in kinds),
            ("_airbyte_raw_id", pa.string()),
            ("_airbyte_extracted_at", pa.timestamp("us", tz="UTC")),
            ("_airbyte_meta", pa.string()),
            ("_airbyte_generation_id", pa.int64()),
        ]
    )
    table = ensure_table(catalog, table_in(environment, Layer.RAW, unit.table_of(stream)), schema)
    rows = _read(connection, stream, kinds, _newest_cursor(table, stream))
    columns: list[Any] = list(zip(*rows, strict=True)) if rows else [()] * len(kinds)
    columns += [[str(uuid.uuid4()) for _ in rows], [extracted_at] * len(rows), ['{"changes": []}'] * len(rows), [1] * len(rows)]
    data = pa.Table.from_arrays([pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)], schema=schema)
    if stream.sync_mode is SyncMode.INCREMENTAL_APPEND:
        table.append(data)
    else:
        table.overwrite(data)
    return len(rows)


def _newest_cursor(table: Any, stream: Stream) -> Any:
    if stream.sync_mode is not SyncMode.INCREMENTAL_APPEND or table.current_snapshot() is None:
        return None
    values = table.scan(selected_fields=(stream.cursor,)).to_arrow()[stream.cursor]
    return max(values.to_pylist(), default=None)


def _read(connection: psycopg.Connection[Any], stream: Stream, kinds: list[tuple[str, str]], after: Any) -> list[tuple[Any, ...]]:
    texts = [sql.Identifier(name) if kind in TYPES else sql.SQL("{}::text").format(sql.Identifier(name)) for name, kind in kinds]
    query = sql.SQL("SELECT {} FROM {}").format(sql.SQL(", ").join(texts), sql.Identifier(stream.name))
    if after is not None:
        query += sql.SQL(" WHERE {} >= {}").format(sql.Identifier(str(stream.cursor)), sql.Literal(after))
    return connection.execute(query).fetchall()
