"""Overwrites replace all that they name, also when somebody else writes there at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import BooleanExpression, EqualTo
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform

from include.lake.catalog import open_catalog
from include.lake.writes import append_once, overwrite, overwrite_partition

from .forms import ON_EVERY_FORM, data_files

pytestmark = ON_EVERY_FORM

SALES = pa.schema([("day", pa.string()), ("writer", pa.string()), ("number", pa.int64())])


def sales(day: str | None, writer: str, rows: int = 10) -> pa.Table:
    return pa.table({"day": pa.array([day] * rows, pa.string()), "writer": [writer] * rows, "number": list(range(rows))}, schema=SALES)


def counts(table: Table) -> dict[tuple[str, str], int]:
    table.refresh()
    found = table.scan().to_arrow().group_by(["day", "writer"]).aggregate([("number", "count")]).to_pylist()
    return {(row["day"], row["writer"]): row["number_count"] for row in found}


@pytest.fixture(params=["partitioned", "one heap"])
def table(request: pytest.FixtureRequest, new_table: Callable[..., Table]) -> Table:
    made = new_table(SALES)
    if request.param == "partitioned":
        with made.update_spec() as spec:
            spec.add_field("day", IdentityTransform())
    append_once(made, pa.concat_tables([sales("mon", "old"), sales("tue", "old"), sales(None, "old")]), "run:0")
    return made


def test_a_partition_is_replaced_and_the_rest_stays(table: Table) -> None:
    result = overwrite_partition(table, sales("mon", "new", 3), "day = 'mon'", "run:1")
    assert (result.rows, result.replaced, result.committed) == (3, 10, True)
    assert counts(table) == {("mon", "new"): 3, ("tue", "old"): 10, (None, "old"): 10}
    assert overwrite_partition(table, sales("mon", "other"), "day = 'mon'", "run:1").committed is False
    assert overwrite_partition(table, sales("mon", "newer", 2), EqualTo("day", "mon"), "run:2").replaced == 3
    assert counts(table) == {("mon", "newer"): 2, ("tue", "old"): 10, (None, "old"): 10}


def test_no_rows_empty_the_partition(table: Table) -> None:
    assert overwrite_partition(table, sales("mon", "new", 0), "day = 'mon'", "run:1").replaced == 10
    assert counts(table) == {("tue", "old"): 10, (None, "old"): 10}
    assert not overwrite_partition(table, sales("mon", "new", 0), "day = 'mon'", "run:2").committed, "it is empty already"


def test_nothing_is_replaced_when_the_table_holds_what_was_to_prevent_it(table: Table, catalog: Catalog) -> None:
    files = len(data_files(catalog, table))
    head = table.metadata.current_snapshot_id
    newer = "day = 'mon' and number >= 9"
    result = overwrite_partition(table, sales("mon", "late", 3), "day = 'mon'", "run:1", unless=newer)
    assert (result.committed, result.rows, result.snapshot_id) == (False, 0, head)
    assert len(data_files(catalog, table)) == files, "no file is left behind"
    assert overwrite_partition(table, sales("mon", "new", 3), "day = 'mon'", "run:1", unless="day = 'mon' and number > 9").committed
    assert counts(table)[("mon", "new")] == 3


def test_what_prevents_a_write_is_looked_at_when_it_commits(table: Table, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer is faster after the first look: the snapshot that would be replaced decides, and the files written in vain are removed."""
    other = catalog.load_table(table.name())
    first_look = []

    def overtaken(current: Table, rows: BooleanExpression) -> bool:
        found = bool(current.scan(row_filter=rows, limit=1).to_arrow().num_rows)
        if not first_look:
            first_look.append(found)
            overwrite_partition(other, sales("mon", "newer", 20), "day = 'mon'", "run:2")
        return found

    monkeypatch.setattr("include.lake.writes._holds", overtaken)
    result = overwrite_partition(table, sales("mon", "late", 3), "day = 'mon'", "run:1", unless="day = 'mon' and number >= 15")
    assert first_look == [False]
    assert not result.committed
    assert counts(table)[("mon", "newer")] == 20
    named = {task.file.file_path for task in table.scan().plan_files()}
    reachable = {entry["file_path"] for entry in table.inspect.all_data_files().to_pylist()}
    assert named <= reachable
    assert len(data_files(catalog, table)) == len(reachable)


def test_rows_outside_the_filter_are_refused(table: Table, catalog: Catalog) -> None:
    files = len(data_files(catalog, table))
    for day, found in (("tue", "'tue'"), (None, "None")):
        with pytest.raises(ValueError, match=rf"data row 10: found \{{'day': {found}, 'writer': 'new'"):
            overwrite_partition(table, pa.concat_tables([sales("mon", "new"), sales(day, "new")]), "day = 'mon'", "run:1")
    assert len(data_files(catalog, table)) == files


def test_the_whole_table_is_replaced(table: Table) -> None:
    assert overwrite(table, sales("wed", "new", 4), "run:1").replaced == 30
    assert counts(table) == {("wed", "new"): 4}
    assert overwrite(table, sales("thu", "new", 4), "run:1").committed is False
    assert overwrite(table, sales("thu", "new", 0), "run:2").replaced == 4
    assert counts(table) == {}


def test_a_new_table_can_be_overwritten(new_table) -> None:
    table = new_table(SALES)
    assert overwrite(table, sales("mon", "first"), "run:1").replaced == 0
    assert counts(table) == {("mon", "first"): 10}


def test_two_writers_of_one_partition_never_mix(table: Table, catalog: Catalog, catalog_properties: dict[str, str]) -> None:
    start = threading.Barrier(3)
    errors: list[BaseException] = []

    def write(writer: str, other: bool) -> None:
        mine = open_catalog(catalog.name, catalog_properties).load_table(table.name())
        start.wait()
        try:
            for turn in range(5):
                if other:
                    append_once(mine, sales("tue", writer, 1), f"{writer}:{turn}")
                else:
                    overwrite_partition(mine, sales("mon", f"{writer}{turn}", 7), "day = 'mon'", f"{writer}:{turn}")
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=write, args=(name, name == "appender")) for name in ("a", "b", "appender")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    found = counts(table)
    monday = {writer: rows for (day, writer), rows in found.items() if day == "mon"}
    assert list(monday.values()) == [7], f"one writer's rows and nothing else: {monday}"
    assert next(iter(monday)) in ("a4", "b4")
    assert {key: rows for key, rows in found.items() if key[0] != "mon"} == {("tue", "old"): 10, ("tue", "appender"): 5, (None, "old"): 10}
    for snapshot in table.metadata.snapshots:
        rows = table.scan(snapshot_id=snapshot.snapshot_id, row_filter="day = 'mon'").to_arrow()
        assert len(rows.column("writer").unique()) == 1, "in no snapshot, not only not at the end"
