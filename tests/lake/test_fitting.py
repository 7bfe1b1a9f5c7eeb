"""What fits a table's columns, and how a misfit is reported."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pyarrow as pa
import pytest
from pyiceberg.schema import Schema
from pyiceberg.types import DecimalType, IntegerType, ListType, LongType, NestedField, StringType, StructType, TimestampType, TimestamptzType

from include.lake.fitting import Fitter, SchemaMismatchError, add_missing_columns
from include.lake.writes import append_once

COLUMNS = Schema(
    NestedField(1, "id", LongType(), required=True),
    NestedField(2, "count", IntegerType(), required=False),
    NestedField(3, "price", DecimalType(10, 2), required=False),
    NestedField(4, "at", TimestamptzType(), required=False),
    NestedField(5, "local_at", TimestampType(), required=False),
    NestedField(6, "tags", ListType(7, StringType(), element_required=False), required=False),
    NestedField(8, "place", StructType(NestedField(9, "name", StringType(), required=False)), required=False),
)


def test_what_widens_is_taken_and_what_is_absent_is_null(new_table) -> None:
    table = new_table(COLUMNS)
    data = pa.table(
        {
            "price": pa.array([Decimal("1.10"), None], pa.decimal128(5, 2)),
            "id": pa.array([1, 2], pa.uint32()),
            "at": pa.array([0, 1], pa.timestamp("s", "Europe/Paris")),
            "tags": pa.array([["a", None], None], pa.list_(pa.string())),
            "place": pa.array([{"name": "Cambridge"}, None]),
            "local_at": pa.nulls(2),
        }
    )
    append_once(table, data, "run:1")
    assert table.scan().to_arrow().to_pylist() == [
        {
            "id": 1,
            "count": None,
            "price": Decimal("1.10"),
            "at": dt.datetime(1970, 1, 1, tzinfo=dt.UTC),
            "local_at": None,
            "tags": ["a", None],
            "place": {"name": "Cambridge"},
        },
        {"id": 2, "count": None, "price": None, "at": dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=dt.UTC), "local_at": None, "tags": None, "place": None},
    ]


@pytest.mark.parametrize(
    ("column", "values", "found"),
    [
        ("count", pa.array([1], pa.int64()), "int64"),
        ("count", pa.array([1], pa.uint32()), "uint32"),
        ("count", pa.array([1.0]), "double"),
        ("count", pa.array(["1"]), "string"),
        ("price", pa.array([Decimal("1.100")], pa.decimal128(10, 3)), r"decimal128\(10, 3\)"),
        ("price", pa.array([Decimal("1.10")], pa.decimal128(11, 2)), r"decimal128\(11, 2\)"),
        ("price", pa.array([1.1]), "double"),
        ("at", pa.array([0], pa.timestamp("us")), r"timestamp\[us\]"),
        ("at", pa.array([0], pa.timestamp("ns", "UTC")), r"timestamp\[ns, tz=UTC\]"),
        ("local_at", pa.array([0], pa.timestamp("us", "UTC")), r"timestamp\[us, tz=UTC\]"),
        ("tags", pa.array([[1]]), r"list<.*int64>"),
        ("place", pa.array([{"city": "x"}]), r"struct<city: string>"),
    ],
)
def test_what_would_lose_or_invent_something_is_refused(new_table, column: str, values: pa.Array, found: str) -> None:
    with pytest.raises(SchemaMismatchError, match=f"column {column}: found {found}; allowed: ") as caught:
        Fitter(new_table(COLUMNS), pa.table({"id": pa.array([1]), column: values}).schema)
    assert caught.value.column == column


def test_required_columns_hold_a_value_in_every_row(new_table) -> None:
    table = new_table(COLUMNS)
    with pytest.raises(SchemaMismatchError, match="column id: found no such column"):
        append_once(table, pa.table({"count": pa.array([1], pa.int32())}), "run:1")
    chunks = pa.chunked_array([[1, 2], [3, None]], pa.int64())
    with pytest.raises(SchemaMismatchError, match="column id: found null in row 3 of the data"):
        append_once(table, pa.table({"id": chunks}), "run:1")
    assert table.current_snapshot() is None


def test_a_column_twice_is_refused(new_table) -> None:
    data = pa.table([pa.array([1]), pa.array([2])], names=["id", "id"])
    with pytest.raises(SchemaMismatchError, match="column id: found the column more than once"):
        Fitter(new_table(COLUMNS), data.schema)


def test_values_beyond_the_type_are_refused(new_table) -> None:
    data = pa.table({"id": [1], "at": pa.array([2**50], pa.timestamp("s", "UTC"))})
    with pytest.raises(SchemaMismatchError, match=r"column at: found .*rows 0 to 0 of the data"):
        append_once(new_table(COLUMNS), data, "run:1")


def test_columns_are_added_once_whoever_adds_them(new_table, catalog) -> None:
    table = new_table(COLUMNS)
    stale = catalog.load_table(table.name())
    wider = pa.schema([("id", pa.int64()), pa.field("new", pa.string(), nullable=False)])
    add_missing_columns(table, wider)
    add_missing_columns(stale, wider)
    assert stale.schema().find_field("new").required is False
    assert stale.schema() == table.schema()


def test_types_that_iceberg_lacks_cannot_be_added(new_table) -> None:
    with pytest.raises(SchemaMismatchError, match=r"column wait duration\[s\]: "):
        add_missing_columns(new_table(COLUMNS), pa.schema([("wait", pa.duration("s"))]))
