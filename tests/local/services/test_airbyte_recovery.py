"""Kills, restarts, lost state and other writers: every row arrives once."""

from __future__ import annotations

import random
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from airbyte_harness import ROWS, STATE, STREAMS, Process, Service, Shop, unit_document, wait_until, write_unit
from pyiceberg.catalog import Catalog

from include.local.platform import Platform
from include.local.services.airbyte.destination import DestinationError
from include.local.services.airbyte.store import StateTakenError, Store
from include.local.services.airbyte.sync import Step, run_stream


def step(shop: Shop, stream: str, **changes: Any) -> Step:
    """A stream of a job that was accepted but that no worker takes."""
    service = shop.service
    job = changes.pop("job", None) or service.store.create_job(shop.id, "sync", {}, delay=3600)
    connection = service.connections[shop.id]
    state = service.store.stream_state(shop.id, stream)
    destination = service.worker._destination
    return Step(job, connection, connection.stream(stream), service.platform.postgres.dsn(shop.name), destination, state, changes.get("check", lambda: None))


@pytest.mark.parametrize("stream", [stream["name"] for stream in STREAMS])
def test_a_kill_between_commit_and_saved_state_doubles_nothing(shop: Shop, stream: str) -> None:
    killed = step(shop, stream)
    first = run_stream(killed)  # the snapshot is committed; finish_stream never happens
    location = shop.table(stream).metadata_location
    again = run_stream(killed)
    assert again == first
    assert shop.table(stream).metadata_location == location


@pytest.mark.parametrize("stream", ["people", "events"])
def test_the_cursor_is_found_in_the_table_when_the_state_is_lost(shop: Shop, stream: str) -> None:
    shop.sync()
    before = shop.table(stream).metadata_location
    shop.service.store._query("DELETE FROM stream_states WHERE connection_id = %s", [shop.id])
    assert shop.sync()["rowsSynced"] == 30 + 10
    assert shop.table(stream).metadata_location == before


def test_the_saved_cursor_serves_when_the_tables_history_has_expired(shop: Shop) -> None:
    shop.sync()
    table = shop.table("events")
    table.overwrite(table.scan().to_arrow())
    table.manage_snapshots().remove_branch("airbyte_staging").commit()
    head = table.refresh().current_snapshot().snapshot_id
    table.maintenance.expire_snapshots().by_ids([item.snapshot_id for item in table.snapshots() if item.snapshot_id != head]).commit()
    shop.execute("INSERT INTO events VALUES (201, 'new', '2026-02-01')")
    assert shop.sync()["status"] == "succeeded"
    assert [row[0] for row in shop.lake("events", "id")].count(201) == 1
    assert len(shop.lake("events")) == 201


def test_a_stop_between_batches_leaves_neither_rows_nor_files(shop: Shop) -> None:
    shop.sync()
    data = shop.service.platform.paths.lake / "warehouse"
    files = set(data.rglob("*.parquet"))
    shop.execute("INSERT INTO events SELECT g, repeat('x', 200), timestamptz '2026-03-01' + g * interval '1 s' FROM generate_series(1000, 60999) g")
    calls = iter(range(100))

    def check() -> None:
        if next(calls) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run_stream(step(shop, "events", check=check))
    assert len(shop.lake("events")) == 200
    assert set(data.rglob("*.parquet")) == files


def test_a_writer_that_was_faster_is_not_lost(shop: Shop) -> None:
    shop.sync()
    shop.execute("UPDATE people SET name = 'changed', updated_on = '2026-02-01' WHERE id <= 5")
    calls = iter(range(100))

    def compact_once() -> None:
        if next(calls) == 0:
            table = shop.table("people")
            table.overwrite(table.scan().to_arrow())

    run_stream(step(shop, "people", check=compact_once))
    rows = shop.lake("people", "id", "name")
    assert len(rows) == 300
    assert [name for number, name in rows if number <= 5] == ["changed"] * 5
    operations = [snapshot.summary["run-key"] for snapshot in shop.table("people").snapshots() if "run-key" in snapshot.summary.additional_properties]
    assert len(operations) == 2


def test_a_writer_that_is_always_faster_fails_the_job(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.sync()
    monkeypatch.setattr("include.local.services.airbyte.sync.COMMIT_ATTEMPTS", 2)

    def compact() -> None:
        table = shop.table("lookups")
        table.overwrite(table.scan().to_arrow())

    with pytest.raises(DestinationError, match="2 commits lost against other writers"):
        run_stream(step(shop, "lookups", check=compact))
    assert len(shop.lake("lookups")) == 30


def test_an_unreachable_source_makes_the_job_incomplete_then_failed(shop: Shop) -> None:
    client = shop.service.client
    with psycopg.connect(shop.service.platform.postgres_dsn, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {shop.name} RENAME TO {shop.name}_away")
    job_id = client.submit(shop.id).json()["jobId"]
    assert client.wait(job_id, "incomplete")["status"] == "incomplete"
    with psycopg.connect(shop.service.platform.postgres_dsn, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {shop.name}_away RENAME TO {shop.name}")
    assert client.wait(job_id)["rowsSynced"] == ROWS
    assert shop.service.store.job(job_id).attempts >= 2


def test_the_state_database_may_go_away_for_a_moment(shop: Shop) -> None:
    client = shop.service.client
    client.faults({"match": {"path": "/jobs", "method": "POST"}, "job": {"stream_seconds": 0.4}})
    job_id = client.submit(shop.id).json()["jobId"]
    client.wait(job_id, "running")
    with psycopg.connect(shop.service.platform.postgres_dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'airbyte' AND datname = %s", [STATE])
    assert client.http.get(f"/jobs/{job_id}").status_code in (200, 500), "an error in Airbyte's words at most"
    done = wait_until(lambda: (answer := client.http.get(f"/jobs/{job_id}")).status_code == 200 and answer.json()["status"] == "succeeded" and answer.json())
    assert done["rowsSynced"] == ROWS
    assert len(shop.lake("events")) == 200


def test_a_job_killed_while_it_was_being_cancelled_does_not_come_back(shop: Shop) -> None:
    store = shop.service.store
    job = store.create_job(shop.id, "sync", {}, delay=3600)
    assert store.start_attempt(job.job_id).status == "running"
    store.cancel(job.job_id)
    assert store.job(job.job_id).status == "running", "only the worker knows when it has stopped"
    assert [(found.job_id, found.status) for found in store.requeue_interrupted()] == [(job.job_id, "cancelled")]
    assert shop.sync()["status"] == "succeeded"


def test_two_services_never_share_one_state(database: Platform, service: Service) -> None:
    with pytest.raises(StateTakenError, match="another Airbyte service"):
        Store(database.postgres.dsn(STATE), wait=0.1)


# --- the program itself --------------------------------------------------------------------------


@pytest.fixture
def process(service: Service, database: Platform, catalog: Catalog, tmp_path: Path) -> Iterator[tuple[Process, Shop]]:
    """The service as a child process with one connection and a state database of its own."""
    shop = service.shop()
    del service.connections[shop.id]  # the child process serves it
    units = write_unit(tmp_path, shop.name, unit_document(shop.id, shop.prefix, STREAMS))
    child = Process(database, units, tmp_path / "log", state=f"airbyte_{shop.id[:8]}")
    yield child, shop
    child.kill()
    service.settle()


def exact(shop: Shop) -> None:
    assert shop.lake("events") == sorted(shop.source("SELECT id, kind, happened_on FROM events"), key=str)
    assert shop.lake("lookups") == sorted(shop.source("SELECT code, label FROM lookups"), key=str)
    assert shop.lake("pairs") == sorted(shop.source("SELECT a, b, value, updated_on FROM pairs"), key=str)
    assert len(shop.lake("people")) == 300
    assert len(shop.lake("loose")) == 20
    assert len(shop.lake("readings")) == 10, "an appending full refresh shows every row that came twice"


def test_killed_at_random_points_a_job_ends_with_every_row_once(process: tuple[Process, Shop]) -> None:
    child, shop = process
    chance = random.Random(20261121)
    client = child.start()
    client.faults({"match": {"path": "/jobs", "method": "POST"}, "job": {"stream_seconds": 0.25}})
    job_id = client.submit(shop.id).json()["jobId"]
    for _ in range(3):
        client.wait(job_id, "running", "succeeded")
        time.sleep(chance.uniform(0.0, 0.5))
        child.kill()
        client = child.start()
    job = client.wait(job_id)
    assert (job["status"], job["rowsSynced"]) == ("succeeded", ROWS)
    exact(shop)
    assert "event=interrupted" in child.log.read_text()
    assert client.submit(shop.id).json()["jobId"] > job_id


def test_sigterm_ends_the_service_soon_and_the_job_goes_on(process: tuple[Process, Shop]) -> None:
    child, shop = process
    client = child.start()
    client.faults({"match": {"path": "/jobs", "method": "POST"}, "job": {"stream_seconds": 0.3}})
    job_id = client.submit(shop.id).json()["jobId"]
    client.wait(job_id, "running")
    child.child.send_signal(signal.SIGTERM)
    assert child.child.wait(20) == 0
    client = child.start()
    assert client.wait(job_id)["rowsSynced"] == ROWS
    exact(shop)


def test_it_says_why_it_cannot_start(database: Platform, tmp_path: Path) -> None:
    units = write_unit(tmp_path, "broken", unit_document(str(uuid.uuid4()), "raw__broken__", []))
    child = Process(database, units, tmp_path / "log", state="airbyte_never")
    child.start(wait=False)
    assert child.child.wait(60) == 1
    assert "airbyte/broken.yml" in child.log.read_text() or "broken.yml: streams" in child.log.read_text()
