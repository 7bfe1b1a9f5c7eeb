"""Trino does what it does best, reads what maintenance leaves, and writes while it runs."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import trino
from pyiceberg.catalog import Catalog
from trino.dbapi import Connection

from include.config.environments import current_environment, lake_connection
from include.lake.catalog import ensure_schema, ensure_table, open_catalog
from include.lake.maintenance.run import Lake, Work
from include.lake.maintenance.statements import Action, TrinoEngine
from include.lake.names import TableRef
from include.lake.rights import ForbiddenError
from include.local.platform import Platform
from tests.lake.conftest import CATALOG, ROWS

from .conftest import LATER, POLICY, Night, content, rows

pytestmark = pytest.mark.lake


@pytest.fixture(scope="module")
def shared(lake: Platform) -> Catalog:
    return open_catalog(current_environment())


@pytest.fixture
def night(shared: Catalog) -> Iterator[Night]:
    """A schema of its own with a real engine."""
    name = f"tests_{secrets.token_hex(4)}"
    ensure_schema(shared, name)
    yield Night(shared, name, engine=TrinoEngine(lake_connection))  # type: ignore[arg-type]
    for table in shared.list_tables(name):
        shared.drop_table(table)
    shared.drop_namespace(name)


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


def test_readers_and_writers_beside_maintenance(night: Night, connection: Connection) -> None:
    """A reader holds a retained snapshot, Trino and pyiceberg write, maintenance runs again and again."""
    ref = TableRef(CATALOG, night.schema, "busy")
    table = ensure_table(night.catalog, ref, ROWS)
    for number in range(5):
        table.append(rows(number))
    held = table.metadata.current_snapshot_id
    stop, failures, read = threading.Event(), [], []

    def guarded(work) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - judged at the end
            failures.append(error)

    def reader() -> None:
        while not stop.is_set():
            assert content(table, held) == list(range(5))
            read.append(1)

    def by_pyiceberg() -> None:
        for number in range(100, 115):
            for _ in range(20):
                try:
                    night.catalog.load_table(ref.identifier).append(rows(number))
                    break
                except Exception as error:
                    if "Commit" not in type(error).__name__:
                        raise

    def by_trino() -> None:
        for number in range(200, 208):
            ask(connection, f"INSERT INTO {ref.sql} VALUES ({number}, 0, 'trino')")

    threads = [threading.Thread(target=guarded, args=[work]) for work in (reader, by_pyiceberg, by_trino)]
    for thread in threads:
        thread.start()
    lake = Lake(night.catalog, night.engine, "ol_warehouse")
    policy = replace(POLICY, retention=timedelta(seconds=60), orphan_age=timedelta(seconds=41), small_files=6)
    runs = 0
    while any(thread.is_alive() for thread in threads[1:]) or runs < 3:
        # by the run's clock snapshots end after 27 s, and what is 8 s old is past the orphan age: longer than any write here takes
        tables = lake.tables([night.schema])
        found = lake.maintain(tables, [Work(one, policy) for one in tables[night.schema]], {}, datetime.now(UTC) + timedelta(seconds=33))
        assert not [one.error for one in found.outcomes if one.error and "BusyTable" not in one.error and "Conflict" not in one.error]
        runs += 1
    stop.set()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert read
    assert content(night.catalog.load_table(ref.identifier)) == [*range(5), *range(100, 115), *range(200, 208)]


def test_statements_ask_for_rights_first() -> None:
    def nowhere() -> None:
        raise AssertionError("asked for an address")

    engine = TrinoEngine(nowhere)  # type: ignore[arg-type]
    for action in Action:
        with pytest.raises(ForbiddenError, match="production"):
            engine.run(action, TableRef("ol_data_lake_production", "ol_warehouse_production_mart", "t"), 1)
