"""A partition written piece by piece, by several writers, and put into the table in one commit."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform

from include.lake.catalog import open_catalog
from include.lake.files import PartitionWriter, rows_of
from include.lake.writes import append_once, replace_by_files

from .forms import ON_EVERY_FORM, data_files
from .test_overwrite import SALES, counts, sales

pytestmark = ON_EVERY_FORM


@pytest.fixture
def table(new_table: Callable[..., Table]) -> Table:
    """Ten rows each of monday and tuesday."""
    made = new_table(SALES)
    with made.update_spec() as spec:
        spec.add_field("day", IdentityTransform())
    append_once(made, pa.concat_tables([sales("mon", "old"), sales("tue", "old")]), "run:0")
    return made


def writer_of(table: Table, **sizes: int) -> PartitionWriter:
    return PartitionWriter(table.metadata, table.io, {"day": "mon"}, **sizes)


def batch(writer: str, rows: int) -> pa.RecordBatch:
    return sales("mon", writer, rows).to_batches()[0]


def test_two_writers_and_one_commit(table: Table) -> None:
    first, second = writer_of(table), writer_of(table)
    for _ in range(3):
        first.write(batch("a", 7))
    second.write(batch("b", 5))
    second.write(batch("b", 5).slice(0, 0))
    files = [*first.close(), *second.close()]
    assert rows_of(files) == 26
    assert counts(table) == {("mon", "old"): 10, ("tue", "old"): 10}, "no snapshot names the files yet"
    result = replace_by_files(table, files, "day = 'mon'", "run:1")
    assert (result.rows, result.replaced, result.committed) == (26, 10, True)
    assert counts(table) == {("mon", "a"): 21, ("mon", "b"): 5, ("tue", "old"): 10}


def test_row_groups_and_files_end_at_their_sizes(table: Table, catalog: Catalog) -> None:
    before = data_files(catalog, table)
    size = batch("a", 100).nbytes
    writer = writer_of(table, group_bytes=2 * size, file_bytes=4 * size)
    for _ in range(10):
        writer.write(batch("a", 100))
    files = writer.close()
    assert [file.record_count for file in files] == [400, 400, 200]
    groups = sorted(pq.ParquetFile(table.io.new_input(location).open()).num_row_groups for location in data_files(catalog, table) - before)
    assert groups == [1, 2, 2]


def test_no_rows_make_no_file(table: Table) -> None:
    assert writer_of(table).close() == []
    result = replace_by_files(table, [], "day = 'mon'", "run:1")
    assert (result.rows, result.replaced) == (0, 10)
    assert counts(table) == {("tue", "old"): 10}


def test_what_is_given_up_leaves_nothing_behind(table: Table, catalog: Catalog) -> None:
    before = data_files(catalog, table)
    writer = writer_of(table, group_bytes=1, file_bytes=1)  # a file for each batch
    for _ in range(3):
        writer.write(batch("a", 4))
    assert len(data_files(catalog, table)) == len(before) + 3
    writer.abort()
    assert data_files(catalog, table) == before
    assert writer.files == []


def test_a_repetition_changes_nothing_and_removes_its_own_files(table: Table, catalog: Catalog) -> None:
    for number in (1, 2):
        writer = writer_of(table)
        writer.write(batch(f"attempt {number}", 6))
        result = replace_by_files(table, writer.close(), "day = 'mon'", "run:1")
        assert result.committed is (number == 1)
        if number == 1:
            files = data_files(catalog, table)
    assert counts(table) == {("mon", "attempt 1"): 6, ("tue", "old"): 10}
    assert data_files(catalog, table) == files


def test_other_partitions_change_meanwhile(table: Table, catalog: Catalog, catalog_properties: dict[str, str]) -> None:
    writer = writer_of(table)
    writer.write(batch("new", 3))
    files = writer.close()
    other = open_catalog(catalog.name, catalog_properties).load_table(table.name())
    append_once(other, sales("wed", "other", 4), "run:other")
    assert replace_by_files(table, files, "day = 'mon'", "run:1").committed
    assert counts(table) == {("mon", "new"): 3, ("tue", "old"): 10, ("wed", "other"): 4}
