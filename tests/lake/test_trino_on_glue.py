"""Production's catalog with production's engine: Trino and pyiceberg on one Glue and one S3 (moto's, with AWS's optimistic lock)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from multiprocessing.context import ForkServerContext

import pytest
import trino
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from trino.dbapi import Connection

from include.lake.catalog import ensure_table, open_catalog
from include.lake.metadata import pointer, publish, read_document
from include.lake.names import TableRef
from include.lake.objects import store_of
from include.lake.pointers import Rules, repair
from include.lake.writes import append_once
from include.local.platform import Platform
from tests.own_lake import process_in

from .children import ROWS_PER_BATCH, batch_of
from .conftest import ROWS
from .moto_server import moto
from .test_glue import QA, run_writers
from .test_with_trino import rows

pytestmark = pytest.mark.lake
SCHEMA = "ol_warehouse_qa_raw"
WRITERS, BATCHES = 2, 6


@pytest.fixture(scope="module")
def properties() -> Iterator[dict[str, str]]:
    with process_in("qa"), moto() as found:
        yield found


@pytest.fixture(scope="module")
def glue(properties: dict[str, str]) -> Catalog:
    return open_catalog(QA, properties)


@pytest.fixture(scope="module")
def connection(lake: Platform, properties: dict[str, str]) -> Iterator[Connection]:
    """The laptop's Trino with one more catalog, set up as production's is."""
    settings = {
        "iceberg.catalog.type": "glue",
        "iceberg.expire-snapshots.min-retention": "0s",
        "hive.metastore.glue.region": "us-east-1",
        "hive.metastore.glue.endpoint-url": properties["glue.endpoint"],
        "hive.metastore.glue.aws-access-key": "test",
        "hive.metastore.glue.aws-secret-key": "test",
        "hive.metastore.glue.default-warehouse-dir": properties["warehouse"],
        "fs.native-s3.enabled": "true",
        "s3.endpoint": properties["s3.endpoint"],
        "s3.region": "us-east-1",
        "s3.path-style-access": "true",
        "s3.aws-access-key": "test",
        "s3.aws-secret-key": "test",
    }
    address = lake.trino
    named = ", ".join(f"\"{name}\" = '{value}'" for name, value in settings.items())
    with trino.dbapi.connect(host=address.host, port=address.port, user=address.user, catalog=QA.lake.catalog, http_scheme=address.http_scheme) as opened:
        rows(opened, f"CREATE CATALOG {QA.lake.catalog} USING iceberg WITH ({named})")
        try:
            yield opened
        finally:
            rows(opened, f"DROP CATALOG {QA.lake.catalog}")


def made(glue: Catalog, name: str) -> Table:
    return ensure_table(glue, TableRef(QA.lake.catalog, SCHEMA, name), ROWS)


def test_each_reads_what_the_other_writes(glue: Catalog, connection: Connection) -> None:
    table = made(glue, "both")
    append_once(table, batch_of(1), "run:1")
    assert rows(connection, f"SELECT count(*) FROM {SCHEMA}.both") == [[ROWS_PER_BATCH]]
    rows(connection, f"DELETE FROM {SCHEMA}.both WHERE number % 2 = 0")
    rows(connection, f"INSERT INTO {SCHEMA}.both VALUES (2, 1, 'trino')")
    table.refresh()
    assert table.scan().count() == ROWS_PER_BATCH // 2 + 1
    rows(connection, f"ALTER TABLE {SCHEMA}.both EXECUTE optimize")
    table.refresh()
    assert table.scan().count() == ROWS_PER_BATCH // 2 + 1
    assert not append_once(table, batch_of(1), "run:1").committed


def test_writers_of_both_kinds_lose_nothing(glue: Catalog, properties: dict[str, str], connection: Connection, processes: ForkServerContext) -> None:
    table = made(glue, "busy")
    acknowledged: list[int] = []
    writing = threading.Thread(target=lambda: acknowledged.extend(run_writers(processes, properties, table, WRITERS, BATCHES)))
    writing.start()
    inserted, number = [], 0
    while writing.is_alive() or number < 5:
        try:
            rows(connection, f"INSERT INTO {SCHEMA}.busy VALUES (-1, {number}, 'trino')")
        except trino.exceptions.TrinoExternalError as error:
            if error.error_name != "ICEBERG_COMMIT_ERROR":  # this one says that the row is not stored
                raise
        else:
            inserted.append(number)
        number += 1
    writing.join()
    assert sorted(acknowledged) == list(range(WRITERS * BATCHES))
    assert inserted
    stored = rows(connection, f"SELECT batch, count(*), count(DISTINCT number) FROM {SCHEMA}.busy WHERE batch >= 0 GROUP BY 1 ORDER BY 1")
    assert stored == [[batch, ROWS_PER_BATCH, ROWS_PER_BATCH] for batch in sorted(acknowledged)]
    assert [found for (found,) in rows(connection, f"SELECT number FROM {SCHEMA}.busy WHERE batch = -1 ORDER BY 1")] == inserted


def test_trino_follows_a_mended_pointer(glue: Catalog, connection: Connection) -> None:
    table = made(glue, "lagging")
    for batch in range(3):
        table.append(batch_of(batch).cast(table.schema().as_arrow()))
    store = store_of(glue)
    one = pointer(glue, SCHEMA, "lagging")
    document = read_document(store, one.location)
    publish(glue, store, one, document, document.changed(current_snapshot_id=document.snapshots[0]["snapshot-id"], snapshot_log=[]))
    assert repair(glue, store, SCHEMA, "lagging", Rules(("staging*",), timedelta(hours=26), datetime.now(UTC))).location
    assert rows(connection, f"SELECT count(*) FROM {SCHEMA}.lagging") == [[3 * ROWS_PER_BATCH]]
    rows(connection, f"INSERT INTO {SCHEMA}.lagging VALUES (9, 1, 'after')")
    assert rows(connection, f'SELECT count(*) FROM {SCHEMA}."lagging$snapshots"') == [[4]]
