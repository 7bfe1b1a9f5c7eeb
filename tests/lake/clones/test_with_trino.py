"""Clones beside the real Trino: it writes and maintains them, and its base stays as it is."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trino
from trino.dbapi import Connection

from include.lake.clones.create import Done, create_clone
from include.lake.clones.documents import GUARD
from include.lake.clones.drop import plan_clone_drop, remove
from include.lake.clones.names import Lake
from tests.lake.test_with_trino import rows

from .tables import PR, base_of, clone_name, clone_of, content, everything_below, new_table, rows_of, seen, tags_of

pytestmark = pytest.mark.lake


def quoted(name: tuple[str, str]) -> str:
    return ".".join(f'"{part}"' for part in name)


def test_a_clone_is_written_by_both_engines_and_its_base_is_not(beside_trino: Lake, connection: Connection) -> None:
    base = new_table(beside_trino, "orders")
    (cloned,) = create_clone(beside_trino, PR)
    assert (cloned.name, cloned.done, cloned.snapshot_id) == ("mart.orders", Done.CLONED, base.metadata.current_snapshot_id)
    before = seen(beside_trino, base)
    name = clone_name(beside_trino, "orders")
    sql = quoted(name)
    assert rows(connection, f"SELECT count(*), sum(id) FROM {sql}") == [[6, 15]]
    rows(connection, f"INSERT INTO {sql} VALUES (100, 'trino')")
    source = "(VALUES (1, 'merged'), (101, 'merged')) AS new (id, text)"
    merge = "WHEN MATCHED THEN UPDATE SET text = new.text WHEN NOT MATCHED THEN INSERT VALUES (new.id, new.text)"
    rows(connection, f"MERGE INTO {sql} AS kept USING {source} ON kept.id = new.id {merge}")
    rows(connection, f"DELETE FROM {sql} WHERE id = 0")
    clone_of(beside_trino, "orders").append(rows_of(200, 2, "pyiceberg"))
    rows(connection, f"ALTER TABLE {sql} EXECUTE optimize")
    rows(connection, f"ALTER TABLE {sql} EXECUTE optimize_manifests")
    rows(connection, f"ANALYZE {sql}")
    with pytest.raises(trino.exceptions.TrinoExternalError, match="Error accessing manifest file"):  # the guard's
        rows(connection, f"ALTER TABLE {sql} EXECUTE remove_orphan_files(retention_threshold => '0s')")
    expected = [[1, "merged"], [2, "base"], [3, "base"], [4, "base"], [5, "base"], [100, "trino"], [101, "merged"], [200, "pyiceberg"], [201, "pyiceberg"]]
    assert rows(connection, f"SELECT id, text FROM {sql} ORDER BY id") == expected
    assert content(clone_of(beside_trino, "orders")) == tuple((number, text) for number, text in expected)
    assert seen(beside_trino, base) == before
    rows(connection, f"CREATE OR REPLACE TABLE {sql} AS SELECT bigint '7' AS id, varchar 'replaced' AS text")
    assert content(clone_of(beside_trino, "orders")) == ((7, "replaced"),)
    assert seen(beside_trino, base) == before
    remove(beside_trino, plan_clone_drop(beside_trino, PR))
    assert seen(beside_trino, base) == before
    assert tags_of(beside_trino, base) == {}
    assert everything_below(beside_trino, f"{beside_trino.environment.lake.schema_prefix}_mart_pr_{PR}") == []


WRITES = {
    "fresh": "SELECT 1",
    "written": "INSERT INTO {} VALUES (100, 'trino')",
    "replaced": "CREATE OR REPLACE TABLE {} AS SELECT bigint '7' AS id, varchar 'replaced' AS text",
}


@pytest.mark.parametrize("written", WRITES)
def test_no_statement_of_trino_takes_files_of_the_base(beside_trino: Lake, connection: Connection, written: str) -> None:
    """Trino's DROP TABLE deletes what a table names, its expiry what no snapshot names any more: of a clone, neither takes anything of the base."""
    base = new_table(beside_trino, "orders", properties={"history.expire.max-ref-age-ms": "1"})
    before_tag = content(base)
    create_clone(beside_trino, PR)
    before = seen(beside_trino, base)
    schema, table = clone_name(beside_trino, "orders")
    sql = quoted((schema, table))
    folder = clone_of(beside_trino, "orders").location()
    rows(connection, WRITES[written].format(sql))
    shown = rows(connection, f"SELECT * FROM {sql} ORDER BY id")
    for statement in (f"ALTER TABLE {sql} EXECUTE {what}(retention_threshold => '0s')" for what in ("expire_snapshots", "remove_orphan_files")):
        with suppress(trino.exceptions.TrinoQueryError):  # some are refused; what counts is what is left
            rows(connection, statement)
        assert seen(beside_trino, base) == before
        assert rows(connection, f"SELECT * FROM {sql} ORDER BY id") == shown
    rows(connection, f"DROP TABLE {sql}")
    assert everything_below(beside_trino, folder) == []
    assert seen(beside_trino, base) == before
    assert before.rows == before_tag
    create_clone(beside_trino, PR)
    rows(connection, WRITES[written].format(sql))
    rows(connection, f'DROP SCHEMA "{schema}" CASCADE')
    assert seen(beside_trino, base) == before


def test_without_the_guard_one_statement_makes_the_base_unreadable(beside_trino: Lake, connection: Connection) -> None:
    """Why there is a guard. A Trino that no longer does so makes this test fail: then look whether it is still needed."""
    base = new_table(beside_trino, "orders")
    create_clone(beside_trino, PR)
    clone = clone_of(beside_trino, "orders")
    guard = clone.metadata.refs[GUARD].snapshot_id
    clone.manage_snapshots().remove_tag(GUARD).commit()
    clone.maintenance.expire_snapshots().by_id(guard).commit()
    rows(connection, f"DROP TABLE {quoted(clone_name(beside_trino, 'orders'))}")
    with pytest.raises(FileNotFoundError):
        content(base)


def test_the_base_may_be_rebuilt_and_expired_while_a_clone_reads_it(beside_trino: Lake, connection: Connection) -> None:
    base = new_table(beside_trino, "orders")
    create_clone(beside_trino, PR)
    before = content(clone_of(beside_trino, "orders"))
    sql = quoted(base.name())
    rows(connection, f"CREATE OR REPLACE TABLE {sql} AS SELECT bigint '9' AS id, varchar 'new' AS text")
    rows(connection, f"INSERT INTO {sql} VALUES (10, 'newer')")
    rows(connection, f"ALTER TABLE {sql} EXECUTE expire_snapshots(retention_threshold => '0s')")
    rows(connection, f"ALTER TABLE {sql} EXECUTE remove_orphan_files(retention_threshold => '0s')")
    assert content(base_of(beside_trino, "orders")) == ((9, "new"), (10, "newer"))
    assert content(clone_of(beside_trino, "orders")) == before
    assert rows(connection, f"SELECT count(*) FROM {quoted(clone_name(beside_trino, 'orders'))}") == [[6]]
    remove(beside_trino, plan_clone_drop(beside_trino, PR))
    rows(connection, f"ALTER TABLE {sql} EXECUTE expire_snapshots(retention_threshold => '0s')")
    assert len(base_of(beside_trino, "orders").metadata.snapshots) == 1


def test_views_are_not_cloned_and_those_of_a_pull_request_go_with_it(beside_trino: Lake, connection: Connection) -> None:
    base = new_table(beside_trino, "orders")
    rows(connection, f'CREATE VIEW "{base.name()[0]}"."orders_seen" AS SELECT id FROM {quoted(base.name())}')
    done = create_clone(beside_trino, PR)
    assert [(one.name, one.done) for one in done] == [("mart.orders", Done.CLONED), ("mart.orders_seen", Done.SKIPPED)]
    assert done[1].reason == "a view: it holds no data that could be cloned"
    schema = clone_name(beside_trino, "orders")[0]
    rows(connection, f'CREATE VIEW "{schema}"."mine" AS SELECT text FROM {quoted(clone_name(beside_trino, "orders"))}')
    rows(connection, f'CREATE TABLE "{schema}"."built" AS SELECT 1 AS one')
    plan = plan_clone_drop(beside_trino, PR)
    assert [table.table for table in plan.tables] == ["built", "orders"]
    assert plan.views == ((schema, "mine"),)
    remove(beside_trino, plan)
    assert everything_below(beside_trino, f"{schema}/") == []
    assert rows(connection, f"SHOW SCHEMAS LIKE '{schema}'") == []
    assert rows(connection, f'SELECT count(*) FROM "{base.name()[0]}"."orders_seen"') == [[6]]
    rows(connection, f'DROP VIEW "{base.name()[0]}"."orders_seen"')
