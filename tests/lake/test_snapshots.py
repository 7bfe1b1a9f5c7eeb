"""What a table's snapshots tell a verification."""

from __future__ import annotations

import datetime as dt

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

from include.lake.names import TableRef
from include.lake.snapshots import state_of, table_state
from include.lake.writes import append_once, merge, overwrite

from .children import batch_of
from .conftest import CATALOG


def test_a_table_that_was_never_written(new_table) -> None:
    state = state_of(new_table())
    assert (state.snapshot_id, state.rows, state.run_key, state.main_is_newest) == (None, None, None, True)


def test_the_head_describes_the_table(new_table, catalog: Catalog) -> None:
    table = new_table()
    append_once(table, batch_of(1), "run:1")
    result = append_once(table, batch_of(2), "run:2")
    state = table_state(catalog, TableRef(CATALOG, *table.name()))
    assert (state.snapshot_id, state.run_key, state.operation) == (result.snapshot_id, "run:2", "append")
    assert (state.rows, state.added_rows) == (100, 50)
    assert state.bytes == sum(task.file.file_size_in_bytes for task in table.scan().plan_files())
    assert abs((dt.datetime.now(dt.UTC) - state.committed_at).total_seconds()) < 60
    overwrite(table, batch_of(3, rows=5), "run:3")
    assert (state_of(table).rows, state_of(table).added_rows, state_of(table).operation) == (5, 5, "overwrite")
    merge(table, batch_of(4, rows=5), ["batch", "number"], "run:4")
    assert (state_of(table).rows, state_of(table).run_key) == (10, "run:4")


def test_rows_that_only_a_branch_has_put_main_behind(new_table) -> None:
    table = new_table()
    first = append_once(table, batch_of(1), "run:1")
    table.manage_snapshots().create_branch(first.snapshot_id, "audit").commit()
    table.refresh()
    assert state_of(table).main_is_newest, "a branch at main's own head is not ahead"
    table.append(batch_of(2).cast(table.schema().as_arrow()), branch="audit")
    state = state_of(table)
    assert (state.behind, state.main_is_newest, state.snapshot_id, state.rows) == (("audit",), False, first.snapshot_id, 50)
    newest = append_once(table, batch_of(3), "run:3")
    assert (state_of(table).snapshot_id, state_of(table).behind) == (newest.snapshot_id, ())


def test_tags_are_no_branches(new_table) -> None:
    table = new_table()
    append_once(table, batch_of(1), "run:1")
    second = append_once(table, batch_of(2), "run:2")
    table.manage_snapshots().create_tag(second.snapshot_id, "release").commit()
    table.refresh()
    assert state_of(table).main_is_newest


def test_main_that_was_set_back_is_told(new_table) -> None:
    table = new_table()
    first = append_once(table, batch_of(1), "run:1")
    append_once(table, batch_of(2), "run:2")
    table.manage_snapshots().rollback_to_snapshot(first.snapshot_id).commit()
    table.refresh()
    state = state_of(table)
    assert (state.rolled_back, state.main_is_newest, state.rows) == (True, False, 50)
    append_once(table, batch_of(3), "run:3")
    assert state_of(table).rolled_back is False


def test_a_missing_table_is_an_error(catalog: Catalog) -> None:
    with pytest.raises(NoSuchTableError):
        table_state(catalog, TableRef(CATALOG, "raw", "none"))
