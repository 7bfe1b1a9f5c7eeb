"""A collection's Parquet files become rows of its raw table: one row for each document, that of the newest dump which has it.

Rows are merged by ``document_key`` and ordered by ``retrieved_at``, when the dump was taken. The table is therefore the same whichever dump arrives first and
however often; a document that is gone from the newest dumps keeps its row, with the time of the last one that had it.

A column keeps the kind it was made with, which stands in its comment. Values of another kind in a later dump go to ``document_rest``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from include.contract import PermanentError
from include.jobs.openedx.forum import kinds as k
from include.jobs.openedx.forum.names import DOCUMENT_KEY, PROVENANCE, REST, RETRIEVED_AT
from include.jobs.openedx.forum.schema import Column, Rest, column_of
from include.lake.catalog import ensure_table
from include.lake.fitting import add_missing_columns, arrow_schema, table_name
from include.lake.names import TableRef
from include.lake.writes import WriteResult, merge

_INT32 = (-(1 << 31), (1 << 31) - 1)


def load_rows(catalog: Catalog, ref: TableRef, files: Sequence[Path], run_key: str) -> tuple[Table, WriteResult]:
    """Merges the files' rows into the table, made or given more columns where needed. Errors as :func:`include.lake.writes.merge`."""
    rows = pa.concat_tables([pq.read_table(file) for file in files])
    table = ensure_table(catalog, ref, rows.schema)
    add_missing_columns(table, rows.schema)
    return table, merge(table, fit(table, rows), [DOCUMENT_KEY], run_key, latest_by=RETRIEVED_AT)


def fit(table: Table, rows: pa.Table) -> pa.Table:
    """The rows with exactly the table's columns: what a column does not take is in ``document_rest``."""
    schema = arrow_schema(table.schema())
    rest = Rest(rows.num_rows, rows.column(REST))
    fitted = {name: rows.column(name) for name in PROVENANCE}
    for field in rows.schema:
        if column := column_of(field):
            fitted[column.name] = _fit(column, _kind_of(table, column.name), rows.column(column.name), rest)
    fitted[REST] = rest.column()
    return pa.table({field.name: fitted.get(field.name, pa.nulls(rows.num_rows, field.type)) for field in schema})


def _fit(column: Column, kind: str, values: pa.ChunkedArray, rest: Rest) -> pa.ChunkedArray:
    if kind == column.kind:
        return values
    missing = pa.scalar(None, k.arrow_type(kind))
    if (column.kind, kind) != (k.INT, k.DOUBLE):
        rest.add(column.path, column.kind, values)
        return pa.chunked_array([pa.repeat(missing, len(values))])
    small = pc.fill_null(pc.and_(pc.greater_equal(values, _INT32[0]), pc.less_equal(values, _INT32[1])), False)
    rest.add(column.path, column.kind, pc.if_else(small, pa.scalar(None, pa.int64()), values))
    return pc.if_else(small, values, pa.scalar(None, pa.int64())).cast(pa.float64())


def _kind_of(table: Table, name: str) -> str:
    """The kind that a column of the table was made for. Raises ``PermanentError`` for one that a load did not make."""
    comment = table.schema().find_field(name).doc or ""
    described, separator, _ = comment.partition(": ")
    if not separator or not described.startswith("BSON "):
        raise PermanentError(f"{table_name(table)}: column {name}: found the comment {comment!r}; allowed: 'BSON <kind>: <field>', as forum-load writes it")
    return described.removeprefix("BSON ")
