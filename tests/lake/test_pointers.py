"""Tables with the marks of a sync that died: found, mended under the lock, and nothing is published that was not committed to main."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from include.lake import metadata
from include.lake.catalog import ensure_table
from include.lake.metadata import MAIN, Document, PointerMovedError, pointer, publish, read_document
from include.lake.names import TableRef
from include.lake.objects import ObjectStore, store_of
from include.lake.pointers import Ailment, Rules, examine, repair, scan
from tests.lake.forms import FORMS, Form, form_named

from .conftest import ROWS

NOW = datetime.now(UTC)
RULES = Rules(("airbyte_staging*",), timedelta(hours=26), NOW + timedelta(hours=1))
LATER = Rules(("airbyte_staging*",), timedelta(hours=26), NOW + timedelta(hours=30))


@pytest.fixture(scope="module", params=FORMS)
def lake(request: pytest.FixtureRequest, local_form: Form) -> Iterator[Catalog]:
    """Both kinds of catalog, local files and S3."""
    with form_named(request.param, local_form) as form:
        yield form.open()


@pytest.fixture
def store(lake: Catalog) -> ObjectStore:
    return store_of(lake)


@pytest.fixture
def schema(lake: Catalog) -> str:
    return "ol_warehouse_local_raw" if lake.name.endswith("local") else "ol_warehouse_qa_raw"


@pytest.fixture
def table(lake: Catalog, schema: str, request: pytest.FixtureRequest) -> Iterator[Table]:
    name = f"pointer_{abs(hash(request.node.name)) % 10**8}"
    made = ensure_table(lake, TableRef(lake.name, schema, name), ROWS)
    for number in range(3):
        made.append(rows(number))
    yield made
    lake.drop_table((schema, name))


def rows(batch: int) -> pa.Table:
    return pa.table({"batch": [batch], "number": [batch], "text": ["x"]}, schema=ROWS)


def damage(lake: Catalog, store: ObjectStore, table: Table, change: Callable[[Document], Document]) -> None:
    one = pointer(lake, *table.name())
    document = read_document(store, one.location)
    publish(lake, store, one, document, change(document))


def examined(lake: Catalog, store: ObjectStore, table: Table, rules: Rules = RULES) -> list[Ailment]:
    one = pointer(lake, *table.name())
    return [finding.ailment for finding in examine(one, read_document(store, one.location), rules)]


def batches(table: Table) -> list[int]:
    table.refresh()
    return sorted(table.scan().to_arrow()["batch"].to_pylist())


def test_a_current_snapshot_that_lags_is_moved_to_main(lake: Catalog, store: ObjectStore, table: Table) -> None:
    first, *_, last = [snapshot["snapshot-id"] for snapshot in read_document(store, pointer(lake, *table.name()).location).snapshots]
    damage(lake, store, table, lambda old: old.changed(current_snapshot_id=first, snapshot_log=list(old.data["snapshot-log"])[:1]))
    assert examined(lake, store, table) == [Ailment.LAGS]
    before = pointer(lake, *table.name())
    done = repair(lake, store, *table.name(), RULES)
    assert [finding.ailment for finding in done.mended] == [Ailment.LAGS]
    after = read_document(store, done.location)
    assert after.current_snapshot_id == after.refs[MAIN]["snapshot-id"] == last
    assert after.data["snapshot-log"][-1]["snapshot-id"] == last
    log = after.data["metadata-log"]
    assert before.location in [entry["metadata-file"] for entry in log]
    assert log == sorted(log, key=lambda entry: entry["timestamp-ms"])
    assert len({entry["metadata-file"] for entry in log}) == len(log)
    version = int(before.location.rpartition("/")[2].partition("-")[0])
    assert done.location.rpartition("/")[2].startswith(f"{version + 1:05d}-")
    assert batches(table) == [0, 1, 2]
    table.append(rows(3))  # the next writer goes on
    assert batches(table) == [0, 1, 2, 3]
    assert repair(lake, store, *table.name(), RULES).mended == ()


def test_a_dead_staging_branch_goes_and_is_never_published(lake: Catalog, store: ObjectStore, table: Table) -> None:
    table.manage_snapshots().create_branch(table.current_snapshot().snapshot_id, "airbyte_staging_7").commit()
    table.append(rows(99), branch="airbyte_staging_7")
    assert examined(lake, store, table) == []  # a sync may still be running
    assert examined(lake, store, table, LATER) == [Ailment.ABORTED_BRANCH]
    repair(lake, store, *table.name(), LATER)
    assert batches(table) == [0, 1, 2]
    assert set(table.metadata.refs) == {MAIN}


def test_both_at_once_publishes_main_and_not_the_newest(lake: Catalog, store: ObjectStore, table: Table) -> None:
    table.manage_snapshots().create_branch(table.current_snapshot().snapshot_id, "airbyte_staging").commit()
    table.append(rows(99), branch="airbyte_staging")
    first = table.metadata.snapshots[0].snapshot_id
    damage(lake, store, table, lambda old: old.changed(current_snapshot_id=first, snapshot_log=[]))
    assert examined(lake, store, table, LATER) == [Ailment.LAGS, Ailment.ABORTED_BRANCH]
    repair(lake, store, *table.name(), LATER)
    assert batches(table) == [0, 1, 2]


def test_other_branches_and_tags_are_left(lake: Catalog, store: ObjectStore, table: Table) -> None:
    head = table.current_snapshot().snapshot_id
    table.manage_snapshots().create_branch(head, "audit").create_tag(head, "clone_pr_7").commit()
    assert examined(lake, store, table, LATER) == []


def test_a_pointer_off_mains_line_is_refused(lake: Catalog, store: ObjectStore, table: Table) -> None:
    table.manage_snapshots().create_branch(table.current_snapshot().snapshot_id, "side").commit()
    table.append(rows(99), branch="side")
    side = table.metadata.refs["side"].snapshot_id
    damage(lake, store, table, lambda old: old.changed(current_snapshot_id=side))
    before = pointer(lake, *table.name())
    done = repair(lake, store, *table.name(), RULES)
    assert Ailment.DIVERGED.value in done.refused
    assert str(side) in done.refused
    assert pointer(lake, *table.name()) == before


def test_a_writer_that_is_faster_keeps_its_commit(lake: Catalog, store: ObjectStore, table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    first = table.metadata.snapshots[0].snapshot_id
    damage(lake, store, table, lambda old: old.changed(current_snapshot_id=first, snapshot_log=[]))
    swap, interfered = metadata._swap, []

    def interfere(catalog: Any, current: Any, location: str, document: Any) -> bool:
        if not interfered:
            interfered.append(location)
            moved = pointer(lake, *table.name())
            old = read_document(store, moved.location)
            publish(lake, store, moved, old, old.changed(properties={**old.properties, "faster": "yes"}))
        return swap(catalog, current, location, document)

    monkeypatch.setattr(metadata, "_swap", interfere)
    done = repair(lake, store, *table.name(), RULES)
    assert done.mended
    assert read_document(store, done.location).properties["faster"] == "yes"
    assert not store.exists(interfered[0])  # the loser's file is taken back
    assert batches(table) == [0, 1, 2]


def test_a_stale_pointer_cannot_be_published(lake: Catalog, store: ObjectStore, table: Table) -> None:
    stale = pointer(lake, *table.name())
    document = read_document(store, stale.location)
    table.append(rows(5))
    with pytest.raises(PointerMovedError, match=table.name()[1]):
        publish(lake, store, stale, document, document)
    assert batches(table) == [0, 1, 2, 5]


def test_a_scan_names_every_table_and_a_file_that_is_damaged(lake: Catalog, store: ObjectStore, table: Table, schema: str) -> None:
    damaged = ensure_table(lake, TableRef(lake.name, schema, "pointer_damaged"), ROWS)
    try:
        location = pointer(lake, *damaged.name()).location
        store.delete([location])
        store.create(location, b"<html>")
        found = {finding.table: finding for finding in scan(lake, store, schema, RULES)}
        assert found.keys() == {"pointer_damaged"}
        assert found["pointer_damaged"].ailment is Ailment.UNREADABLE
        assert location in str(found["pointer_damaged"])
    finally:
        metadata_rows(lake, schema, "pointer_damaged")


def metadata_rows(lake: Catalog, schema: str, name: str) -> None:
    """The damaged table's entry goes; pyiceberg would read the file first."""
    if hasattr(lake, "glue"):
        lake.glue.delete_table(DatabaseName=schema, Name=name)
    else:
        lake.drop_table((schema, name))
