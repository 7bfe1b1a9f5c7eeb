"""Maintenance of tables on both kinds of catalog and store: what expires, what is taken away, what stays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from pyiceberg.table import Table

from include.lake.maintenance.quarantine import chosen, quarantine_of
from include.lake.metadata import pointer, publish, read_document, register
from include.lake.objects import store_of

from .conftest import LATER, NOW, Night, bytes_of, content, files_of, rows, with_policy

Make = Callable[..., Table]


def test_expired_snapshots_and_their_files_go_and_the_rows_stay(night: Night, new: Make) -> None:
    table = new(5)
    table.overwrite(rows(99))
    before = content(table)
    outcome = night.one(table.name()[1])
    table.refresh()
    assert outcome.done == ("expire", "orphans")
    assert len(table.metadata.snapshots) == 1
    assert outcome.expired == 6
    assert content(table) == before == [99]
    assert outcome.moved == outcome.files_before + 1 - outcome.files_after
    data = [name for name in files_of(night, table) if name.endswith(".parquet")]
    assert len(data) == 1
    table.append(rows(7))  # writers go on from there
    assert content(night.catalog.load_table(table.name())) == [7, 99]


def test_every_snapshot_within_its_retention_stays_readable(night: Night, new: Make) -> None:
    table = new(6)
    expected = {one.snapshot_id: content(table, one.snapshot_id) for one in table.metadata.snapshots}
    outcome = night.one(table.name()[1], NOW + timedelta(days=5))  # past the orphan age, within the retention
    table.refresh()
    assert outcome.expired == 0
    assert {one.snapshot_id: content(table, one.snapshot_id) for one in table.metadata.snapshots} == expected


def test_tags_branches_and_their_files_stay(night: Night, new: Make) -> None:
    table = new(3)
    tagged = table.metadata.current_snapshot_id
    table.manage_snapshots().create_tag(tagged, "clone_pr_1523").commit()
    table.overwrite(rows(50))
    branched = table.metadata.current_snapshot_id
    table.manage_snapshots().create_branch(branched, "audit").commit()
    table.overwrite(rows(51))
    table.overwrite(rows(52))
    outcome = night.one(table.name()[1])
    table.refresh()
    assert outcome.expired > 0
    assert set(table.metadata.refs) == {"main", "clone_pr_1523", "audit"}
    assert content(table, tagged) == [0, 1, 2]
    assert content(table, branched) == [50]
    assert content(table) == [52]


def test_an_unchanged_table_costs_no_read(night: Night, new: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    new(3), new(2)
    assert not any(one.error for one in night.run().outcomes)
    read: list[str] = []
    store = store_of(night.catalog)
    kind = type(store)
    monkeypatch.setattr(kind, "read", lambda _self, location: read.append(location))
    again = night.run(LATER + timedelta(hours=1))
    assert [one.skipped for one in again.outcomes] == [("unchanged",)] * len(again.outcomes)
    assert read == []


def test_what_becomes_due_is_looked_at_without_a_change(night: Night, new: Make) -> None:
    table = new(3)
    assert night.one(table.name()[1], NOW + timedelta(days=1)).expired == 0
    assert night.one(table.name()[1], NOW + timedelta(days=2)).skipped == ("unchanged",)
    assert night.one(table.name()[1], NOW + timedelta(days=8)).expired == 3 - 1


def test_a_dry_run_changes_nothing_and_says_the_same(night: Night, new: Make) -> None:
    table = new(4)
    table.overwrite(rows(9))
    before = bytes_of(night), pointer(night.catalog, *table.name())
    planned = night.one(table.name()[1], dry_run=True)
    assert (bytes_of(night), pointer(night.catalog, *table.name())) == before
    real = night.one(table.name()[1])
    assert (planned.done, planned.expired, planned.moved, planned.bytes_before) == (real.done, real.expired, real.moved, real.bytes_before)


def test_restore_brings_back_everything(night: Night, new: Make) -> None:
    table = new(4)
    table.overwrite(rows(9))
    before = bytes_of(night)
    old = pointer(night.catalog, *table.name())
    document = read_document(store_of(night.catalog), old.location)
    assert night.one(table.name()[1]).moved > 0
    quarantine = quarantine_of(night.catalog)
    files = chosen(quarantine.files(), below=table.location(), since=LATER.date())
    assert quarantine.restore(files) == len(files) > 0
    after = bytes_of(night)
    assert {name: after.get(name) for name in before} == before
    now = pointer(night.catalog, *table.name())
    publish(night.catalog, store_of(night.catalog), now, read_document(store_of(night.catalog), now.location), document)
    table.refresh()
    assert content(table, document.snapshots[2]["snapshot-id"]) == [0, 1, 2]


def test_orphans_wait_for_their_age(night: Night, new: Make) -> None:
    table = new(1)
    name = f"{table.location()}/data/left-behind.parquet"
    store_of(night.catalog).create(name, b"half a file")
    assert night.one(table.name()[1], NOW + timedelta(days=2)).moved == 0
    assert name in files_of(night, table)
    assert night.one(table.name()[1], NOW + timedelta(days=4)).moved == 1
    assert name not in files_of(night, table)
    assert content(table) == [0]


def test_a_new_orphan_in_an_unchanged_table_is_seen(night: Night, new: Make) -> None:
    table = new(1)
    night.one(table.name()[1], NOW + timedelta(days=4))
    store_of(night.catalog).create(f"{table.location()}/data/left-behind.parquet", b"half a file")
    assert night.one(table.name()[1], NOW + timedelta(days=9)).moved == 1


def test_a_shared_folder_is_left_alone(night: Night, new: Make) -> None:
    table = new(3)
    register(night.catalog, night.schema, f"{table.name()[1]}_again", pointer(night.catalog, *table.name()).location)
    before = files_of(night, table)
    for outcome in night.run().outcomes:
        if outcome.table.startswith(table.name()[1]):
            assert any("its folder is that of" in reason for reason in outcome.skipped)
            assert outcome.moved == 0
    assert set(before) <= set(files_of(night, table))


def test_a_folder_within_another_is_left_alone(night: Night, new: Make) -> None:
    outer = new(2)
    night.catalog.create_table((night.schema, "inner"), outer.schema(), f"{outer.location()}/data/inner")
    night.catalog.load_table((night.schema, "inner")).append(rows(1))
    found = {one.table: one for one in night.run().outcomes}
    assert "lies in it" in found[outer.name()[1]].skipped[0]
    assert "lies in that of" in found["inner"].skipped[0]
    assert found["inner"].moved == found[outer.name()[1]].moved == 0


def test_clones_are_not_touched(night: Night, new: Make) -> None:
    table = new(3, properties={"gc.enabled": "false", "ol.clone-of": "raw.base"})
    before = bytes_of(night)
    assert night.one(table.name()[1]).skipped == ("gc.enabled is false, a clone of raw.base",)
    assert bytes_of(night) == before


def test_a_table_can_be_switched_off(night: Night, new: Make) -> None:
    table = new(3)
    night.policy = with_policy(enabled=False)
    assert night.one(table.name()[1]).skipped == ("switched off in dbt's meta",)


def test_a_damaged_manifest_is_an_error_and_nothing_is_taken_away(night: Night, new: Make) -> None:
    table = new(3)
    victim = table.metadata.current_snapshot().manifests(table.io)[0].manifest_path
    store = store_of(night.catalog)
    whole = store.read(victim)
    store.delete([victim])
    store.create(victim, whole[:-20])
    before = set(files_of(night, table))
    failed = next(one for one in night.run().outcomes if one.table == table.name()[1])
    assert victim in failed.error
    assert "as its manifest list says" in failed.error
    assert before <= set(files_of(night, table))


def test_the_metadata_log_is_cut_and_its_files_go(night: Night, new: Make) -> None:
    table = new(8)
    night.policy = with_policy(metadata_files=2)
    night.one(table.name()[1])
    table.refresh()
    assert len(table.metadata.metadata_log) == 2
    left = [name for name in files_of(night, table) if name.endswith(".metadata.json")]
    assert len(left) == 3


def test_another_writer_comes_first(night: Night, new: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    table = new(4)
    once: list[int] = []

    def overtaken(*arguments):
        if not once:
            once.append(1)
            night.catalog.load_table(table.name()).append(rows(70))
        return publish(*arguments)

    monkeypatch.setattr("include.lake.maintenance.tables.publish", overtaken)
    assert night.one(table.name()[1]).expired == 4
    table.refresh()
    assert content(table) == [0, 1, 2, 3, 70]
