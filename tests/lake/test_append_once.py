"""What a run key promises, within one process, on every form of a lake."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform, IdentityTransform

from include.lake import runkeys
from include.lake.catalog import open_catalog
from include.lake.writes import CommitConflictError, SchemaMismatchError, append_once, overwrite

from .children import batch_of
from .forms import ON_EVERY_FORM, data_files, files_of

pytestmark = ON_EVERY_FORM


def test_a_second_write_under_a_key_commits_nothing(new_table) -> None:
    table = new_table()
    first = append_once(table, batch_of(1), "run:1")
    second = append_once(table, batch_of(2), "run:1")
    assert (first.committed, second.committed) == (True, False)
    assert (second.snapshot_id, second.rows, second.bytes) == (first.snapshot_id, first.rows, first.bytes)
    assert first.rows == 50
    assert first.bytes == sum(task.file.file_size_in_bytes for task in table.scan().plan_files())
    assert table.scan().to_arrow().column("batch").unique().to_pylist() == [1]


def test_keys_outlive_their_snapshots(new_table) -> None:
    table = new_table()
    first = append_once(table, batch_of(1), "run:1")
    append_once(table, batch_of(2), "run:2")
    table.maintenance.expire_snapshots().by_id(first.snapshot_id).commit()
    table.refresh()
    assert table.snapshot_by_id(first.snapshot_id) is None
    again = append_once(table, batch_of(1), "run:1")
    assert (again.committed, again.snapshot_id, again.rows, again.bytes) == (False, first.snapshot_id, first.rows, first.bytes)
    assert table.scan().count() == 100


def test_only_the_newest_keys_are_kept_beside_the_snapshots(new_table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runkeys, "KEPT", 3)
    table = new_table()
    for number in range(5):
        append_once(table, batch_of(number), f"run:{number}")
    assert len(table.properties[runkeys.PROPERTY].split()) == 3
    assert not append_once(table, batch_of(0), "run:0").committed, "its snapshot is still there"


def test_a_batch_that_was_rolled_back_can_be_loaded_again(new_table) -> None:
    table = new_table()
    kept = append_once(table, batch_of(1), "run:1")
    bad = append_once(table, batch_of(2), "run:2")
    table.manage_snapshots().rollback_to_snapshot(kept.snapshot_id).commit()
    assert append_once(table, batch_of(1), "run:1").committed is False
    assert append_once(table, batch_of(2), "run:2").committed is True
    table.maintenance.expire_snapshots().by_id(bad.snapshot_id).commit()
    assert append_once(table, batch_of(2), "run:2").committed is False
    assert sorted(table.scan().to_arrow().column("batch").unique().to_pylist()) == [1, 2]


def test_no_rows_commit_nothing(new_table) -> None:
    table = new_table()
    assert append_once(table, batch_of(1, rows=0), "run:1") == append_once(table, batch_of(1).schema.empty_table(), "run:2")
    assert table.current_snapshot() is None


@pytest.mark.parametrize("key", ["", "  "])
def test_a_key_must_name_something(new_table, key: str) -> None:
    with pytest.raises(ValueError, match="run key"):
        append_once(new_table(), batch_of(1), key)


def test_a_reader_is_streamed_into_a_partitioned_table(new_table) -> None:
    schema = pa.schema([("day", pa.timestamp("us", "UTC")), ("kind", pa.string()), ("value", pa.int64())])
    table = new_table(schema)
    with table.update_spec() as spec:
        spec.add_field("day", DayTransform()).add_field("kind", IdentityTransform())
    days = pa.array([day * 86_400_000_000 for day in range(4)], pa.int64()).cast(pa.timestamp("us", "UTC"))

    def batches() -> Iterator[pa.RecordBatch]:
        for value in range(100):
            yield pa.record_batch([days, pa.array(["a", "b", "a", None]), pa.array([value] * 4)], schema=schema)

    assert append_once(table, pa.RecordBatchReader.from_batches(schema, batches()), "run:1").rows == 400
    assert len(list(table.scan().plan_files())) == 4
    assert table.scan(row_filter="kind = 'a'").to_arrow().num_rows == 200


def test_a_reader_that_fails_leaves_no_file(new_table, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.lake.files.CHUNK_BYTES", 1)
    table = new_table()

    def batches() -> Iterator[pa.RecordBatch]:
        yield from batch_of(1).to_batches()
        raise ConnectionResetError("the source went away")

    with pytest.raises(ConnectionResetError):
        append_once(table, pa.RecordBatchReader.from_batches(batch_of(1).schema, batches()), "run:1")
    assert not [location for location in files_of(catalog, table) if not location.endswith(".json")]
    assert append_once(table, batch_of(1), "run:1").committed


@pytest.fixture
def faster_writer(no_turns: None, catalog: Catalog, catalog_properties: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Another writer that commits one row right before each of our commits, while the list holds a key for it."""
    keys: list[str] = []
    other = open_catalog(catalog.name, catalog_properties)
    commit = catalog.commit_table

    def late(table: Table, *arguments):
        if keys:
            append_once(other.load_table(table.name()), batch_of(9, rows=1), keys.pop())
        return commit(table, *arguments)

    monkeypatch.setattr(catalog, "commit_table", late)
    return keys


def test_conflicts_with_other_keys_are_overcome(new_table, faster_writer: list[str]) -> None:
    table = new_table()
    faster_writer += ["other:1", "other:2", "other:3"]
    assert append_once(table, batch_of(1), "run:1").committed
    assert table.scan().count() == 53
    assert len(table.metadata.snapshots) == 4


def test_a_conflict_with_the_same_key_ends_the_write(new_table, catalog: Catalog, faster_writer: list[str]) -> None:
    table = new_table()
    faster_writer += ["run:1"]
    result = append_once(table, batch_of(1), "run:1")
    assert (result.committed, result.rows) == (False, 1)
    assert table.scan().count() == 1
    assert len(data_files(catalog, table)) == 1, "the loser's file is gone"


def test_patience_ends_with_an_error_and_without_files(new_table, catalog: Catalog, faster_writer: list[str]) -> None:
    table = new_table()
    faster_writer += [f"other:{number}" for number in range(500)]
    with pytest.raises(CommitConflictError, match=r"other writers were faster \d+ times in 3 s; nothing of run:1 was written"):
        append_once(table, batch_of(1), "run:1", patience=3)
    table.refresh()
    assert 0 < table.scan().count() < 500
    assert len(data_files(catalog, table)) == table.scan().count()


def test_data_that_does_not_fit_is_refused_before_anything_is_written(new_table) -> None:
    table = new_table()
    with pytest.raises(SchemaMismatchError, match=r"column surprise: found a column the table does not have"):
        append_once(table, batch_of(1).append_column("surprise", pa.array([1] * 50)), "run:1")
    assert table.metadata.snapshots == []


def test_evolve_adds_columns(new_table) -> None:
    table = new_table()
    append_once(table, batch_of(1), "run:1")
    result = append_once(table, batch_of(2).append_column("new", pa.array([7] * 50)), "run:2", evolve=True)
    assert result.committed
    assert table.scan(row_filter="new = 7").to_arrow().num_rows == 50
    assert table.scan(row_filter="new is null").to_arrow().num_rows == 50
    assert overwrite(table, batch_of(3), "run:3").replaced == 100
