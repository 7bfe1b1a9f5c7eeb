"""The local Open edX misbehaves exactly as told, as often as told, and says what was asked of it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.openedx_service import CLIENT, EXPORTS, OUTLINES, Service, running


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running(230) as found:
        yield found


@pytest.fixture(autouse=True)
def _clean(service: Service) -> Iterator[None]:
    service.clear()
    yield
    service.change(restore=list(service.store._runs))


@pytest.fixture
def http(service: Service) -> httpx.Client:
    """A client with a token."""
    return service.authorized()


@pytest.mark.parametrize("status", [401, 404, 429, 500, 502, 503])
def test_statuses_are_answered_without_doing_anything(service: Service, http: httpx.Client, status: int) -> None:
    before = len(service.exports())
    service.faults({"match": EXPORTS, "count": 2, "status": status, **({"retry_after": 7} if status == 429 else {})})
    for _ in range(2):
        answer = service.start(http, service.ids[0])
        assert answer.status_code == status
        assert answer.headers.get("Retry-After") == ("7" if status == 429 else None)
    assert len(service.exports()) == before
    assert service.start(http, service.ids[0]).status_code == 200


@pytest.mark.parametrize("effect", ["half_body", "drop_answer"])
def test_a_lost_answer_comes_after_the_work(service: Service, http: httpx.Client, effect: str) -> None:
    before = len(service.exports())
    service.faults({"match": EXPORTS, effect: True})
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        service.start(http, service.ids[0])
    assert len(service.exports()) == before + 1
    assert http.get(f"{service.lms}/api/user/v1/me").status_code == 200, "only that connection was closed"


def test_slow_answers_and_latency(service: Service, http: httpx.Client) -> None:
    service.faults({"match": {"path": OUTLINES}, "delay": 0.3})
    begin = time.monotonic()
    http.get(f"{service.lms}/api/learning_sequences/v1/course_outline/{service.ids[0]}").raise_for_status()
    assert time.monotonic() - begin >= 0.3
    assert service.openedx is not None
    service.openedx.application.latency = 0.2
    try:
        begin = time.monotonic()
        http.get(f"{service.lms}/api/user/v1/me").raise_for_status()
        assert time.monotonic() - begin >= 0.2
    finally:
        service.openedx.application.latency = 0.0


def test_a_share_of_the_requests_is_hit_the_same_ones_every_time(service: Service, http: httpx.Client) -> None:
    url = f"{service.lms}/api/learning_sequences/v1/course_outline/{service.ids[0]}"
    hits = []
    for _ in range(2):
        service.http.delete("/_faults")
        service.faults({"match": {"path": OUTLINES}, "count": None, "share": 0.2, "seed": 5, "status": 503})
        hits.append([http.get(url).status_code for _ in range(60)])
    assert hits[0] == hits[1]
    assert 4 <= hits[0].count(503) <= 22
    assert service.http.get("/_faults").json()[0]["hit"] == hits[0].count(503)


def test_skip_and_count_choose_the_requests(service: Service, http: httpx.Client) -> None:
    service.faults({"match": {"method": "GET", "path": "*/me"}, "skip": 2, "count": 1, "status": 500})
    assert [http.get(f"{service.lms}/api/user/v1/me").status_code for _ in range(5)] == [200, 200, 500, 200, 200]


def test_what_was_asked_is_on_record_without_secrets(service: Service, http: httpx.Client) -> None:
    service.token()
    service.faults({"match": {"path": "*/me"}, "status": 500})
    http.get(f"{service.lms}/api/user/v1/me?x=1")
    first, second = service.requests()[-2:]
    assert (first["method"], first["path"], first["status"]) == ("POST", "/mitxonline/lms/oauth2/access_token", 200)
    assert (second["path"], second["query"], second["status"], second["fault"]["status"]) == ("/mitxonline/lms/api/user/v1/me", "x=1", 500, 500)
    text = json.dumps(service.requests())
    assert CLIENT[1] not in text
    assert http.headers["Authorization"].split()[1] not in text


@pytest.mark.parametrize(
    "rule", [{}, {"status": 200}, {"status": 500, "count": 0}, {"match": {"verb": "GET"}, "status": 500}, {"export": {"end": "Gone"}}, {"delay": -1}]
)
def test_rules_that_make_no_sense_are_refused(service: Service, rule: dict[str, Any]) -> None:
    assert service.faults(rule).status_code == 422
    assert service.http.get("/_faults").json() == []


def test_changes_that_make_no_sense_are_refused(service: Service) -> None:
    for what in ({"publish": ["course-v1:No+such+run"]}, {"explode": True}, [1]):
        assert service.http.post("/_courses/mitxonline", json=what).status_code == 422
    assert service.http.post("/_courses/edx", json={}).status_code == 404
