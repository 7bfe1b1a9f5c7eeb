"""A scheduler whose database was away: nobody takes it for dead, and its executors know no more than the database. With Airflow's own scheduler and tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugins.scheduler_process import told, variables_in

ORPHANS = """
import scheduler_rounds
dead = job(silent=3600)
task("of_this_one", own)
task("of_a_dead_one", dead)
scheduler_rounds.forget_what_was_rolled_back(runner)  # the loop begins again
for round in (1, 2):
    runner.adopt_or_reset_orphaned_tasks()
    told[round] = states(TaskInstance.state)
with settings.engine.connect() as connection:
    told["jobs"] = {row.id == own.id: row.state for row in connection.execute(select(Job.id, Job.state))}
    told["silent"] = (datetime.now(UTC) - connection.scalar(select(Job.latest_heartbeat).where(Job.id == own.id)).replace(tzinfo=UTC)).total_seconds()
"""
QUEUES = """
import scheduler_rounds
for name, state in (("kept", "queued"), ("rolled_back", "scheduled")):
    executor.queued_tasks[TaskInstanceKey("d", name, "r")] = SimpleNamespace(ti=SimpleNamespace(id=task(name, own, state)))
scheduler_rounds.forget_what_was_rolled_back(runner)
told["waiting"] = [key.task_id for key in executor.queued_tasks]
"""
EVENTS = """
from scheduler_rounds import keeping_failures
from database_outages import is_outage
def breaks(self, executor, session):
    executor.get_event_buffer()
    raise OperationalError("SELECT 1", {}, Exception("gone"), connection_invalidated=outage)
for outage in (True, False):
    executor.event_buffer = {TaskInstanceKey("d", state, "r"): (state, None) for state in ("failed", "success", "queued")}
    try:
        keeping_failures(breaks, is_outage)(runner, executor=executor, session=None)
    except OperationalError:
        told[outage] = [key.task_id for key in executor.event_buffer]
"""


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    return variables_in(tmp_path)


@pytest.mark.parametrize(("silent", "first"), [(5, None), (60, "running")], ids=["as ever", "after an outage"])
def test_its_own_tasks_are_never_orphans_and_others_tasks_wait_a_round_after_an_outage(silent: int, first: str | None, variables: dict[str, str]) -> None:
    found = told(ORPHANS, variables, silent)
    assert found["1"] == {"of_this_one": "running", "of_a_dead_one": first}
    assert found["2"] == {"of_this_one": "running", "of_a_dead_one": None}
    assert found["jobs"] == {"true": "running", "false": "failed"}
    assert found["silent"] < 60


def test_what_was_rolled_back_is_not_started(variables: dict[str, str]) -> None:
    assert told(QUEUES, variables, 60)["waiting"] == ["kept"]


def test_a_failure_that_was_not_taken_in_comes_again(variables: dict[str, str]) -> None:
    assert told(EVENTS, variables, 0) == {"true": ["failed"], "false": []}
