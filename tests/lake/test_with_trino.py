"""One lake, two engines: what one writes the other reads, and both write at once."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator
from multiprocessing.context import ForkServerContext

import pyarrow as pa
import pytest
import trino
from pyiceberg.catalog import Catalog
from trino.dbapi import Connection

from include.config.environments import current_environment
from include.lake.catalog import ensure_schema, ensure_table, open_catalog
from include.lake.names import TableRef
from include.lake.snapshots import state_of
from include.lake.writes import append_once, merge, overwrite, overwrite_partition
from include.local.platform import Platform

from . import children
from .children import ROWS_PER_BATCH, batch_of
from .conftest import CATALOG, ROWS

pytestmark = pytest.mark.lake


@pytest.fixture(scope="module")
def shared(lake: Platform) -> Catalog:
    """The catalog that Trino has."""
    return open_catalog(current_environment())


@pytest.fixture
def connection(lake: Platform) -> Iterator[Connection]:
    address = lake.trino
    with trino.dbapi.connect(host=address.host, port=address.port, user=address.user, catalog=address.catalog, http_scheme=address.http_scheme) as opened:
        yield opened


@pytest.fixture
def schema(shared: Catalog) -> Iterator[str]:
    name = f"tests_{secrets.token_hex(4)}"
    ensure_schema(shared, name)
    yield name
    for table in shared.list_tables(name):
        shared.drop_table(table)
    shared.drop_namespace(name)


def rows(connection: Connection, statement: str) -> list[list]:
    cursor = connection.cursor()
    cursor.execute(statement)
    return cursor.fetchall()


def test_trino_reads_what_jobs_write(shared: Catalog, schema: str, connection: Connection) -> None:
    reference = TableRef(CATALOG, schema, "learners")
    table = ensure_table(shared, reference, ROWS)
    append_once(table, batch_of(1), "run:1")
    overwrite_partition(table, batch_of(2), "batch = 2", "run:2")
    merge(table, batch_of(1, rows=60), ["batch", "number"], "run:3")
    assert rows(connection, f"SELECT batch, count(*), min(text) FROM {reference.sql} GROUP BY 1 ORDER BY 1") == [[1, 60, "1-0"], [2, 50, "2-0"]]
    keys = rows(connection, f"""SELECT summary['run-key'] FROM "{reference.catalog}"."{schema}"."learners$snapshots" ORDER BY committed_at""")
    assert keys == [["run:1"], ["run:2"], ["run:3"]]


def test_jobs_read_and_write_what_trino_makes(shared: Catalog, schema: str, connection: Connection) -> None:
    reference = TableRef(CATALOG, schema, "made_by_trino")
    rows(
        connection,
        f"""CREATE TABLE {reference.sql} (id bigint NOT NULL, name varchar, day date, at timestamp(6) with time zone)
        WITH (partitioning = ARRAY['day'])""",
    )
    values = "(1, 'a', date '2026-11-20', timestamp '2026-11-20 10:00:00 UTC'), (2, NULL, NULL, NULL), (3, 'c', date '2026-11-20', NULL)"
    rows(connection, f"INSERT INTO {reference.sql} VALUES {values}")
    rows(connection, f"DELETE FROM {reference.sql} WHERE id = 3")  # a positional delete: the row is still in its file
    table = shared.load_table(reference.identifier)
    assert sorted(table.scan().to_arrow().column("id").to_pylist()) == [1, 2]
    day = pa.array([20777], pa.int32()).cast(pa.date32())
    data = pa.table({"id": [1], "name": ["b"], "day": day, "at": pa.nulls(1, pa.timestamp("us", "UTC"))})
    assert merge(table, data, ["id"], "run:1").replaced == 1
    assert append_once(table, data.set_column(0, "id", pa.array([3])), "run:2").committed
    assert rows(connection, f"SELECT id, name, cast(day AS varchar) FROM {reference.sql} ORDER BY id") == [
        [1, "b", "2026-11-20"],
        [2, None, None],
        [3, "b", "2026-11-20"],
    ]
    assert overwrite_partition(table, data.slice(0, 0), "day = '2026-11-20'", "run:3").replaced == 2
    assert rows(connection, f"SELECT id FROM {reference.sql}") == [[2]]
    assert overwrite(table, data, "run:4").replaced == 1
    assert rows(connection, f"SELECT id, name FROM {reference.sql}") == [[1, "b"]]
    rows(connection, f"DROP TABLE {reference.sql}")


def test_keys_survive_what_trino_does_to_a_table(shared: Catalog, schema: str, connection: Connection) -> None:
    reference = TableRef(CATALOG, schema, "maintained")
    table = ensure_table(shared, reference, ROWS)
    for number in range(5):
        append_once(table, batch_of(number), f"run:{number}")
    rows(connection, f"INSERT INTO {reference.sql} VALUES (9, 9, 'trino')")
    table.refresh()
    assert (state_of(table).rows, state_of(table).run_key) == (251, None)
    rows(connection, f"ALTER TABLE {reference.sql} EXECUTE optimize")
    rows(connection, f"ALTER TABLE {reference.sql} EXECUTE expire_snapshots(retention_threshold => '0s')")
    rows(connection, f"ALTER TABLE {reference.sql} EXECUTE remove_orphan_files(retention_threshold => '0s')")
    rows(connection, f"ALTER TABLE {reference.sql} SET PROPERTIES format_version = 2")
    table.refresh()
    assert len(table.metadata.snapshots) == 1
    for number in range(5):
        assert not append_once(table, batch_of(number), f"run:{number}").committed
    assert append_once(table, batch_of(5), "run:5").committed
    assert rows(connection, f"SELECT count(*) FROM {reference.sql}") == [[301]]


@pytest.mark.timeout(1800)  # 400 commits one after the other: 30 s on two cores of its own
def test_eight_writers_beside_trino(shared: Catalog, schema: str, connection: Connection, processes: ForkServerContext) -> None:
    writers, batches = 8, 50
    reference = TableRef(CATALOG, schema, "busy")
    table = ensure_table(shared, reference, ROWS)
    started = []
    for writer in range(writers):
        answers, answer = processes.Pipe(duplex=False)
        arguments = (CATALOG, dict(shared.properties), table.name(), writer, batches, answer)
        process = processes.Process(target=children.append_many, args=arguments)
        process.start()
        answer.close()
        started.append((process, answers))
    inserted: list[int] = []
    stop = threading.Event()

    def insert() -> None:
        number = 0
        while not stop.wait(0.2):
            try:
                rows(connection, f"INSERT INTO {reference.sql} VALUES (-1, {number}, 'trino')")
            except trino.exceptions.TrinoExternalError as error:
                if error.error_name != "ICEBERG_COMMIT_ERROR":  # this one says that the row is not stored
                    raise
            else:
                inserted.append(number)
            number += 1

    thread = threading.Thread(target=insert)
    thread.start()
    try:
        acknowledged = [batch for _, answers in started for batch in answers.recv()]
        for process, _ in started:
            process.join(300)
            assert process.exitcode == 0
    finally:
        stop.set()
        thread.join()
    assert sorted(acknowledged) == list(range(writers * batches))
    assert inserted
    stored = rows(connection, f"SELECT batch, count(*), count(DISTINCT number) FROM {reference.sql} WHERE batch >= 0 GROUP BY 1 ORDER BY 1")
    assert stored == [[batch, ROWS_PER_BATCH, ROWS_PER_BATCH] for batch in sorted(acknowledged)]
    assert [number for (number,) in rows(connection, f"SELECT number FROM {reference.sql} WHERE batch = -1 ORDER BY 1")] == inserted


def test_rows_are_counted_without_those_that_trino_deleted(shared: Catalog, schema: str, connection: Connection) -> None:
    """Trino's deletes and merges leave the data files as they are and say which rows in them no longer count."""
    name = f'"{schema}"."counted"'
    rows(connection, f"CREATE TABLE {name} AS SELECT number FROM UNNEST(sequence(1, 100)) AS t (number)")
    rows(connection, f"DELETE FROM {name} WHERE number % 3 = 0")
    updates = "WHEN MATCHED THEN UPDATE SET number = -new.number WHEN NOT MATCHED THEN INSERT VALUES (new.number)"
    rows(connection, f"MERGE INTO {name} AS kept USING (VALUES 1, 2, 200) AS new (number) ON kept.number = new.number {updates}")
    expected = rows(connection, f"SELECT count(*) FROM {name}")[0][0]
    state = state_of(shared.load_table((schema, "counted")))
    assert (state.rows, expected) == (68, 68)
