"""The service misbehaves exactly as told, as often as told, and says what was asked of it."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx
import pytest
from airbyte_harness import CLIENT, ROWS, STREAMS, Client, Shop

CREATE = {"method": "POST", "path": "/jobs"}


@pytest.mark.parametrize("status", [401, 409, 429, 500, 502, 503])
def test_statuses_are_answered_without_doing_anything(shop: Shop, status: int) -> None:
    client = shop.service.client
    client.faults({"match": CREATE, "count": 2, "status": status, "retry_after": 7} if status == 429 else {"match": CREATE, "count": 2, "status": status})
    for _ in range(2):
        answer = client.submit(shop.id)
        assert answer.status_code == answer.json()["status"] == status
        assert answer.headers.get("Retry-After") == ("7" if status == 429 else None)
    assert client.http.get("/jobs", params={"connectionId": shop.id}).json()["data"] == []
    assert client.submit(shop.id).status_code == 200


def test_skip_and_patterns_choose_the_requests(shop: Shop) -> None:
    client = shop.service.client
    job_id = shop.sync()["jobId"]
    client.faults(
        {"match": {"method": "GET", "path": "/jobs/*"}, "skip": 2, "count": 1, "status": 500}, {"match": {"path": "/connections"}, "count": None, "status": 503}
    )
    assert [client.http.get(f"/jobs/{job_id}").status_code for _ in range(5)] == [200, 200, 500, 200, 200]
    assert [client.http.get("/connections").status_code for _ in range(3)] == [503] * 3
    assert client.http.get("/jobs").status_code == 200
    shown = client.http.get(f"{client.root}/_faults").json()
    assert [rule["matched"] for rule in shown] == [3, 3]
    assert client.http.delete(f"{client.root}/_faults").json() == []
    assert client.http.get("/connections").status_code == 200


def test_only_the_named_connection_is_hit(shop: Shop) -> None:
    other = shop.service.shop()
    shop.service.client.faults({"match": {**CREATE, "connection_id": shop.id}, "count": None, "status": 500})
    assert shop.service.client.submit(other.id).status_code == 200
    assert shop.service.client.submit(shop.id).status_code == 500


def test_token_requests_can_fail_too(shop: Shop) -> None:
    shop.service.client.faults({"match": {"path": "/applications/token"}, "status": 500})
    form = {"client_id": CLIENT[0], "client_secret": CLIENT[1]}
    anonymous = Client(shop.service.client.root)
    assert [anonymous.http.post("/applications/token", data=form).status_code for _ in range(2)] == [500, 200]


def test_slow_answers(shop: Shop) -> None:
    client = shop.service.client
    client.faults({"match": {"path": "/health"}, "delay": 0.4})
    started = time.monotonic()
    assert client.http.get("/health").status_code == 200
    assert time.monotonic() - started >= 0.4
    client.faults({"match": CREATE, "delay": 2})
    with pytest.raises(httpx.ReadTimeout):
        client.http.post("/jobs", json={"connectionId": shop.id, "jobType": "sync"}, timeout=0.2)


@pytest.mark.parametrize("effect", ["half_body", "drop_answer"])
def test_a_lost_answer_comes_after_the_job_was_accepted(shop: Shop, effect: str) -> None:
    client = shop.service.client
    client.faults({"match": CREATE, effect: True})
    with pytest.raises(httpx.RemoteProtocolError if effect == "half_body" else (httpx.RemoteProtocolError, httpx.ReadError)):
        client.submit(shop.id)
    jobs = client.http.get("/jobs", params={"connectionId": shop.id}).json()["data"]
    assert len(jobs) == 1
    assert client.wait(jobs[0]["jobId"])["rowsSynced"] == ROWS
    assert client.requests()[0]["status"] == 200
    assert client.http.get("/health").status_code == 200, "only that connection was closed"


def test_a_job_stays_queued_as_long_as_told(shop: Shop) -> None:
    client = shop.service.client
    client.faults({"match": CREATE, "job": {"queued": 0.6}})
    started = time.monotonic()
    job = client.submit(shop.id).json()
    assert job["status"] == "queued"
    assert client.wait(job["jobId"])["status"] == "succeeded"
    assert time.monotonic() - started >= 0.6


def test_a_job_fails_with_a_message_after_some_streams(shop: Shop) -> None:
    client = shop.service.client
    client.faults({"match": CREATE, "job": {"fail": "disk is full", "after_streams": 2}})
    job = shop.sync()
    assert job["status"] == "failed"
    assert "disk is full" in shop.service.store.job(job["jobId"]).message
    complete = [stream["name"] for stream in STREAMS if (table := shop.table(stream["name"])) and table.current_snapshot()]
    assert 2 <= len(complete) < len(STREAMS)
    assert shop.sync()["status"] == "succeeded"
    assert len(shop.lake("people")) == 300
    assert len(shop.lake("events")) == 200


def test_a_job_is_cancelled_behind_the_callers_back(shop: Shop) -> None:
    shop.service.client.faults({"match": CREATE, "job": {"cancel": True, "after_streams": 1}})
    assert shop.sync()["status"] == "cancelled"
    for stream in STREAMS:  # whole streams or none
        if shop.table(stream["name"]) and shop.table(stream["name"]).current_snapshot():
            assert (
                len(shop.lake(stream["name"])) == shop.source(f"SELECT count(DISTINCT {stream['columns'][0]}) FROM {stream['name']}")[0][0]
                or stream["name"] == "pairs"
            )
    assert shop.sync()["status"] == "succeeded"
    assert len(shop.lake("events")) == 200


@pytest.mark.parametrize("first", [True, False], ids=["first sync", "later sync"])
def test_main_is_left_behind_and_caught_up_by_the_next_sync(shop: Shop, first: bool) -> None:
    if not first:
        shop.sync()
        shop.execute("INSERT INTO events VALUES (201, 'new', '2026-02-01')")
    known = 0 if first else 200
    shop.service.client.faults({"match": CREATE, "job": {"main_behind": ["events"]}})
    assert (job := shop.sync())["status"] == "succeeded", "Airbyte itself notices nothing"
    table = shop.table("events")
    refs = table.metadata.refs
    assert len(shop.lake("events")) == known
    assert table.snapshot_by_id(refs["airbyte_staging"].snapshot_id).summary["run-key"] == f"airbyte-job-{job['jobId']}"
    assert table.snapshot_by_id(refs["airbyte_staging"].snapshot_id).parent_snapshot_id == refs["main"].snapshot_id
    assert len(shop.lake("lookups")) == 30, "other streams are whole"
    shop.execute("INSERT INTO events VALUES (202, 'newer', '2026-02-02')")
    shop.sync()
    assert shop.lake("events") == sorted(shop.source("SELECT id, kind, happened_on FROM events"), key=str)
    refs = shop.table("events").metadata.refs
    assert refs["main"].snapshot_id == refs["airbyte_staging"].snapshot_id


def test_branches_that_diverged_fail_the_job_until_a_reset(shop: Shop) -> None:
    shop.sync()
    shop.execute("INSERT INTO events VALUES (201, 'new', '2026-02-01')")
    shop.service.client.faults({"match": CREATE, "job": {"main_behind": ["events"]}})
    shop.sync()
    table = shop.table("events")
    table.overwrite(table.scan().to_arrow())  # somebody else moved main meanwhile
    job = shop.sync()
    assert job["status"] == "failed"
    assert "have diverged: cannot fast-forward main" in shop.service.store.job(job["jobId"]).message
    assert shop.sync("reset")["status"] == "succeeded"
    assert shop.sync()["status"] == "succeeded"
    assert len(shop.lake("events")) == 201


def test_rows_are_delivered_twice(shop: Shop) -> None:
    shop.service.client.faults({"match": CREATE, "count": 2, "job": {"duplicate_rows": True}})
    shop.sync()
    assert [len(shop.lake(name)) for name in ("events", "lookups", "readings", "people")] == [400, 60, 20, 300]
    shop.sync()
    assert len(shop.lake("events")) == 402, "the row at the cursor again, twice"
    assert len(shop.lake("people")) == 300, "merged streams hide it"


def test_requests_are_recorded_without_secrets(shop: Shop) -> None:
    client = shop.service.client
    anonymous = Client(client.root)
    anonymous.authorize()
    job_id = client.submit(shop.id).json()["jobId"]
    client.faults({"match": {"path": "/jobs/*"}, "status": 500})
    client.http.get(f"/jobs/{job_id}?x=1")
    first, second, third = client.requests()[:3]
    assert (first["method"], first["path"], first["status"], first["body"]) == ("POST", "/applications/token", 200, {})
    assert (second["path"], second["body"]) == ("/jobs", {"connectionId": shop.id, "jobType": "sync"})
    assert (third["path"], third["query"], third["status"], third["fault"]["status"]) == (f"/jobs/{job_id}", "x=1", 500, 500)
    assert third["number"] > second["number"] > first["number"]
    assert CLIENT[1] not in json.dumps(client.requests())
    assert client.http.delete(f"{client.root}/_requests").json() == []


@pytest.mark.parametrize(
    "rule", [{}, {"status": 200}, {"status": 500, "count": 0}, {"match": {"verb": "GET"}, "status": 500}, {"job": {"explode": True}}, {"delay": -1}]
)
def test_rules_that_make_no_sense_are_refused(shop: Shop, rule: dict[str, Any]) -> None:
    answer = shop.service.client.faults(rule)
    assert (answer.status_code, answer.json()["title"]) == (422, "unprocessable-entity")
    assert shop.service.client.http.get(f"{shop.service.client.root}/_faults").json() == []
