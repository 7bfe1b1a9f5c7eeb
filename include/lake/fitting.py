"""Makes Arrow data fit a table's columns, or says which column does not and why.

Fitting means: every column is one of the table's, its type is the table's or widens to it without loss, required columns hold no
null. Columns that the data lacks become null. Nothing is narrowed, parsed from text or moved between time zones: that is the caller's
decision, and a silent cast is how wrong numbers enter a lake.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io.pyarrow import UnsupportedPyArrowTypeException, schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import Table

Data: TypeAlias = "pa.Table | pa.RecordBatchReader"

EVOLVE_ATTEMPTS = 10


class SchemaMismatchError(ValueError):
    """Data does not fit a table: which ``column``, what was ``found`` in the data and what is ``allowed``."""

    def __init__(self, table: str, column: str, found: str, allowed: str) -> None:
        self.table, self.column, self.found, self.allowed = table, column, found, allowed
        super().__init__(f"{table}: column {column}: found {found}; allowed: {allowed}")


def table_name(table: Table) -> str:
    """``schema.table``, for messages."""
    return ".".join(table.name())


class Fitter:
    """Casts batches of one schema to a table's columns; built once for a write, so a wrong schema is refused before anything is written.

    ``complete`` demands every column of the table (a merge replaces whole rows). Raises :class:`SchemaMismatchError`.
    """

    def __init__(self, table: Table, found: pa.Schema, *, complete: bool = False) -> None:
        self._name = table_name(table)
        self.schema = arrow_schema(table.schema())
        self._check_names(found, complete)
        for field in found:
            allowed = self.schema.field(field.name).type
            if not fits(field.type, allowed):
                raise SchemaMismatchError(self._name, field.name, str(field.type), f"{allowed} or a type that widens to it")

    def _check_names(self, found: pa.Schema, complete: bool) -> None:
        known = set(self.schema.names)
        for name in found.names:
            if name not in known:
                raise SchemaMismatchError(self._name, name, "a column the table does not have", ", ".join(self.schema.names) + "; or evolve=True")
            if found.names.count(name) > 1:
                raise SchemaMismatchError(self._name, name, "the column more than once", "each column once")
        for field in self.schema:
            if field.name not in found.names and (complete or not field.nullable):
                reason = "every column, since whole rows are replaced" if complete else "a value: the column is required"
                raise SchemaMismatchError(self._name, field.name, "no such column in the data", reason)

    def batches(self, data: Data) -> Iterator[pa.RecordBatch]:
        """The data, batch by batch, with exactly the table's columns in the table's order. Raises :class:`SchemaMismatchError` with the row."""
        first_row = 0
        for batch in data.to_batches() if isinstance(data, pa.Table) else data:
            yield self._fit(batch, first_row)
            first_row += batch.num_rows

    def _fit(self, batch: pa.RecordBatch, first_row: int) -> pa.RecordBatch:
        columns = []
        for field in self.schema:
            if field.name not in batch.schema.names:
                columns.append(pa.nulls(batch.num_rows, field.type))
                continue
            column = batch.column(field.name)
            if not field.nullable and column.null_count:
                row = first_row + column.is_null().index(pa.scalar(True)).as_py()
                raise SchemaMismatchError(self._name, field.name, f"null in row {row} of the data", "a value: the column is required")
            columns.append(self._cast(column, field, first_row))
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _cast(self, column: pa.Array, field: pa.Field, first_row: int) -> pa.Array:
        if column.type == field.type:
            return column
        try:
            return column.cast(field.type)
        except pa.ArrowInvalid as error:  # a value beyond the type, for example year 300000 as microseconds
            rows = f"rows {first_row} to {first_row + len(column) - 1} of the data"
            raise SchemaMismatchError(self._name, field.name, f"{error} ({column.type}, {rows})", str(field.type)) from error


def arrow_schema(schema: Schema) -> pa.Schema:
    """The table's columns as Arrow types, without Iceberg's field ids."""
    return schema_to_pyarrow(schema, include_field_ids=False)


def _integers(found: pa.DataType, allowed: pa.DataType) -> bool:
    unsigned = pa.types.is_unsigned_integer(found)
    return bool(found.bit_width < allowed.bit_width or (found.bit_width == allowed.bit_width and not unsigned))


def _timestamps(found: pa.DataType, allowed: pa.DataType) -> bool:
    order = ("s", "ms", "us", "ns")
    return (found.tz is None) == (allowed.tz is None) and order.index(found.unit) <= order.index(allowed.unit)


def _lists(found: pa.DataType, allowed: pa.DataType) -> bool:
    return fits(found.value_type, allowed.value_type)


def _maps(found: pa.DataType, allowed: pa.DataType) -> bool:
    return fits(found.key_type, allowed.key_type) and fits(found.item_type, allowed.item_type)


def _structs(found: pa.DataType, allowed: pa.DataType) -> bool:
    ours, theirs = list(found), list(allowed)
    return [field.name for field in ours] == [field.name for field in theirs] and all(fits(a.type, b.type) for a, b in zip(ours, theirs, strict=True))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


Rule = Callable[[pa.DataType, pa.DataType], bool]
_RULES: tuple[tuple[Callable[[pa.DataType], bool], Rule], ...] = (
    (pa.types.is_integer, _integers),
    (pa.types.is_floating, lambda found, allowed: found.bit_width <= allowed.bit_width),
    (pa.types.is_decimal, lambda found, allowed: found.scale == allowed.scale and found.precision <= allowed.precision),
    (pa.types.is_timestamp, _timestamps),
    (pa.types.is_time, lambda found, allowed: found.unit != "ns" or allowed.unit == "ns"),
    (_is_text, lambda found, allowed: True),
    (_is_binary, lambda found, allowed: True),
    (_is_list, _lists),
    (pa.types.is_map, _maps),
    (pa.types.is_struct, _structs),
)


def fits(found: pa.DataType, allowed: pa.DataType) -> bool:
    """Whether every value of one Arrow type is a value of the other, unchanged."""
    if found == allowed or pa.types.is_null(found):
        return True
    if isinstance(allowed, pa.BaseExtensionType):
        return bool(found == allowed.storage_type)
    if pa.types.is_dictionary(found):
        return fits(found.value_type, allowed)
    return any(same(found) and same(allowed) and rule(found, allowed) for same, rule in _RULES)


def add_missing_columns(table: Table, found: pa.Schema) -> None:
    """Adds the columns that ``found`` has and the table lacks, all optional, in a commit of their own; ``table`` is refreshed.

    Safe to repeat and safe beside other writers: the columns are looked for again after every conflict. Raises ``CommitFailedException``
    after ten conflicts, and :class:`SchemaMismatchError` for a type that Iceberg does not have.
    """
    for attempt in range(EVOLVE_ATTEMPTS):
        known = set(table.schema().column_names)
        missing = [field.with_nullable(True) for field in found if field.name not in known]
        if not missing:
            return
        update = table.update_schema()
        try:
            update.union_by_name(pa.schema(missing))
        except (UnsupportedPyArrowTypeException, ValueError) as error:
            columns = ", ".join(f"{field.name} {field.type}" for field in missing)
            raise SchemaMismatchError(table_name(table), columns, str(error), "types that Iceberg has") from error
        try:
            update.commit()
        except CommitFailedException:
            if attempt == EVOLVE_ATTEMPTS - 1:
                raise
            table.refresh()
