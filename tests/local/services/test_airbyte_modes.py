"""What arrives in the lake: every sync mode, type and schema change, on day one and after it."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from uuid import UUID

import pytest
from airbyte_harness import ROWS, STREAMS, Service, Shop
from pyiceberg.types import BooleanType, DateType, DecimalType, DoubleType, LongType, StringType, TimestampType, TimestamptzType

NEXT_DAY = """
UPDATE people SET name = 'changed', updated_on = '2026-02-01 10:00+00' WHERE id <= 5;
INSERT INTO people (id, email, updated_on) SELECT g, 'new', '2026-02-01 11:00+00' FROM generate_series(301, 310) g;
DELETE FROM people WHERE id = 300;
UPDATE pairs SET value = 'changed', updated_on = '2026-02-01' WHERE b = 'b1';
INSERT INTO events SELECT g, 'later', timestamptz '2026-02-01' + g * interval '1 s' FROM generate_series(201, 220) g;
DELETE FROM lookups WHERE code = 'c1';
UPDATE lookups SET label = 'changed' WHERE code = 'c2';
DELETE FROM readings WHERE id > 3;
"""


def test_first_sync_brings_every_row_with_its_type(shop: Shop) -> None:
    job = shop.sync()
    assert (job["status"], job["rowsSynced"]) == ("succeeded", ROWS)
    assert job["bytesSynced"] > 0
    for stream, columns in (("pairs", "a, b, value, updated_on"), ("lookups", "code, label"), ("readings", "id, value"), ("events", "id, kind, happened_on")):
        assert shop.lake(stream) == sorted(shop.source(f"SELECT {columns} FROM {stream}"), key=str), stream
    assert shop.lake("people") == sorted(
        shop.source(
            "SELECT id, email, name, round(balance, 9), active, born, seen, noted, extra::text, score, tags::text, updated_on FROM people",
        ),
        key=str,
    )
    schema = shop.table("people").schema()
    assert {field.name: field.field_type for field in schema.fields} == {
        "_airbyte_raw_id": StringType(),
        "_airbyte_extracted_at": TimestamptzType(),
        "_airbyte_meta": StringType(),
        "_airbyte_generation_id": LongType(),
        **dict.fromkeys(("email", "name", "extra", "tags"), StringType()),
        **{"id": LongType(), "balance": DecimalType(38, 9), "active": BooleanType(), "born": DateType(), "score": DoubleType()},
        **{"seen": TimestamptzType(), "noted": TimestampType(), "updated_on": TimestamptzType()},
    }


def test_metadata_columns_and_summary_name_the_job(shop: Shop) -> None:
    before = datetime.now(UTC)
    job = shop.sync()
    rows = shop.lake("events", "_airbyte_raw_id", "_airbyte_extracted_at", "_airbyte_meta", "_airbyte_generation_id")
    assert len({UUID(row[0]) for row in rows}) == 200
    assert all(before <= row[1] <= datetime.now(UTC) for row in rows)
    assert {json.dumps(json.loads(row[2]), sort_keys=True) for row in rows} == {json.dumps({"changes": [], "sync_id": job["jobId"]})}
    assert {row[3] for row in rows} == {1}
    snapshot = shop.table("events").current_snapshot()
    assert snapshot.summary["run-key"] == f"airbyte-job-{job['jobId']}"
    assert snapshot.summary["airbyte-rows"] == "200"
    refs = shop.table("events").metadata.refs
    assert refs["main"].snapshot_id == refs["airbyte_staging"].snapshot_id == snapshot.snapshot_id


def test_day_two_of_every_mode(shop: Shop) -> None:
    shop.sync()
    first = {stream["name"]: shop.lake(stream["name"]) for stream in STREAMS}
    shop.execute(NEXT_DAY)
    job = shop.sync()
    assert job["status"] == "succeeded"
    people = {row[0]: row for row in shop.lake("people", "id", "name", "email")}
    assert len(people) == len(shop.lake("people")) == 310, "merged by key; an incremental stream never learns of deletions"
    assert [people[number][1] for number in (1, 5, 6, 300)] == ["changed", "changed", "Näme 6", "Näme 300"]
    assert people[310][2] == "new"
    pairs = shop.lake("pairs", "a", "b", "value")
    assert len(pairs) == 100
    assert [row for row in pairs if row[1] == "b1"] == [(1, "b1", "changed")]
    assert shop.lake("events") == sorted(shop.source("SELECT id, kind, happened_on FROM events"), key=str)
    assert shop.lake("lookups") == sorted(shop.source("SELECT code, label FROM lookups"), key=str)
    assert set(shop.lake("lookups", "_airbyte_generation_id")) == {(2,)}
    assert shop.lake("readings") == sorted([*first["readings"], *shop.source("SELECT id, value FROM readings")], key=str)
    assert job["rowsSynced"] == 15 + 1 + 0 + 20 + 29 + 3, "only what changed, and the full refreshes"


def test_a_sync_without_changes_commits_nothing_to_incremental_streams(shop: Shop) -> None:
    shop.sync()
    before = {name: shop.table(name).metadata_location for name in ("people", "pairs", "loose", "events")}
    assert shop.sync()["rowsSynced"] == 30 + 10
    assert {name: shop.table(name).metadata_location for name in before} == before


def test_rows_at_the_cursor_come_again_when_their_number_changed(shop: Shop) -> None:
    shop.sync()
    last = shop.source("SELECT max(happened_on) FROM events")[0][0]
    shop.execute(f"INSERT INTO events VALUES (201, 'same moment', '{last}')")
    shop.sync()
    ids = [row[0] for row in shop.lake("events", "id")]
    assert ids.count(201) == 1, "no row is lost"
    assert ids.count(200) == 2, "at-least-once: the row at the cursor came again"
    assert len(ids) == 202


def test_a_key_that_the_source_does_not_enforce_keeps_the_latest_row(shop: Shop) -> None:
    shop.sync()
    assert [(row[0], row[1]) for row in sorted(shop.lake("loose"))] == [(number, "new" if number <= 10 else "old") for number in range(1, 21)]


def test_awkward_values_arrive_unchanged(shop: Shop) -> None:
    texts = ["", " ", "a,b", 'quote " and "" two', "line\nbreak\r\nand tab\t", "\\.", "\\N", "NULL", "ünïcödé 🎓", "'"]
    for number, text in enumerate(texts):
        shop.execute(f"INSERT INTO lookups VALUES ('t{number}', $text${text}$text$)")
    shop.execute("INSERT INTO lookups VALUES ('none', NULL)")
    shop.execute(
        "INSERT INTO people (id, balance, born, seen, noted, score, active, extra) VALUES "
        "(1000, 'NaN', 'infinity', '-infinity', 'infinity', 'NaN', NULL, '\"text\"'), "
        "(1001, 12345678901234567890123456789.123456789, '0001-01-01', '9999-12-31 23:59:59.999999+00', '1900-01-01 00:00:00.000001', -0.1, false, 'null')"
    )
    assert shop.sync()["status"] == "succeeded"
    found = dict(shop.lake("lookups", "code", "label"))
    assert [found[f"t{number}"] for number in range(len(texts))] == texts
    assert found["none"] is None
    people = {row[0]: row[1:] for row in shop.lake("people", "id", "balance", "born", "seen", "noted", "active", "extra")}
    assert people[1000] == (None, None, None, None, None, '"text"')
    assert people[1001] == (
        Decimal("12345678901234567890123456789.123456789"),
        date(1, 1, 1),
        datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
        datetime(1900, 1, 1, 0, 0, 0, 1),
        False,
        "null",
    )


def test_large_tables_stream_in_batches(shop: Shop) -> None:
    numbers = "timestamptz '2026-03-01' + g * interval '1 s' FROM generate_series(1000, 60999) g"
    shop.execute(f"INSERT INTO events SELECT g, repeat('x', 200), {numbers}")
    shop.execute(f"INSERT INTO people (id, email, updated_on) SELECT g, repeat('y', 100), {numbers}")
    assert shop.sync()["status"] == "succeeded"
    assert len(shop.lake("events", "id")) == 60_200
    shop.execute("UPDATE people SET name = 'again', updated_on = '2026-04-01' WHERE id % 3 = 0")
    changed = shop.source("SELECT count(*) FROM people WHERE id % 3 = 0")[0][0]
    assert shop.sync()["status"] == "succeeded"
    assert sorted(shop.lake("people", "id", "name", "email")) == sorted(shop.source("SELECT id, name, email FROM people"))
    assert shop.table("people").current_snapshot().summary["airbyte-rows"] == str(changed)


def test_new_source_columns_are_added_and_lost_ones_become_null(shop: Shop) -> None:
    shop.sync()
    shop.execute("ALTER TABLE people ADD COLUMN phone text, DROP COLUMN email; UPDATE people SET phone = '1', updated_on = '2026-02-01' WHERE id = 1")
    shop.execute("ALTER TABLE lookups ADD COLUMN rank integer DEFAULT 3, DROP COLUMN label")
    assert shop.sync()["status"] == "succeeded"
    people = {row[0]: row[1:] for row in shop.lake("people", "id", "phone", "email")}
    assert (people[1], people[2]) == (("1", None), (None, "P2@example.org"))
    assert set(shop.lake("lookups", "rank", "label")) == {(3, None)}
    assert shop.table("people").schema().fields[-1].name == "phone"


def test_a_changed_type_fails_the_job_and_leaves_the_table(shop: Shop) -> None:
    shop.sync()
    before = shop.lake("lookups")
    shop.execute("ALTER TABLE lookups ALTER COLUMN label TYPE integer USING 1")
    job = shop.sync()
    assert job["status"] == "failed"
    assert shop.lake("lookups") == before
    message = shop.service.store.job(job["jobId"]).message
    assert "column label: found long in the source; allowed: string" in message


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("DROP TABLE lookups", "has no table public.lookups"),
        ("ALTER TABLE events DROP COLUMN happened_on", "found no column happened_on in the source; it has: id, kind"),
    ],
)
def test_a_source_that_lacks_what_the_connection_names_fails_the_job(shop: Shop, change: str, message: str) -> None:
    shop.execute(change)
    job = shop.sync()
    assert job["status"] == "failed"
    assert message in shop.service.store.job(job["jobId"]).message


def test_reset_empties_tables_and_forgets_cursors(shop: Shop) -> None:
    shop.sync()
    job = shop.sync("reset")
    assert (job["status"], job["jobType"]) == ("succeeded", "reset")
    assert [shop.lake(stream["name"]) for stream in STREAMS] == [[]] * len(STREAMS)
    assert shop.sync()["rowsSynced"] == ROWS
    assert len(shop.lake("people")) == 300
    assert set(shop.lake("people", "_airbyte_generation_id")) == {(2,)}


def test_empty_source_tables_become_empty_tables_with_a_snapshot(shop: Shop) -> None:
    shop.execute("TRUNCATE people, pairs, loose, events, lookups, readings")
    assert (job := shop.sync())["status"] == "succeeded"
    for stream in STREAMS:
        assert shop.lake(stream["name"]) == []
        assert shop.table(stream["name"]).current_snapshot().summary["run-key"] == f"airbyte-job-{job['jobId']}"
    shop.execute("INSERT INTO events VALUES (1, 'first', '2026-01-01')")
    shop.sync()
    assert [row[0] for row in shop.lake("events")] == [1]


def test_a_dropped_table_is_read_again_in_full(shop: Shop) -> None:
    shop.sync()
    shop.service.catalog.drop_table(shop.table("people").name())
    assert shop.sync()["status"] == "succeeded"
    assert len(shop.lake("people")) == 300


def test_maintenance_on_main_between_two_syncs_is_kept(shop: Shop) -> None:
    shop.sync()
    table = shop.table("people")
    table.overwrite(table.scan().to_arrow())  # what a compaction does: the same rows in other files, on main only
    assert table.refresh().metadata.refs["main"].snapshot_id != table.metadata.refs["airbyte_staging"].snapshot_id
    shop.execute(NEXT_DAY)
    assert shop.sync()["rowsSynced"] == 15 + 1 + 20 + 29 + 3, "the cursor is found behind the compaction"
    assert len(shop.lake("people", "id")) == len(set(shop.lake("people", "id"))) == 310


def test_units_of_the_repository_are_connections(service: Service) -> None:
    from include.config.environments import read_environment
    from include.local.services.airbyte.connections import connections_of

    connections = connections_of(read_environment({}))
    assert {connection.unit.id for connection in connections.values()} >= {"mitxonline__app_postgres", "mitxonline__openedx_mysql", "mitxpro__app_postgres"}
    for connection in connections.values():
        stream = connection.unit.streams[0]
        assert connection.identifier(stream) == ("ol_warehouse_local_raw", f"{connection.unit.table_prefix}{stream.name}")
