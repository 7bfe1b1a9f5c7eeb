"""Exactly one sync per interval, whatever dies, answers wrongly or is in the way: 300 seeded intervals against the local Airbyte."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import certifi
import psycopg
import pytest
from airbyte_triggers import AirbyteJobTrigger
from airflow.sdk.exceptions import AirflowFailException

from include.contract import PermanentError, TransientError
from include.lake.catalog import create_catalog_tables, open_catalog
from include.local.platform import Platform
from include.operators.airbyte_api import ATTEMPTS, Job
from include.operators.airbyte_sync import KEY, Sync
from tests.local.services.airbyte_harness import CATALOG, CLIENT, Service, wait_until
from tests.operators.intervals import AIRFLOW_CONNECTION, Interval, Life, MortalJobs, Source, TaskStateStore, Worker, first_event

SCENARIOS = 300
PER_SOURCE = 20
POST = {"method": "POST", "path": "/jobs"}
LIST = {"method": "GET", "path": "/jobs"}


@pytest.fixture(scope="module")
def service(postgres: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The local Airbyte, and Airflow's connection to it."""
    dsn = postgres.postgres.dsn
    with psycopg.connect(dsn(), autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_database WHERE datname = 'iceberg'").fetchone() is None:
            connection.execute("CREATE DATABASE iceberg")
    create_catalog_tables(dsn("iceberg"))
    properties = {"uri": dsn("iceberg", driver="psycopg2"), "local.root": str(postgres.paths.lake), "warehouse": "local:///warehouse"}
    with Service.running(postgres, open_catalog(CATALOG, properties), state="airbyte_intervals") as running, pytest.MonkeyPatch.context() as patch:
        login, password = CLIENT
        # requests that hang are given up after two seconds here, not five
        connection_json = {"conn_type": "airbyte", "host": running.client.api, "login": login, "password": password, "extra": {"timeout": 2}}
        patch.setenv(f"AIRFLOW_CONN_{AIRFLOW_CONNECTION.upper()}", json.dumps(connection_json))
        # every client reads the authorities it would trust, a tenth of a second for the usual 140 of them; here none is ever asked
        one = tmp_path_factory.mktemp("authority") / "one.pem"
        one.write_text(Path(certifi.where()).read_text(encoding="utf-8").partition("-----END CERTIFICATE-----\n")[0] + "-----END CERTIFICATE-----\n")
        patch.setenv("SSL_CERT_FILE", str(one))
        yield running


@pytest.fixture(scope="module")
def met() -> Counter[str]:
    """What happened in all scenarios together."""
    return Counter()


_sources: list[Source] = []


@pytest.fixture
def source(service: Service, request: pytest.FixtureRequest) -> Iterator[Source]:
    """A connection; a few tests share one, as the intervals of a connection do, then comes another one: history makes commits slow."""
    used = request.session.stash.setdefault(_USES, [0])
    if used[0] % PER_SOURCE == 0:
        _sources.append(Source.made(service, len(_sources)))
    used[0] += 1
    _sources[-1].settle()
    yield _sources[-1]
    _sources[-1].settle()


_USES: pytest.StashKey[list[int]] = pytest.StashKey()


@pytest.mark.parametrize("seed", range(SCENARIOS))
def test_exactly_one_sync_per_interval(source: Source, met: Counter[str], seed: int) -> None:
    interval = Interval(seed, source, met)
    interval.play()
    interval.check()
    met["scenarios"] += 1


def test_the_scenarios_met_what_they_are_about(met: Counter[str]) -> None:
    if met["scenarios"] < SCENARIOS:
        pytest.skip(f"{met['scenarios']} of {SCENARIOS} scenarios ran here")
    wanted = {"worker killed": 150, "cleared": 40, "a sync ran already": 40, "took over": 20, "failed tries": 60}
    wanted |= {"cancelled behind our back": 15, "job failed": 15, "deferred": 40, "triggerer killed": 5}
    assert {name: met[name] for name, least in wanted.items() if met[name] < least} == {}


# --- single cases -----------------------------------------------------------------------------------


def sync(source: Source, *, store: TaskStateStore | None = None, number: int = 3) -> Sync:
    return Sync(MortalJobs(Life()), store or TaskStateStore(), source.id, number)


def test_wrong_credentials_fail_for_good(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    connection = {"conn_type": "airbyte", "host": source.client.api, "login": CLIENT[0], "password": "wrong"}
    monkeypatch.setenv(f"AIRFLOW_CONN_{AIRFLOW_CONNECTION.upper()}", json.dumps(connection))
    with pytest.raises(PermanentError, match=rf"connection {source.id}: Airbyte's token endpoint answered 401; check the connection's client id"):
        sync(source).job()
    with pytest.raises(AirflowFailException, match="client id and secret"):
        Worker.made(source, Life()).execute(context())


@pytest.mark.parametrize("host", ["airbyte.example.org", "http://airbyte:port"])
def test_a_host_that_is_no_address_fails_for_good(source: Source, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{AIRFLOW_CONNECTION.upper()}", json.dumps({"conn_type": "airbyte", "host": host}))
    with pytest.raises(PermanentError, match=rf"jobs of connection {source.id}: the connection's host is no address: .*https://"):
        sync(source).job()


def test_an_unknown_connection_fails_for_good_and_points_to_the_unit_file(source: Source) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(PermanentError, match=rf"a sync of connection {unknown}: Airbyte answered .*404.*is the id in the unit file right\?"):
        Sync(MortalJobs(Life()), TaskStateStore(), unknown, 3).job()


def test_a_refused_application_fails_for_good(source: Source) -> None:
    source.client.faults({"match": POST, "status": 403})
    with pytest.raises(PermanentError, match=f"a sync of connection {source.id}: .*403.*the application may not do this"):
        sync(source).job()
    assert sync(source).job().active, "no job was made by the refused request"


@pytest.mark.parametrize(("asked", "least", "most"), [(7, 7, 7), (600, 30, 30), (None, 0.5, 1)])
def test_retry_after_is_honoured_up_to_half_a_minute(source: Source, asked: int | None, least: float, most: float) -> None:
    source.client.faults({"match": LIST, "status": 429} | ({} if asked is None else {"retry_after": asked}))
    paused: list[float] = []
    MortalJobs(Life(), paused.append).newest(source.id)
    assert len(paused) == 1
    assert least <= paused[0] <= most


def test_patience_ends_with_the_last_answer(source: Source) -> None:
    source.client.faults({"match": LIST, "count": ATTEMPTS, "status": 503})
    with pytest.raises(TransientError, match=f"jobs of connection {source.id}: Airbyte answered .*503"):
        sync(source).job()
    assert len([request for request in source.client.requests() if request["path"] == "/jobs"]) == ATTEMPTS


def test_a_connection_that_stays_blocked_says_by_what(source: Source) -> None:
    source.client.faults({"match": POST, "count": None, "status": 409})
    with pytest.raises(TransientError, match=rf"connection {source.id}: {ATTEMPTS} submissions brought no job; the last one: .*409"):
        sync(source).job()


def test_a_job_made_by_a_request_that_was_given_up_is_found(source: Source) -> None:
    """The client hears nothing for two seconds and gives up; Airbyte makes the job half a second later."""
    before = source.jobs()[-1].job_id if source.jobs() else 0
    source.client.faults({"match": POST, "delay": 2.5, "job": {"stream_seconds": 0.3}})
    job = Sync(MortalJobs(Life(), lambda seconds: time.sleep(3)), TaskStateStore(), source.id, 3).job()
    assert [made.job_id for made in source.jobs() if made.job_id > before] == [job.id]
    assert len([request for request in source.client.requests() if request["method"] == "POST" and request["path"] == "/jobs"]) == 1


def test_a_job_of_our_own_that_stood_in_the_way_is_not_made_twice(source: Source) -> None:
    """409 for a job of our own: its request had been given up, and it has ended before anybody looks for it."""
    before = source.jobs()[-1].job_id if source.jobs() else 0
    source.client.faults({"match": POST, "delay": 6}, {"match": POST, "status": 409})

    def posts() -> list[int]:
        return [request["status"] for request in source.client.requests() if request["method"] == "POST" and request["path"] == "/jobs"]

    class Late(MortalJobs):
        """Submits again when the first submission, given up meanwhile, has been carried out and its job has ended."""

        def submit(self, connection_id: str) -> Job:
            if given_up:
                wait_until(lambda: posts() == [200], what="the first submission")
                source.client.wait(source.jobs()[-1].job_id, "succeeded")
            given_up.append(True)
            return super().submit(connection_id)

    given_up: list[bool] = []
    job = Sync(Late(Life()), TaskStateStore(), source.id, 3).job()
    assert [made.job_id for made in source.jobs() if made.job_id > before] == [job.id]
    assert posts() == [200, 409]


def test_only_a_newer_round_starts_a_new_sync(source: Source) -> None:
    store = TaskStateStore()
    first = finish(source, sync(source, store=store).job().id)
    assert sync(source, store=store).job().id == first
    second = sync(source, store=store, number=7).job().id
    assert second > first
    assert store.get(KEY) == {"round": 7, "job_id": second}


def context() -> dict[str, Any]:
    return {"task_state_store": TaskStateStore(), "ti": SimpleNamespace(max_tries=3)}


def finish(source: Source, job_id: int) -> int:
    source.client.wait(job_id, "succeeded")
    return job_id


# --- the trigger --------------------------------------------------------------------------------------


def test_the_trigger_sits_out_an_outage(source: Source) -> None:
    source.client.faults({"match": POST, "job": {"stream_seconds": 0.4}})
    job_id = source.client.submit(source.id).json()["jobId"]
    source.client.faults({"match": {"path": "/jobs/*"}, "count": None, "status": 503}, {"match": {"path": "/applications/token"}, "count": None, "status": 502})
    back = threading.Timer(1.5, source.client.clear)
    started = time.monotonic()
    back.start()
    event = asyncio.run(asyncio.wait_for(first_event(AirbyteJobTrigger(AIRFLOW_CONNECTION, job_id, 0.1)), 30))
    back.join()
    assert event == {"job_id": job_id, "status": "succeeded"}
    assert time.monotonic() - started >= 1.4


def test_the_trigger_gives_up_on_a_job_that_does_not_exist(source: Source) -> None:
    event = asyncio.run(asyncio.wait_for(first_event(AirbyteJobTrigger(AIRFLOW_CONNECTION, 999_999_999, 0.1)), 120))
    assert event["job_id"] == 999_999_999
    assert "404" in event["error"]
    with pytest.raises(AirflowFailException, match="404"):
        Worker.made(source, Life(), deferrable=True).resume(context(), event)


@pytest.mark.parametrize("who", ["trigger", "operator"])
def test_a_killed_task_cancels_its_job(source: Source, who: str) -> None:
    source.client.faults({"match": POST, "job": {"stream_seconds": 30}})
    worker = Worker.made(source, Life(), deferrable=True)
    job_id = sync(source).job().id
    source.client.wait(job_id, "running")
    source.client.faults({"match": {"method": "DELETE"}, "status": 503})
    if who == "trigger":
        asyncio.run(AirbyteJobTrigger(AIRFLOW_CONNECTION, job_id, 0.1).on_kill())
    else:
        worker._job = worker._jobs().get(job_id)
        worker.on_kill()
    assert source.client.wait(job_id, seconds=10)["status"] == "cancelled"
