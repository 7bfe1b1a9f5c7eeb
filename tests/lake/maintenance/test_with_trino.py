"""Trino does what it does best, reads what maintenance leaves, and writes while it runs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import trino
from trino.dbapi import Connection

from include.lake.catalog import ensure_table
from include.lake.maintenance.statements import Action, TrinoEngine
from include.lake.names import TableRef
from include.lake.rights import ForbiddenError
from include.local.platform import Platform
from tests.lake.conftest import CATALOG, ROWS

from .conftest import LATER, POLICY, Night, content, rows

pytestmark = pytest.mark.lake


@pytest.fixture
def night(trino_night: Night) -> Night:
    """Not that of the other modules, which run over each form of a lake without an engine."""
    return trino_night


@pytest.fixture
def connection(lake: Platform) -> Iterator[Connection]:
    address = lake.trino
    with trino.dbapi.connect(host=address.host, port=address.port, user=address.user, catalog=address.catalog, http_scheme=address.http_scheme) as opened:
        yield opened


def ask(connection: Connection, statement: str) -> list[list]:
    cursor = connection.cursor()
    cursor.execute(statement)
    return cursor.fetchall()


def test_small_files_many_manifests_and_missing_statistics_are_mended_once(night: Night, connection: Connection) -> None:
    ref = TableRef(CATALOG, night.schema, "many")
    table = ensure_table(night.catalog, ref, ROWS)
    for number in range(8):
        table.append(rows(number))
    night.policy = replace(POLICY, small_files=5, analyze_after_commits=5)
    planned = night.one("many", dry_run=True)
    outcome = night.one("many")
    assert outcome.done == ("optimise", "expire", "orphans", "analyse")
    assert planned.done[0] == "optimise"
    assert planned.done[-1] == "analyse"
    table.refresh()
    assert content(table) == list(range(8))
    assert ask(connection, f"SELECT count(*), sum(batch) FROM {ref.sql}") == [[8, 28]]
    assert len(list(table.inspect.files().to_pylist())) == 1
    assert [one for one in table.metadata.statistics if one.blob_metadata]
    assert night.one("many", LATER + timedelta(hours=1)).skipped == ("unchanged",)


def test_manifests_are_joined(night: Night) -> None:
    table = ensure_table(night.catalog, TableRef(CATALOG, night.schema, "manifests"), ROWS)
    for number in range(7):
        table.append(rows(number))
    night.policy = replace(POLICY, manifests=6)
    assert "manifests" in night.one("manifests").done
    table.refresh()
    assert len(table.metadata.current_snapshot().manifests(table.io)) == 1
    assert content(table) == list(range(7))


def test_tables_that_trino_wrote(night: Night, connection: Connection) -> None:
    """Deletes by position, a merge, a partitioned table: every reader sees the same rows before and after."""
    ref = TableRef(CATALOG, night.schema, "by_trino")
    ask(connection, f"CREATE TABLE {ref.sql} (id bigint, part varchar) WITH (partitioning = ARRAY['part'])")
    for number in range(4):
        ask(connection, f"INSERT INTO {ref.sql} VALUES ({number}, 'a'), ({number + 10}, 'b')")
    ask(connection, f"DELETE FROM {ref.sql} WHERE id IN (1, 12)")
    ask(connection, f"MERGE INTO {ref.sql} t USING (VALUES (2, 'c')) s(id, part) ON t.id = s.id WHEN MATCHED THEN UPDATE SET part = s.part")
    ask(connection, f"ANALYZE {ref.sql}")
    expected = ask(connection, f"SELECT id, part FROM {ref.sql} ORDER BY id")
    outcome = night.one("by_trino")
    assert outcome.expired > 4
    assert outcome.moved > 4
    assert ask(connection, f"SELECT id, part FROM {ref.sql} ORDER BY id") == expected
    ask(connection, f"INSERT INTO {ref.sql} VALUES (77, 'b')")
    assert night.catalog.load_table(ref.identifier).scan().to_arrow().num_rows == len(expected) + 1


def test_a_replaced_table_keeps_its_history_apart(night: Night, connection: Connection) -> None:
    ref = TableRef(CATALOG, night.schema, "replaced")
    for number in range(3):
        ask(connection, f"CREATE OR REPLACE TABLE {ref.sql} AS SELECT {number} AS id")
    night.one("replaced")
    assert ask(connection, f"SELECT id FROM {ref.sql}") == [[2]]


@pytest.mark.parametrize("statement", ["CREATE OR REPLACE TABLE {0} AS SELECT 2 AS id", "DELETE FROM {0}", "INSERT INTO {0} VALUES 2"])
def test_a_table_can_be_read_as_it_was_within_the_retention(night: Night, connection: Connection, statement: str) -> None:
    """It had not changed for longer than the retention when something took its place: whoever read it a moment before goes on."""
    ref = TableRef(CATALOG, night.schema, "seldom")
    ask(connection, f"CREATE TABLE {ref.sql} AS SELECT 1 AS id")
    time.sleep(3)
    ask(connection, statement.format(ref.sql))
    old, new = night.catalog.load_table(ref.identifier).metadata.snapshots[-2:]
    assert new.timestamp_ms - old.timestamp_ms >= 3000
    night.policy = replace(POLICY, retention=timedelta(seconds=2), orphan_age=timedelta(milliseconds=1))
    replaced = datetime.fromtimestamp(new.timestamp_ms / 1000, UTC)
    night.one("seldom", replaced + timedelta(seconds=1))
    assert ask(connection, f"SELECT id FROM {ref.sql} FOR VERSION AS OF {old.snapshot_id}") == [[1]]
    assert night.one("seldom", replaced + timedelta(seconds=3)).expired == 1
    assert night.catalog.load_table(ref.identifier).metadata.snapshot_by_id(old.snapshot_id) is None


def test_statements_ask_for_rights_first() -> None:
    def nowhere() -> None:
        raise AssertionError("asked for an address")

    engine = TrinoEngine(nowhere)  # type: ignore[arg-type]
    for action in Action:
        with pytest.raises(ForbiddenError, match="production"):
            engine.run(action, TableRef("ol_data_lake_production", "ol_warehouse_production_mart", "t"), 1)
