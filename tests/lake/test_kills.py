"""Writers that die at any moment, and writers that live twice: every batch is stored exactly once."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext

import pyarrow.compute as pc
import pytest
from pyiceberg.table import Table

from include.lake.commits import WriteResult
from include.lake.runkeys import run_key_of

from . import children
from .children import ROWS_PER_BATCH

BATCHES, KILLS_PER_BATCH, WRITERS = 100, 2, 3
KILLED = -9


class Attempts:
    """Starts attempts at one table's batches and says how they ended.

    Several threads may: one at a time starts a process or asks for an exit code, since starting one asks all the others for theirs, and of two threads that
    ask at once one is told 255.
    """

    def __init__(self, processes: ForkServerContext, properties: dict[str, str], table: Table) -> None:
        self.processes, self.properties, self.identifier = processes, properties, table.name()
        self.asking = threading.Lock()

    def append(self, batch: int, kill_at: int | None = None, kill_after: float | None = None) -> tuple[WriteResult, int] | None:
        """The result and the steps it took, or nothing when the process was killed."""
        answers, answer = self.processes.Pipe(duplex=False)
        process = self.processes.Process(target=children.append, args=(self.properties, self.identifier, batch, f"run:{batch}", kill_at, answer))
        with self.asking:
            process.start()
        answer.close()
        if kill_after is not None:
            wait([process.sentinel], kill_after)
            process.kill()
        wait([process.sentinel], 300)
        with self.asking:
            exit_code = process.exitcode
        if exit_code == KILLED:
            return None
        assert exit_code == 0
        return answers.recv()

    def append_twice_at_once(self, batch: int, kill_one: bool) -> list[WriteResult]:
        """The results of two live attempts under one key that commit at the same moment."""
        barrier = self.processes.Barrier(2)
        started = []
        for twin in range(2):
            answers, answer = self.processes.Pipe(duplex=False)
            arguments = (self.properties, self.identifier, batch, f"run:{batch}", barrier, kill_one and twin == 0, answer)
            process = self.processes.Process(target=children.append_in_step, args=arguments)
            process.start()
            answer.close()
            started.append((process, answers))
        results = []
        for process, answers in started:
            process.join(300)
            if process.exitcode == 0:
                results.append(answers.recv()[0])
            else:
                assert process.exitcode == KILLED
        return results


def assert_stored_once(table: Table, batches: int) -> None:
    """Every row of every batch once, and never two snapshots of one key."""
    table.refresh()
    rows = table.scan().to_arrow()
    counted = rows.group_by("batch").aggregate([("number", "count_distinct"), ("number", "count")]).to_pydict()
    assert sorted(counted["batch"]) == list(range(batches))
    assert set(counted["number_count"]) == {ROWS_PER_BATCH}
    assert set(counted["number_count_distinct"]) == {ROWS_PER_BATCH}
    assert pc.sum(rows["number"]).as_py() == batches * sum(range(ROWS_PER_BATCH))
    keys = Counter(run_key_of(snapshot) for snapshot in table.snapshots())
    assert keys == {f"run:{batch}": 1 for batch in range(batches)}


@pytest.mark.timeout(1800)  # 20 s on two cores of its own; some 350 processes, far more beside other work
def test_two_hundred_kills_over_a_hundred_batches(new_table, processes: ForkServerContext, catalog_properties: dict[str, str]) -> None:
    measured = Attempts(processes, catalog_properties, new_table())
    measured.append(0)  # the first one waits for the imports
    begin = time.monotonic()
    _, full = measured.append(1)
    seconds = time.monotonic() - begin
    _, repeated = measured.append(1)
    assert repeated < full / 2, "a repetition looks for its key before it writes anything"

    table = new_table()
    attempts = Attempts(processes, catalog_properties, table)
    moments: Counter[str] = Counter()

    def one_batch(batch: int) -> None:
        dice = random.Random(batch)
        stored = False
        for kill in range(KILLS_PER_BATCH):
            if dice.random() < 0.1:  # after the commit, before anybody is told: few dice would hit it
                assert attempts.append(batch, kill_at=children.BEFORE_THE_ANSWER) is None
                moments["before the answer"] += 1
                stored = True
                continue
            if (batch + kill) % 4 == 0:  # from outside, at a moment of the clock
                killed = attempts.append(batch, kill_after=dice.uniform(0, seconds)) is None
                moments["clock" if killed else "too late"] += 1
                if killed:
                    continue
            kill_at = dice.randint(1, full)
            while attempts.append(batch, kill_at=kill_at) is not None:  # another attempt had committed: this one is short
                kill_at = dice.randint(1, repeated)
                moments["too late"] += 1
            moments["step"] += 1
        result, _ = attempts.append(batch)
        assert not (stored and result.committed)

    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(one_batch, range(BATCHES)))
    assert moments.total() - moments["too late"] == BATCHES * KILLS_PER_BATCH
    assert moments["before the answer"] >= BATCHES / 10
    assert_stored_once(table, BATCHES)


@pytest.mark.parametrize("kill_one", [False, True], ids=["both live", "one dies at the commit"])
def test_two_live_attempts_of_one_key(new_table, processes: ForkServerContext, catalog_properties: dict[str, str], kill_one: bool) -> None:
    table = new_table()
    attempts = Attempts(processes, catalog_properties, table)
    for batch in range(12):
        results = attempts.append_twice_at_once(batch, kill_one)
        assert len(results) == 1 if kill_one else 2
        assert sum(result.committed for result in results) == 1
        assert {result.snapshot_id for result in results} == {results[0].snapshot_id}
        assert {result.rows for result in results} == {ROWS_PER_BATCH}
    assert_stored_once(table, 12)
