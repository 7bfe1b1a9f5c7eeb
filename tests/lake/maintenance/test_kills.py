"""The maintenance job in a process of its own, ended by a real ``SIGKILL`` at any moment of its life: the next run finishes, and nobody sees a difference."""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from include.local.platform import Platform
from tests.own_lake import new_lake
from tests.variables import variables

from .conftest import KILLS
from .old_lake import OldLake, Seen, age, dsn_of

DEFAULT = 6
KILLED = -9


@dataclass(frozen=True)
class Straight:
    """What a run that nobody disturbs makes of the lake: its tables, the kinds of files in every folder, and how it got there."""

    before: dict[str, Seen]
    after: dict[str, Seen]
    kinds: Counter[str]
    seconds: float
    changes: int


@pytest.fixture(scope="module")
def old_lake(postgres: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldLake]:
    folder = tmp_path_factory.mktemp("old")
    found = new_lake(postgres, folder / "lake")
    with variables(found):
        lake = OldLake(folder / "lake", folder / "work", dsn_of(found))
        lake.build()
        yield lake


@pytest.fixture(scope="module")
def straight(old_lake: OldLake) -> Straight:
    before, began = old_lake.seen(), time.monotonic()
    with old_lake.start() as process:
        told = process.communicate(timeout=600)[0].decode()
    assert process.returncode == 0, told
    seconds = time.monotonic() - began
    assert old_lake.result()["facts"]["totals"]["changed"] == old_lake.tables
    after = old_lake.seen()
    assert {name: one.rows for name, one in after.items()} == {name: one.rows for name, one in before.items()}
    assert set(old_lake.files()) == old_lake.reachable(), "nothing but what the tables name is left, halves of files included"
    return Straight(before, after, kinds(old_lake), seconds, old_lake.changes())


def kinds(lake: OldLake) -> Counter[str]:
    """How many files of each kind lie in each table's folder: names are random."""
    return Counter(re.sub(r"[^/]*?(-m\d+)?(\.metadata)?(\.\w+)$", r"\2\3", path) for path in lake.files())


def test_killed_at_random_moments(old_lake: OldLake, straight: Straight, request: pytest.FixtureRequest) -> None:
    dice, asked = random.Random(20), request.config.getoption(KILLS, default=None) or DEFAULT
    midway, late = 0, 0
    for number in range(asked):
        by_clock, moment = number % 3 == 0, dice.random()
        old_lake.put_back()
        built = old_lake.files()
        while not (killed := kill(old_lake, straight, moment, by_clock=by_clock)) or (not by_clock and old_lake.changes() >= straight.changes):
            late += not killed
            if by_clock:
                break
            old_lake.put_back()  # the run was faster than our looks at it: earlier, then
            moment /= 2
        done = old_lake.changes()
        midway += 0 < done < straight.changes
        assert by_clock or done > 0
        told = f"kill {number}, {done} of {straight.changes} changes done"
        check_whole(old_lake, straight, built, told)
        finish(old_lake, straight, built, told)
    print(f"maintenance kills: {asked}, {midway} of them in the midst of changes, {late} after the end")
    assert midway >= asked / 3


def kill(lake: OldLake, straight: Straight, moment: float, *, by_clock: bool) -> bool:
    """Kills a run at a share of its time, or of its changes; false when it had ended before."""
    with lake.start() as process:
        if by_clock:
            time.sleep(moment * straight.seconds)
        else:
            while lake.changes() <= moment * straight.changes * 0.9 and process.poll() is None:
                pass
        process.kill()
        process.communicate()
    assert process.returncode in (0, KILLED)
    return process.returncode == KILLED


def check_whole(lake: OldLake, straight: Straight, built: dict[str, int], told: str) -> None:
    """Nobody has lost anything: every table is as before or as after, and every file is in its place or in quarantine."""
    for name, seen in lake.seen().items():
        assert seen in (straight.before[name], straight.after[name]), f"{name}: {told}"
    there = lake.files()
    assert lake.reachable() <= set(there), told
    quarantined = lake.quarantined()
    assert {name: quarantined.get(name, there.get(name)) for name in built} == built, told
    assert not lake.reachable() & set(quarantined), told


def finish(lake: OldLake, straight: Straight, built: dict[str, int], told: str) -> None:
    """One more run, and the lake is as after a straight one; a metadata file that the dead run had not published yet goes when it is old enough.
    What it was writing about itself may stay half written, beside the lake."""
    halves = set(lake.work.rglob("*.part"))
    assert lake.run()["totals"]["failed"] == 0, told
    check_whole(lake, straight, built, told)
    assert lake.seen() == straight.after, told
    left = set(lake.files()) - lake.reachable()
    if left:
        assert all((lake.root / name).stat().st_mtime > lake.began for name in left), f"{told}: {left}"
        age(lake.root / name for name in left)
        assert lake.run("the next night")["totals"]["failed"] == 0, told
        assert lake.seen() == straight.after, told
    assert set(lake.files()) == lake.reachable(), told
    assert kinds(lake) == straight.kinds, told
    assert set(lake.work.rglob("*.part")) <= halves, told
