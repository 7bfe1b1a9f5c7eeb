"""Every kind of answer, and what it does to the event, to its course and to the run."""

from __future__ import annotations

import random
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import psycopg
import pytest

from include.contract import PermanentError, TransientError
from include.jobs.openedx.webhooks import client as client_module
from include.jobs.openedx.webhooks.retries import Policy, seconds_to_wait
from tests.jobs.openedx.webhooks.harness import World, course, event, per_course, run_job
from tests.local.services.airbyte_harness import wait_until
from tests.local.services.learn_harness import secrets_of
from tests.ports import free_port

ONE = ("--limit", "1")


def test_what_is_sent_is_what_was_written_down(world: World) -> None:
    world.enqueue(event())
    facts = world.deliver()
    assert {name: facts[name] for name in ("attempts", "delivered", "duplicates", "retried", "died", "pending", "dead_letters")} == {
        "attempts": 1,
        "delivered": 1,
        "duplicates": 0,
        "retried": 0,
        "died": 0,
        "pending": 0,
        "dead_letters": 0,
    }
    (receipt,) = world.learn.receipts()
    assert (receipt.path, receipt.body, receipt.outcome) == ("/api/v1/webhooks/content_files/", event().body, "applied")
    assert receipt.headers["idempotency-key"] == str(event().id)
    row = world.row(event())
    assert (row["state"], row["status"], row["key_id"], row["attempts"]) == ("delivered", 200, "old", 1)


def test_today_s_receiver_is_served_as_well(world: World) -> None:
    """The old header is as it was: a receiver that knows no other takes it."""
    world.learn.fresh("today")
    world.enqueue(event())
    assert world.deliver()["delivered"] == 1


def test_nothing_to_do_is_done_at_once(world: World) -> None:
    started = time.monotonic()
    assert world.deliver("--seconds", "60")["attempts"] == 0
    assert time.monotonic() - started < 30


TRANSIENT: tuple[tuple[dict[str, Any], str], ...] = (
    ({"status": 500}, "status 500"),
    ({"status": 503}, "status 503"),
    ({"status": 429}, "status 429"),
    ({"status": 408}, "status 408"),
    ({"hang": 2.0}, "no whole answer within 0.5 s"),
    ({"drip": 5.0}, "no whole answer within 0.5 s"),
    ({"half_body": True}, "status 200 without MIT Learn's answer"),
    ({"drop_answer": True}, "Error: "),
    ({"answer": "<html>please sign in</html>"}, "status 200 without MIT Learn's answer: '<html>please sign in</html>'"),
    ({"answer": '{"status":"error"}'}, "status 200 without MIT Learn's answer"),
    ({"answer": "x" * 100_000}, "status 200 without MIT Learn's answer: 'xxx"),
    ({"answer": '"\\u0000\x00"'}, "status 200 without MIT Learn's answer"),
)


@pytest.mark.parametrize(("fault", "reason"), TRANSIENT, ids=lambda value: str(value)[:40])
def test_transient_failures_are_tried_again_and_applied_once(world: World, fault: dict[str, Any], reason: str) -> None:
    """System §3.2: 408, 429, 5xx and answers that never came whole."""
    world.enqueue(event())
    world.learn.faults(fault)
    facts = world.deliver(*ONE, "--timeout", "0.5" if "0.5 s" in reason else "30")
    row = world.row(event())
    assert (facts["retried"], row["state"], row["attempts"]) == (1, "pending", 1)
    assert reason in row["reason"]
    assert world.deliver()["delivered"] == 1
    assert len(world.learn.applied()) == 1


@pytest.mark.parametrize("fault", [{"status": status} for status in (400, 404, 405, 409, 410, 413, 422)] + [{"redirect": "http://127.0.0.1:9/"}])
def test_permanent_failures_are_dead_at_once(world: World, fault: dict[str, Any]) -> None:
    """System §3.2: a webhook was once tried 5,363 times on a 405."""
    world.enqueue(event(1, 1), event(1, 2))
    world.learn.faults(fault)
    facts = world.deliver()
    assert (facts["died"], facts["died_ids"], facts["delivered"], facts["dead_letters"]) == (1, [str(event(1, 1).id)], 1, 1)
    assert world.states(event(1, 1), event(1, 2)) == ["dead", "delivered"]
    assert (world.row(event(1, 1))["attempts"], world.row(event(1, 1))["status"]) == (1, fault.get("status", 307))


def test_a_redirect_is_not_followed(world: World) -> None:
    """S-14."""
    world.enqueue(event())
    world.learn.faults({"redirect": f"{world.learn.url}/_settings"})
    world.deliver()
    assert world.row(event())["reason"] == f"status 307: redirect to '{world.learn.url}/_settings', which is not followed"
    assert len(world.learn.receipts()) == 1


def test_tries_are_bounded_in_number(world: World) -> None:
    world.enqueue(event())
    world.learn.faults({"status": 500, "count": None})
    assert world.deliver("--attempts", "4")["died"] == 1
    assert (world.row(event())["attempts"], len(world.learn.receipts())) == (4, 4)
    assert world.row(event())["reason"].startswith("given up after 4 attempts in ")


def test_tries_are_bounded_in_time_but_one_is_always_made(world: World) -> None:
    world.enqueue(event())
    world.execute("UPDATE webhooks.events SET queued_at = now() - interval '2 days'")
    world.learn.faults({"status": 500})
    assert world.deliver()["died"] == 1
    assert world.row(event())["attempts"] == 1


def test_attempts_of_killed_senders_count(world: World) -> None:
    """An event at which every sender dies is given up without being sent once more."""
    world.enqueue(event())
    world.execute("UPDATE webhooks.events SET attempts = 24")
    assert world.deliver()["died"] == 1
    assert world.learn.receipts() == []
    assert "its sender was killed" in world.row(event())["reason"]


# --- waiting -------------------------------------------------------------------------------------


def test_waits_double_up_to_a_bound_and_differ() -> None:
    policy, chance = Policy(first_wait=2, longest_wait=60), random.Random(1)
    for attempt, whole in enumerate((2, 4, 8, 16, 32, 60, 60), start=1):
        waits = [policy.wait(attempt, chance) for _ in range(50)]
        assert whole / 2 <= min(waits) < max(waits) <= whole
        assert max(waits) - min(waits) > whole / 4
    assert policy.wait(1_000_000, chance) <= 60
    assert policy.wait(1, chance, retry_after=45) == 45
    assert policy.wait(1, chance, retry_after=1e9) == policy.deadline


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("7", 7), ("Sat, 21 Nov 2026 12:00:30 GMT", 30), ("Sat, 21 Nov 2026 11:00:00 GMT", 0), (None, None), ("soon", None), ("-5", None), ("", None)],
)
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert seconds_to_wait(text, datetime(2026, 11, 21, 12, tzinfo=UTC)) == seconds


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured_by_the_whole_run(world: World, status: int) -> None:
    world.enqueue(*(event(number) for number in range(4)))
    world.learn.faults({"status": status, "retry_after": 1})
    assert world.deliver("--at-once", "1")["delivered"] == 4
    first, *others = world.learn.receipts()
    assert others[0].at - first.at >= 1


def test_retry_after_as_a_date_is_read_by_the_receiver_s_clock(world: World) -> None:
    world.enqueue(event())
    world.learn.settings(skew=600)
    world.learn.faults({"status": 503, "retry_after": format_datetime(datetime.now(UTC) + timedelta(seconds=602), usegmt=True)})
    assert world.deliver()["delivered"] == 1, "2 s away by its own clock, ten minutes by ours"


def test_a_pause_that_outlasts_the_run_ends_it(world: World) -> None:
    world.enqueue(*(event(number) for number in range(4)))
    world.learn.faults({"status": 429, "retry_after": 3600})
    started = time.monotonic()
    facts = world.deliver("--at-once", "1", "--seconds", "60")
    assert (facts["attempts"], facts["pending"]) == (1, 4)
    assert time.monotonic() - started < 30


# --- bounds of a run -----------------------------------------------------------------------------


def test_a_run_keeps_to_its_limit(world: World) -> None:
    world.enqueue(*(event(number) for number in range(20)))
    facts = world.deliver("--limit", "7", "--at-once", "5")
    assert (facts["attempts"], facts["delivered"], facts["pending"]) == (7, 7, 13)


def test_a_run_keeps_to_its_time(world: World) -> None:
    world.enqueue(*(event(number) for number in range(50)))
    world.learn.faults({"delay": 0.8, "count": None})  # 20 s for all of them
    started = time.monotonic()
    facts = world.deliver("--seconds", "2", "--at-once", "2")
    assert time.monotonic() - started < 15
    assert 0 < facts["delivered"] == 50 - facts["pending"]


def test_a_receiver_that_fails_for_all_ends_the_run_early(world: World) -> None:
    """Otherwise an hour of trouble would use up everybody's tries."""
    world.enqueue(*(event(number) for number in range(60)))
    world.learn.faults({"status": 503, "count": None})
    with pytest.raises(TransientError, match=r"20 attempts in a row failed, the last one: status 503"):
        world.deliver()
    assert len(world.learn.receipts()) < 30
    assert world.rows("SELECT DISTINCT state FROM webhooks.events") == [{"state": "pending"}]


def test_an_address_that_is_not_mit_learn_s_makes_few_dead_letters(world: World) -> None:
    world.enqueue(*(event(number) for number in range(60)))
    world.patch.setenv("MIT_LEARN_BASE_URL", f"{world.learn.url}/elsewhere")
    with pytest.raises(PermanentError, match=r"20 events in a row became dead letters, the last one: status 404.*check MIT_LEARN_BASE_URL"):
        world.deliver()
    dead = world.rows("SELECT count(*) AS n FROM webhooks.events WHERE state = 'dead'")[0]["n"]
    assert 20 <= dead < 25
    world.patch.setenv("MIT_LEARN_BASE_URL", world.learn.url)
    assert len(run_job("webhook-replay", "--all")["replayed"]) == dead
    assert world.deliver()["delivered"] == 60


def test_a_receiver_that_is_away_is_transient(world: World) -> None:
    world.enqueue(*(event(number) for number in range(30)))
    world.patch.setenv("MIT_LEARN_BASE_URL", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(TransientError, match="the last one: ConnectError"):
        world.deliver()


def test_an_outbox_that_goes_away_is_transient(world: World) -> None:
    world.enqueue(event())
    world.learn.faults({"delay": 5.0})
    with psycopg.connect(world.dsn, autocommit=True) as connection:

        def cut() -> None:
            wait_until(lambda: world.learn.http.get("/_faults").json()[0]["matched"] == 1, what="the request")
            connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'webhook-outbox' AND pid <> pg_backend_pid()")

        thread = threading.Thread(target=cut)
        thread.start()
        with pytest.raises(TransientError, match="outbox went away"):
            world.deliver()
        thread.join()
    assert world.deliver()["delivered"] == 1
    wait_until(lambda: world.learn.outcomes() == ["applied", "known"], what="the delayed request")


# --- order ---------------------------------------------------------------------------------------


def test_a_course_s_events_wait_for_each_other(world: World) -> None:
    world.enqueue(*(event(number, version) for version in range(4) for number in range(3)))
    world.learn.faults({"status": 500, "count": None, "share": 0.5, "seed": 5})
    world.deliver("--at-once", "6", "--attempts", "1000")
    assert per_course(world.learn.applied()) == {course(number): [0, 1, 2, 3] for number in range(3)}


def test_a_course_in_trouble_holds_up_no_other(world: World) -> None:
    world.enqueue(event(1, 1), event(1, 2), event(2, 1), event(2, 2))
    world.learn.faults({"status": 500})
    world.deliver("--at-once", "1", "--first-wait", "3600", "--longest-wait", "3600")
    assert world.states(event(1, 1), event(1, 2), event(2, 1), event(2, 2)) == ["pending", "pending", "delivered", "delivered"]


# --- clocks and keys -----------------------------------------------------------------------------


@pytest.mark.parametrize("ours", [-600, 0, 600])
@pytest.mark.parametrize("theirs", [-600, 600])
def test_clocks_that_differ(world: World, ours: float, theirs: float) -> None:
    """R-8: the receiver's ``Date`` is followed, and its five minutes stay five minutes."""
    world.learn.settings(skew=theirs)
    world.patch.setattr(client_module, "wall_clock", lambda: time.time() + ours)
    world.enqueue(*(event(number) for number in range(6)))
    facts = world.deliver("--at-once", "1")
    assert (facts["delivered"], facts["attempts"], facts["retried"]) == (6, 6, 0)
    differ = ours != theirs
    assert world.learn.outcomes() == ["timestamp"] * differ + ["applied"] * 6, "once per run, not once per event"


def test_a_clock_too_far_away_is_not_followed(world: World) -> None:
    world.learn.settings(skew=2 * 3600)
    world.enqueue(*(event(number) for number in range(5)))
    with pytest.raises(PermanentError, match=r"MIT Learn refuses the sender: status 403.*signed 72\d\d s ago"):
        world.deliver("--at-once", "1")


@pytest.mark.parametrize(
    ("ours", "theirs"), [(("new", "old"), ("old",)), (("old", "new"), ("new",)), (("new", "old"), ("old", "new")), (("new",), ("old", "new"))]
)
def test_keys_rotate_in_any_order(world: World, ours: tuple[str, ...], theirs: tuple[str, ...]) -> None:
    world.learn.settings(keys=secrets_of(*theirs))
    world.keys(*ours)
    world.enqueue(*(event(number) for number in range(6)))
    facts = world.deliver("--at-once", "1")
    assert (facts["delivered"], facts["attempts"]) == (6, 6)
    used = next(name for name in ours if name in theirs)
    assert {row["key_id"] for row in world.rows("SELECT key_id FROM webhooks.events")} == {used}
    assert world.learn.outcomes().count("key") == (ours[0] not in theirs), "asked once, then remembered"


def test_a_key_nobody_knows_and_a_clock_that_is_wrong(world: World) -> None:
    world.learn.settings(skew=-600)
    world.keys("new", "old")
    world.enqueue(event())
    assert world.deliver()["delivered"] == 1


def test_a_wrong_key_ends_the_run_and_costs_no_event(world: World) -> None:
    """401 and 403 are about the sender: no event is given up for it, and no later one of a course overtakes."""
    world.keys("wrong")
    world.enqueue(*(event(number, version) for version in range(2) for number in range(10)))
    with pytest.raises(PermanentError, match=r"MIT Learn refuses the sender: status 403.*key wrong is not known.*the events keep their places"):
        world.deliver("--at-once", "1")
    assert len(world.learn.receipts()) == 3
    world.keys("old")
    assert world.deliver()["delivered"] == 20
    assert per_course(world.learn.applied()) == {course(number): [0, 1] for number in range(10)}


def test_an_event_that_alone_is_refused_is_given_up_in_the_end(world: World) -> None:
    world.enqueue(event(1), event(2))
    world.learn.faults({"status": 403, "count": 2})
    facts = world.deliver("--at-once", "1", "--attempts", "2", "--first-wait", "0", "--longest-wait", "0")
    assert (facts["died"], facts["delivered"]) == (1, 1)
    assert world.states(event(1), event(2)) == ["dead", "delivered"]
