"""A sender that is killed at any step, or several at once: every event is applied once, in its course's order."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psycopg

from tests.jobs.openedx.webhooks.harness import QUICK, World, course, event, per_course, start_job

CHILDREN = "tests.jobs.openedx.webhooks.children"
STEPS = 6
"""Of one event: the attempt is counted, the request is sent, the outcome is written; each before and after."""


def test_a_sender_killed_at_every_step(world: World, tmp_path: Path) -> None:
    """Each child goes on where the one before it died, one step further in its own work."""
    versions = list(range(2 * STEPS))
    world.enqueue(*(event(1, version) for version in versions))
    for step in range(1, STEPS + 3):
        assert start_job(tmp_path, "webhook-deliver", *QUICK, "--at-once", "1", entry=(CHILDREN, "0", str(step))).wait(60) == -signal.SIGKILL
    assert 0 < len(world.learn.applied()) < len(versions)
    lost = world.learn.outcomes().count("known")
    facts = world.deliver()
    assert per_course(world.learn.applied()) == {course(1): versions}
    assert lost + facts["duplicates"] >= 2, "answers were lost after the event was applied"
    assert world.rows("SELECT DISTINCT state FROM webhooks.events") == [{"state": "delivered"}]


def test_a_lane_is_free_as_soon_as_its_sender_is_dead(world: World, tmp_path: Path) -> None:
    """No lease has to run out."""
    world.enqueue(event())
    assert start_job(tmp_path, "webhook-deliver", *QUICK, entry=(CHILDREN, "0", "3")).wait(60) == -signal.SIGKILL
    started = time.monotonic()
    assert world.deliver()["delivered"] == 1
    assert time.monotonic() - started < 30
    assert world.row(event())["attempts"] == 2


def test_a_frozen_sender_holds_its_lane_and_its_late_outcome_undoes_nothing(world: World, tmp_path: Path) -> None:
    """The sender hangs; PostgreSQL drops it, as after ``idle_in_transaction_session_timeout``; another one delivers; then the first wakes up."""
    world.enqueue(event(1, 1), event(1, 2), event(2, 1))
    world.learn.faults({"hang": 15.0})
    child = start_job(tmp_path, "webhook-deliver", *QUICK, "--at-once", "1", "--timeout", "20")
    while len(world.learn.applied()) == 0:
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(signal.SIGSTOP)
    facts = world.deliver("--seconds", "1")
    assert facts["delivered"] == 1, "the other course's event"
    with psycopg.connect(world.dsn, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'webhook-outbox' AND state = 'idle in transaction'")
    assert world.deliver()["delivered"] == 2
    before = world.rows("SELECT * FROM webhooks.events ORDER BY sequence")
    child.send_signal(signal.SIGCONT)
    assert child.wait(60) == 75, "its lock is gone, so it ends as a transient failure"
    assert world.rows("SELECT * FROM webhooks.events ORDER BY sequence") == before
    assert per_course(world.learn.applied()) == {course(1): [1, 2], course(2): [1]}


def test_senders_at_once_share_the_work(world: World, tmp_path: Path) -> None:
    world.enqueue(*(event(number, version) for version in range(5) for number in range(12)))
    folders = [tmp_path / str(number) for number in range(3)]
    for folder in folders:
        folder.mkdir()
    children = [start_job(folder, "webhook-deliver", *QUICK) for folder in folders]
    assert [child.wait(90) for child in children] == [0, 0, 0]
    assert per_course(world.learn.applied()) == {course(number): list(range(5)) for number in range(12)}
    assert world.learn.outcomes() == ["applied"] * 60, "no event is sent by two"
