"""A task that comes back from its trigger before its first half's end is known: with Airflow's own executor, its workers and its taking in of their words."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import second_halves
from second_halves import LONGEST, ROUND, Words

from tests.plugins.scheduler_process import told, variables_in

# both halves work until they are let go; what the scheduler does in each round is done as it does it
TWICE = """
import multiprocessing, time
from airflow.executors.base_executor import BaseExecutor
from airflow.executors.workloads.base import BundleInfo
from airflow.executors.workloads.task import ExecuteTask, TaskInstanceDTO

unread = sys.argv[2] != "0"
begun, ends = multiprocessing.Value("i"), [multiprocessing.Event(), multiprocessing.Event()]
def work(workload, **_):
    with begun:
        begun.value += 1
        end = ends[begun.value - 1]
    end.wait(60)
BaseExecutor.run_workload = staticmethod(work)
ti = TaskInstanceDTO(id=task("deferred", own, "queued"), dag_version_id=uuid.uuid4(), task_id="deferred", dag_id="d", run_id="r", try_number=1,
    map_index=-1, pool_slots=1, queue="default", priority_weight=1)
half = ExecuteTask(token="", dag_rel_path="d.py", bundle_info=BundleInfo(name="b"), log_path=None, ti=ti)
def rounds_until(enough):
    last = time.monotonic() + 30
    while not enough() and time.monotonic() < last:
        executor.heartbeat()
        with Session() as session:
            runner._process_executor_events(executor=executor, session=session)
            session.commit()
        time.sleep(0.05)
def seen():
    return [states(TaskInstance.state)["deferred"], begun.value]
executor.start()
try:
    executor.queue_workload(half, session=None)
    rounds_until(lambda: begun.value == 1)
    executor.queue_workload(half, session=None)  # its trigger has fired
    passed = iter(range(5))
    rounds_until(lambda: next(passed, None) is None)
    told["first half at work"] = seen()
    ends[0].set()
    while unread and not executor.event_buffer:  # the word is there, but an outage kept the round from taking it in
        executor.sync()
    rounds_until(lambda: begun.value == 2)
    passed = iter(range(5))
    rounds_until(lambda: next(passed, None) is None)
    told["second half at work"] = seen()
finally:
    for end in ends:
        end.set()
    executor.end()
"""


@pytest.mark.parametrize("silent", [0, 60], ids=["as ever", "its word came in a round that an outage ended"])
def test_the_second_half_waits_for_the_first_ones_word_and_keeps_its_try(silent: int, tmp_path: Path) -> None:
    found = told(TWICE, {**variables_in(tmp_path), "AIRFLOW__CORE__PARALLELISM": "2"}, silent)
    assert found == {"first half at work": ["queued", 1], "second half at work": ["queued", 2]}


class Clock:
    """Monotonic seconds that go on when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(second_halves, "time", clock)
    return clock


def looks(words: Words, clock: Clock, seconds: float) -> int:
    """How often a task is looked at, at most a thousand times so many seconds apart, until it is due."""
    for look in range(1000):
        if words.is_due("task", unread=False):
            return look
        clock.now += seconds
    pytest.fail("it is never due")


def test_a_first_half_that_was_killed_holds_the_second_one_for_a_minute(clock: Clock) -> None:
    words = Words()
    words.owed.update(["task"])
    assert looks(words, clock, 1) == LONGEST
    words.hear("task")
    assert looks(words, clock, 1) == 0


def test_a_scheduler_that_stood_still_has_not_waited(clock: Clock) -> None:
    words = Words()
    words.owed.update(["task"])
    for _ in range(3):
        assert not words.is_due("task", unread=False)
        clock.now += 10 * LONGEST
    assert looks(words, clock, ROUND / 2) >= LONGEST / ROUND


def test_what_waits_takes_nobodys_slot(clock: Clock) -> None:
    queued = [(name, SimpleNamespace(key=name)) for name in "abcd"]
    chosen = second_halves.holding_back(lambda _self, slots: queued[:slots])
    executor = type("Executor", (), {"event_buffer": {"b": ("success", None)}})()
    second_halves.noting(lambda _self, _workloads: None)(executor, [queued[0][1]])
    assert [key for key, _ in chosen(executor, 2)] == ["c", "d"]
    assert [key for key, _ in chosen(executor, 0)] == []
