"""The MIT Learn stand-in: what it believes, what it applies, how it misbehaves, and that a kill loses nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
import pytest

from tests.local.services.learn_harness import COURSE, Delivery, Learn, LearnProcess, running_learn, secrets_of


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Learn]:
    with running_learn(tmp_path_factory.mktemp("learn") / "state.sqlite") as learn:
        yield learn


@pytest.fixture
def learn(service: Learn) -> Learn:
    service.fresh()
    return service


def error_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]


# --- what is believed ----------------------------------------------------------------------------


def test_a_signed_delivery_is_applied(learn: Learn) -> None:
    answer = learn.send(Delivery(idempotency_key="k-1"))
    assert (answer.status_code, answer.json()) == (200, {"status": "success", "message": "Webhook received"})
    assert [(item.idempotency_key, item.endpoint, json.loads(item.body)["course_id"]) for item in learn.applied()] == [("k-1", "content_files", COURSE)]


@pytest.mark.parametrize("name", ["X-MITLearn-Signature", "X-MITLearn-Timestamp", "X-MITLearn-Key-Id", "Idempotency-Key", "X-MITLearn-Signature-V2"])
def test_every_header_is_needed_and_bound(learn: Learn, name: str) -> None:
    """A6-9: neither a header that is missing nor one that was exchanged is believed."""
    delivery = Delivery()
    assert error_of(learn.send(delivery, **{name: None})) == (403, "header")
    learn.settings(keys=secrets_of("old", "new"))
    other = replace(delivery, key_id="new", at=delivery.at + 5, idempotency_key="other")
    status, error = error_of(learn.send(delivery, **{name: other.headers()[name]}))
    assert (status, error) == (403, "signature")
    assert learn.applied() == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("X-MITLearn-Timestamp", "1e9"), ("X-MITLearn-Timestamp", "-5"), ("Idempotency-Key", ""), ("Idempotency-Key", "a b"), ("X-MITLearn-Signature", "A" * 64)],
)
def test_a_header_of_another_form_is_refused(learn: Learn, name: str, value: str) -> None:
    assert error_of(learn.send(Delivery(), **{name: value})) == (403, "header")


def test_the_body_is_bound_byte_by_byte(learn: Learn) -> None:
    delivery = Delivery()
    answer = learn.http.post(delivery.path, content=delivery.body.replace(b": ", b":"), headers=delivery.headers())
    assert error_of(answer) == (403, "signature")


def test_the_path_is_bound(learn: Learn) -> None:
    """The body and today's signature of one endpoint are good at another; the second signature is not."""
    delivery = Delivery()
    answer = learn.http.post("/api/v1/webhooks/learning_resources/", content=delivery.body, headers=delivery.headers())
    assert error_of(answer) == (403, "signature")


@pytest.mark.parametrize(
    ("age", "outcome"), [(0, "applied"), (290, "applied"), (-290, "applied"), (310, "timestamp"), (-310, "timestamp"), (86_400, "timestamp")]
)
def test_a_timestamp_is_good_for_five_minutes_either_way(learn: Learn, age: float, outcome: str) -> None:
    learn.send(Delivery(at=time.time() - age))
    assert learn.outcomes() == [outcome]


def test_a_replay_within_five_minutes_is_answered_but_not_applied_again(learn: Learn) -> None:
    delivery = Delivery()
    first, second = learn.send(delivery), learn.send(delivery)
    assert (first.json(), first.headers.get("Idempotent-Replayed")) == (second.json(), None)
    assert second.headers["Idempotent-Replayed"] == "true"
    assert (learn.outcomes(), len(learn.applied())) == (["applied", "known"], 1)


def test_a_replay_after_five_minutes_is_refused(learn: Learn) -> None:
    """A6-9."""
    delivery = Delivery()
    learn.send(delivery)
    learn.settings(skew=301)
    assert error_of(learn.send(delivery)) == (403, "timestamp")


def test_an_idempotency_key_stands_for_one_body(learn: Learn) -> None:
    learn.send(Delivery(idempotency_key="k"))
    other = Delivery(idempotency_key="k", body=Delivery().body.replace(b"a.tar.gz", b"b.tar.gz"))
    assert error_of(learn.send(other)) == (422, "reused")
    assert len(learn.applied()) == 1


def test_keys_rotate(learn: Learn) -> None:
    assert error_of(learn.send(Delivery(key_id="new"))) == (403, "key")
    learn.settings(keys=secrets_of("old", "new"))
    assert [learn.send(Delivery(key_id=name)).status_code for name in ("old", "new")] == [200, 200]
    learn.settings(keys=secrets_of("new"))
    assert error_of(learn.send(Delivery(key_id="old"))) == (403, "key")
    answer = learn.http.put("/_settings", json={"keys": secrets_of("old", "new", "wrong")})
    assert (answer.status_code, "at most 2" in answer.json()["message"]) == (422, True)
    assert "secret" not in learn.http.get("/_settings").text


def test_today_s_mode_is_as_open_as_today(learn: Learn) -> None:
    """What A6-9 is about: one header, good for ever, applied as often as it comes."""
    learn.fresh("today")
    delivery = Delivery(at=1.0)
    none = dict.fromkeys(["X-MITLearn-Timestamp", "X-MITLearn-Key-Id", "Idempotency-Key", "X-MITLearn-Signature-V2"])
    assert [learn.send(delivery, **none).status_code for _ in range(2)] == [200, 200]
    assert len(learn.applied()) == 2
    assert error_of(learn.send(delivery, **none, **{"X-MITLearn-Signature": "0" * 64})) == (403, "signature")


# --- what is taken -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "body", "status"),
    [
        ("content_files", b'{"source":"xpro"}', 200),
        ("content_files", b'{"source":"mitx"}', 400),
        ("content_files", b"{", 400),
        ("ovs_videos", b'{"key":"' + b"a" * 32 + b'","title":"x"}', 200),
        ("ovs_videos", b'{"video_id":"v","delete":true}', 200),
        ("ovs_videos", b'{"delete":true}', 400),
        ("ovs_videos", b'{"key":"../x"}', 400),
        ("learning_resources", b'{"resources":[{"readable_id":"r","etl_source":"oll","resource_type":"course"}]}', 200),
        ("learning_resources", b'{"resources":[]}', 400),
        ("learning_resources", b'{"resources":[{"readable_id":"r"}]}', 400),
    ],
)
def test_bodies(learn: Learn, endpoint: str, body: bytes, status: int) -> None:
    assert learn.send(Delivery(body=body, path=f"/api/v1/webhooks/{endpoint}/")).status_code == status
    assert len(learn.applied()) == (status == 200)


def test_other_paths_and_methods(learn: Learn) -> None:
    assert learn.http.post("/api/v1/webhooks/other/").status_code == 404
    assert learn.http.post("/api/v1/webhooks/content_files").status_code == 404
    assert learn.http.get("/api/v1/webhooks/content_files/").status_code == 405


# --- misbehaviour --------------------------------------------------------------------------------


def test_it_fails_on_request(learn: Learn) -> None:
    learn.faults({"status": 429, "retry_after": 7}, {"status": 503, "retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, {"status": 500, "after_work": True})
    answers = [learn.send(Delivery()) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [429, 503, 500, 200]
    assert [answer.headers.get("Retry-After") for answer in answers[:2]] == ["7", "Wed, 21 Oct 2026 07:28:00 GMT"]
    assert len(learn.applied()) == 2, "the last failure came after the work"


def read_slowly(learn: Learn, delivery: Delivery, patience: float, byte: float) -> None:
    """Reads the answer; the whole may take ``patience`` seconds and each byte of it ``byte``."""
    timeout = httpx.Timeout(30, read=byte)
    with learn.http.stream("POST", delivery.path, content=delivery.body, headers=delivery.headers(), timeout=timeout) as answer:
        started = time.monotonic()
        for _ in answer.iter_raw():
            if time.monotonic() - started > patience:
                raise TimeoutError


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"half_body": True}, httpx.RemoteProtocolError),
        ({"drop_answer": True}, httpx.TransportError),
        ({"hang": 1.5}, httpx.ReadTimeout),
        ({"drip": 5}, TimeoutError),
    ],
)
def test_an_answer_may_be_lost_after_the_work(learn: Learn, fault: dict[str, object], error: type[Exception]) -> None:
    learn.faults(fault)
    with pytest.raises(error):
        read_slowly(learn, Delivery(), 0.5, 0.3 if "hang" in fault else 30)
    assert len(learn.applied()) == 1


def test_a_request_may_be_doubled_on_its_way(learn: Learn) -> None:
    learn.faults({"twice": True})
    assert learn.send(Delivery()).headers["Idempotent-Replayed"] == "true"
    assert (learn.outcomes(), len(learn.applied())) == (["applied", "known"], 1)


def test_redirects_strange_answers_and_delays(learn: Learn) -> None:
    learn.faults({"redirect": "http://127.0.0.1:1/"}, {"answer": "<html>sign in</html>"}, {"delay": 0.3})
    first, second = learn.send(Delivery()), learn.send(Delivery())
    assert (first.status_code, first.headers["Location"]) == (307, "http://127.0.0.1:1/")
    assert (second.status_code, second.text) == (200, "<html>sign in</html>")
    started = time.monotonic()
    assert learn.send(Delivery()).status_code == 200
    assert time.monotonic() - started >= 0.3


def test_shares_are_drawn_and_rules_counted(learn: Learn) -> None:
    learn.faults({"match": {"path": "content_*"}, "skip": 1, "count": None, "share": 0.5, "seed": 3, "status": 500})
    answers = [learn.send(Delivery()).status_code for _ in range(60)]
    assert answers[0] == 200
    assert 15 <= answers.count(500) <= 45
    assert learn.http.get("/_faults").json()[0]["matched"] == 60
    learn.http.delete("/_faults")
    assert learn.send(Delivery()).status_code == 200


@pytest.mark.parametrize(("rule", "told"), [({}, "a rule needs an effect"), ({"status": 200}, "greater than or equal to 400"), ({"statsu": 500}, "statsu")])
def test_a_rule_that_says_nothing_is_refused(learn: Learn, rule: dict[str, object], told: str) -> None:
    answer = learn.http.post("/_faults", json=[rule])
    assert (answer.status_code, told in answer.json()["message"]) == (422, True)


def test_its_clock_may_be_wrong(learn: Learn) -> None:
    learn.settings(skew=600)
    ahead = parsedate_to_datetime(learn.send(Delivery()).headers["Date"]) - datetime.now(UTC)
    assert 595 < ahead.total_seconds() < 605
    assert [learn.send(Delivery(at=time.time() + 600)).status_code, learn.send(Delivery()).status_code] == [200, 403]


# --- kills ---------------------------------------------------------------------------------------


def test_a_kill_loses_neither_what_was_applied_nor_keys_nor_clock(tmp_path: Path) -> None:
    process = LearnProcess(tmp_path / "state.sqlite", tmp_path / "log")
    try:
        learn = process.start()
        learn.settings(keys=secrets_of("new", "old"), skew=30)
        deliveries = [Delivery(key_id="new") for _ in range(20)]
        for delivery in deliveries:
            assert learn.send(delivery).status_code == 200
        process.kill()
        learn = process.start()
        assert learn.http.get("/_settings").json() == {"keys": ["new", "old"], "mode": "strict", "skew": 30}
        assert all(learn.send(delivery).headers["Idempotent-Replayed"] == "true" for delivery in deliveries)
        assert [item.idempotency_key for item in learn.applied()] == [delivery.idempotency_key for delivery in deliveries]
        assert len(learn.receipts()) == 40
        assert (tmp_path / "state.sqlite").stat().st_mode & 0o077 == 0
    finally:
        process.kill()


def test_it_says_why_it_cannot_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from include.local.services.learn.__main__ import main

    monkeypatch.setenv("MIT_LEARN_WEBHOOK_KEYS", "short=secret")
    assert main(["--port", "1", "--state", str(tmp_path / "s")]) == 1
    assert "MIT_LEARN_WEBHOOK_KEYS: found an id of 5 and a secret of 6 characters" in caplog.text
