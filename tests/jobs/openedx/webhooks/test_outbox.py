"""What is written down is written once; what was given up is seen, and can be sent again without undoing what came later."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from include.contract import JobResult, PermanentError, TransientError
from include.jobs.openedx.webhooks.events import Event, content_files_event
from include.jobs.openedx.webhooks.outbox import Outbox
from tests.backfills import wait_until
from tests.jobs.openedx.webhooks.harness import World, course, event, per_course, run_job, start_job


def dead(world: World, *events: Event, reason: str = "status 400: no") -> None:
    world.execute(
        "UPDATE webhooks.events SET state = 'dead', status = 400, reason = %s, settled_at = now() WHERE id = ANY(%s)", [reason, [e.id for e in events]]
    )


def test_an_event_is_written_once(world: World) -> None:
    assert world.enqueue(event(), event(), event(version=2), event(2)) == [True, False, True, True]
    rows = world.rows("SELECT lane, body, state, attempts FROM webhooks.events ORDER BY sequence")
    assert [bytes(row["body"]) for row in rows] == [event().body, event(version=2).body, event(2).body]
    assert {(row["state"], row["attempts"]) for row in rows} == {("pending", 0)}


def test_one_run_tells_one_thing(world: World) -> None:
    world.enqueue(event())
    other = content_files_event(course_id=course(1), content_path="mitxonline/other", source="mitxonline", run_key=event().run_key)
    with pytest.raises(PermanentError, match=r"run key '.*@1' of mitxonline/.*: found .*mitxonline/other.*, but the run has told"):
        world.enqueue(other)
    assert bytes(world.row(event())["body"]) == event().body


def test_enqueuing_waits_for_no_sender(world: World) -> None:
    """A sender holds the lane while it waits for an answer; the course's next version is written down meanwhile."""
    world.enqueue(event())
    with psycopg.connect(world.dsn) as sender:
        sender.execute("SELECT FROM webhooks.lanes FOR NO KEY UPDATE")
        assert world.enqueue(event(version=2)) == [True]


def test_writers_at_once_write_each_event_once(world: World) -> None:
    events = [event(number, version) for number in range(4) for version in range(10)]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda one: world.enqueue(*one), [events] * 6))
    assert sum(map(sum, answers)) == len(events)
    assert world.rows("SELECT count(*) AS n FROM webhooks.events") == [{"n": len(events)}]


def test_makers_of_the_tables_do_not_collide(world: World) -> None:
    world.execute("DROP SCHEMA webhooks CASCADE")
    ready = threading.Barrier(4)

    def make(_: int) -> int:
        ready.wait()
        with Outbox(world.dsn) as outbox:
            return outbox.figures().pending

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(make, range(4))) == [0] * 4


def test_the_jobs_as_programs(world: World, tmp_path: Path) -> None:
    """By their command lines, with exit codes and results as agreed."""
    flags = ("--course-id", course(1), "--content-path", "mitxonline/a", "--source", "mitxonline", "--run-key", "v1")

    def result(name: str, *flags: str) -> tuple[int, JobResult | None]:
        (tmp_path / "result.json").unlink(missing_ok=True)
        code = start_job(tmp_path, name, *flags).wait(60)
        return code, JobResult.from_json((tmp_path / "result.json").read_text()) if code == 0 else None

    code, first = result("webhook-enqueue", *flags)
    assert (code, first is not None and first.facts["enqueued"]) == (0, True)
    assert result("webhook-enqueue", *flags[:-4], "--source", "mitx", "--run-key", "v1") == (64, None)
    code, delivered = result("webhook-deliver", "--limit", "5")
    assert code == 0
    assert delivered is not None
    assert {name: delivered.facts[name] for name in ("attempts", "delivered", "pending", "dead_letters")} == {
        "attempts": 1,
        "delivered": 1,
        "pending": 0,
        "dead_letters": 0,
    }
    assert result("webhook-deliver", "--limit", "0") == (64, None)
    assert result("webhook-deliver", "--timeout", "60") == (64, None)
    assert [item.idempotency_key for item in world.learn.applied()] == [first.facts["event_id"]] if first else False


def test_an_outbox_that_is_away_is_transient() -> None:
    with pytest.raises(TransientError, match="outbox does not answer"):
        Outbox("postgresql://nobody@127.0.0.1:1/webhooks")


# --- dead letters --------------------------------------------------------------------------------


def test_dead_letters_are_listed(world: World) -> None:
    world.enqueue(event(1), event(2), event(3))
    dead(world, event(1), event(2))
    facts = run_job("webhook-dead-letters", "--limit", "1")
    assert facts["dead_letters"] == 2
    (letter,) = facts["letters"]
    assert {name: letter[name] for name in ("id", "lane", "endpoint", "run_key", "status", "reason", "superseded")} == {
        "id": str(event(1).id),
        "lane": event(1).lane,
        "endpoint": "content_files",
        "run_key": event(1).run_key,
        "status": 400,
        "reason": "status 400: no",
        "superseded": False,
    }
    with pytest.raises(PermanentError, match=r"(?s)2 dead letters; .*\n.*status 400: no\n.*status 400: no"):
        run_job("webhook-dead-letters", "--fail-when-any")


def test_nothing_dead_is_no_failure(world: World) -> None:
    world.enqueue(event())
    assert run_job("webhook-dead-letters", "--fail-when-any") == {"dead_letters": 0, "letters": []}


def test_a_replay_goes_before_later_events_under_the_same_key(world: World) -> None:
    world.enqueue(*(event(1, version) for version in (1, 2, 3)))
    dead(world, event(1, 1))
    facts = run_job("webhook-replay", "--id", str(event(1, 1).id))
    assert facts == {"replayed": [str(event(1, 1).id)], "superseded": []}
    assert world.deliver()["delivered"] == 3
    assert per_course(world.learn.applied()) == {course(1): [1, 2, 3]}
    assert world.learn.applied()[0].idempotency_key == str(event(1, 1).id)
    assert (world.row(event(1, 1))["attempts"], world.row(event(1, 1))["replays"]) == (1, 1)


def test_a_replay_of_what_was_applied_after_all_applies_nothing(world: World) -> None:
    world.enqueue(event())
    world.learn.faults({"hang": 5.0})
    facts = world.deliver("--timeout", "1.5", "--attempts", "1")
    wait_until(lambda: len(world.learn.applied()) == 1, 120, every=0.05)
    assert (facts["died"], facts["dead_letters"]) == (1, 1)
    assert "given up after 1 attempts" in world.row(event())["reason"]
    run_job("webhook-replay", "--all")
    facts = world.deliver()
    assert (facts["delivered"], facts["duplicates"], len(world.learn.applied())) == (1, 1, 1)


def test_a_superseded_letter_is_left(world: World) -> None:
    """MIT Learn would go back to the older archive."""
    world.enqueue(event(1, 1), event(1, 2), event(2, 1))
    dead(world, event(1, 1), event(2, 1))
    world.deliver()
    assert run_job("webhook-replay", "--all") == {"replayed": [str(event(2, 1).id)], "superseded": [str(event(1, 1).id)]}
    with pytest.raises(PermanentError, match=f"found {event(1, 1).id}, superseded by later deliveries"):
        run_job("webhook-replay", "--id", str(event(1, 1).id))
    assert world.states(event(1, 1), event(2, 1)) == ["dead", "pending"]
    assert run_job("webhook-replay", "--id", str(event(1, 1).id), "--even-if-superseded")["replayed"] == [str(event(1, 1).id)]


def test_a_replay_waits_for_the_sender_in_the_lane(world: World) -> None:
    """Otherwise the sender's delivery, of which the replay knows nothing yet, would be followed by the older event."""
    world.enqueue(event(1, 1), event(1, 2))
    dead(world, event(1, 1))
    world.learn.faults({"delay": 1.0})
    with ThreadPoolExecutor(2) as pool:
        sending = pool.submit(world.deliver)
        deadline = time.monotonic() + 10
        while world.row(event(1, 2))["attempts"] == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        replaying = pool.submit(run_job, "webhook-replay", "--all")
        assert replaying.result(20)["superseded"] == [str(event(1, 1).id)]
        assert sending.result(20)["delivered"] == 1
    assert per_course(world.learn.applied()) == {course(1): [2]}


def test_only_dead_letters_are_replayed(world: World) -> None:
    world.enqueue(event(1), event(2))
    dead(world, event(1))
    with pytest.raises(PermanentError, match=f"found {event(2).id}; allowed: ids of dead letters"):
        run_job("webhook-replay", "--id", str(event(1).id), "--id", str(event(2).id))
    assert world.states(event(1)) == ["dead"], "nothing is replayed when one of the ids is wrong"
