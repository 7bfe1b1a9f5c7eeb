"""``kill -9`` at any step of create and drop: the same command, run again, finishes, and the base is as it was."""

from __future__ import annotations

import random
from multiprocessing.context import ForkServerContext

import psycopg
import pytest

from include.lake.clones.create import Done, create_clone
from include.lake.clones.drop import plan_clone_drop, remove
from include.lake.clones.names import Lake
from include.lake.clones.registry import clones_of
from tests.backfills import wait_until

from . import children
from .tables import PR, base_of, clone_of, content, everything_below, new_table, rows_of, seen, tags_of

KILLS = 6
NAMES = ("orders", "users")
KILLED = -9


class Commands:
    """Runs a verb in a process of its own; the number of steps it took, or nothing when it was killed."""

    def __init__(self, processes: ForkServerContext, lake: Lake) -> None:
        self.processes, self.properties = processes, dict(lake.catalog.properties)

    def run(self, verb: str, kill_at: int | None = None) -> int | None:
        others = self._sessions()
        answers, answer = self.processes.Pipe(duplex=False)
        process = self.processes.Process(target=children.run, args=(self.properties, verb, PR, kill_at, answer))
        process.start()
        answer.close()
        process.join(300)
        if process.exitcode == KILLED:
            wait_until(lambda: not self._sessions() - others, 300, every=0.02)  # what it had asked for when it died is still carried out
            return None
        assert process.exitcode == 0
        return answers.recv()

    def _sessions(self) -> set[int]:
        address = self.properties["uri"].replace("+psycopg2", "")
        with psycopg.connect(address) as connection:
            found = connection.execute("SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()").fetchall()
        return {pid for (pid,) in found}


@pytest.fixture
def commands(own: Lake, processes: ForkServerContext) -> Commands:
    for name in NAMES:
        new_table(own, name)
    return Commands(processes, own)


def moments(steps: int, seed: int) -> list[int]:
    return sorted({1, steps, *random.Random(seed).sample(range(1, steps + 1), min(KILLS, steps))})


def gone(lake: Lake) -> bool:
    tags = [tag for name in NAMES for tag in tags_of(lake, base_of(lake, name))]
    return clones_of(lake) == [] and everything_below(lake, f"_pr_{PR}") == [] and tags == []


def test_a_killed_create_is_finished_by_the_next(own: Lake, commands: Commands) -> None:
    steps = commands.run("create")
    assert steps
    before = {name: seen(own, base_of(own, name)) for name in NAMES}
    commands.run("drop")
    killed = 0
    for moment in moments(steps, seed=1):
        killed += commands.run("create", moment) is None
        assert {name: seen(own, base_of(own, name)) for name in NAMES} == before
        assert {cloned.done for cloned in create_clone(own, PR)} <= {Done.CLONED, Done.EXISTS}
        for name in NAMES:
            clone = clone_of(own, name)
            assert content(clone) == before[name].rows
            assert tags_of(own, base_of(own, name)) == {f"clone_pr_{PR}": clone.metadata.current_snapshot_id}
        remove(own, plan_clone_drop(own, PR))
        assert gone(own)
    assert killed >= KILLS // 2


def test_a_half_made_clone_can_be_dropped_and_is_listed(own: Lake, commands: Commands) -> None:
    steps = commands.run("create")
    commands.run("drop")
    assert steps
    before = {name: seen(own, base_of(own, name)) for name in NAMES}
    for moment in moments(steps, seed=2)[1:]:
        if commands.run("create", moment) is None and not gone(own):
            assert [clone.pull_request for clone in clones_of(own)] == [PR]
        remove(own, plan_clone_drop(own, PR))
        assert gone(own)
        assert {name: seen(own, base_of(own, name)) for name in NAMES} == before


def test_a_killed_drop_is_finished_by_the_next(own: Lake, commands: Commands) -> None:
    create_clone(own, PR)
    clone_of(own, "orders").append(rows_of(100, 1))
    before = {name: seen(own, base_of(own, name)) for name in NAMES}
    steps = commands.run("drop")
    assert steps
    killed = 0
    for moment in moments(steps, seed=3):
        create_clone(own, PR)
        clone_of(own, "orders").append(rows_of(100, 1))
        killed += commands.run("drop", moment) is None
        assert {name: seen(own, base_of(own, name)) for name in NAMES} == before
        assert gone(own) or [clone.pull_request for clone in clones_of(own)] == [PR]
        commands.run("drop")
        assert gone(own)
    assert killed >= KILLS // 2
