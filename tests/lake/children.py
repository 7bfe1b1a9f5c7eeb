"""What child processes of the tests do: write, and die at a chosen moment by a real ``SIGKILL``."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

import pyarrow as pa
from pyiceberg.catalog.sql import SqlCatalog
from sqlalchemy import event
from sqlalchemy.engine import Engine

from include.lake import commits, storage
from include.lake.catalog import open_catalog
from include.lake.writes import append_once

ROWS_PER_BATCH = 50
BEFORE_THE_ANSWER = -1


def batch_of(number: int, rows: int = ROWS_PER_BATCH) -> pa.Table:
    return pa.table(
        {"batch": pa.array([number] * rows, pa.int64()), "number": pa.array(range(rows), pa.int64()), "text": [f"{number}-{row}" for row in range(rows)]}
    )


@dataclass
class Steps:
    """Counts everything that a write does to files and to the catalog's database, and kills the process at one of these steps."""

    kill_at: int | None
    count: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def tick(self, *_: Any, **__: Any) -> None:
        with self.lock:
            self.count += 1
            if self.count == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        around(storage.LocalOutput, "create", before=self.tick)
        around(storage._AtomicFile, "write", before=self.tick, after=self.tick)
        around(storage._AtomicFile, "close", before=self.tick, after=self.tick)
        around(storage.LakeFileIO, "delete", before=self.tick)
        around(SqlCatalog, "commit_table", before=self.tick, after=self.tick)
        for name in ("before_cursor_execute", "after_cursor_execute", "commit"):
            event.listen(Engine, name, self.tick)


def nothing() -> None:
    return


def around(owner: type, name: str, *, before: Callable[[], object] = nothing, after: Callable[[], object] = nothing) -> None:
    """Calls ``before`` and ``after`` around a method."""
    method = getattr(owner, name)

    def wrapped(*arguments: Any, **options: Any) -> Any:
        before()
        result = method(*arguments, **options)
        after()
        return result

    setattr(owner, name, wrapped)


def append(properties: dict[str, str], identifier: tuple[str, str], batch: int, key: str, kill_at: int | None, answer: Connection) -> None:
    """One keyed append; answers with the result and the number of steps, if it lives to."""
    steps = Steps(kill_at)
    steps.watch()
    table = open_catalog("ol_data_lake_local", properties).load_table(identifier)
    steps.tick()
    result = append_once(table, batch_of(batch), key)
    steps.tick()
    if kill_at == BEFORE_THE_ANSWER:
        os.kill(os.getpid(), signal.SIGKILL)
    answer.send((result, steps.count))


def append_in_step(
    properties: dict[str, str], identifier: tuple[str, str], batch: int, key: str, barrier: Barrier, kill_before_commit: bool, answer: Connection
) -> None:
    """One keyed append that reaches its first commit together with its twin, so both have found the key absent; without turns, which are no safety."""
    commits.turn = lambda *_: nullcontext()
    met = threading.Event()

    def meet() -> None:
        if not met.is_set():
            met.set()
            barrier.wait(300)
            if kill_before_commit:
                os.kill(os.getpid(), signal.SIGKILL)

    around(SqlCatalog, "commit_table", before=meet)
    table = open_catalog("ol_data_lake_local", properties).load_table(identifier)
    answer.send((append_once(table, batch_of(batch), key), 0))


def append_many(catalog: str, properties: dict[str, str], identifier: tuple[str, str], writer: int, batches: int, answer: Connection) -> None:
    """Many keyed appends one after the other; answers with the keys that were acknowledged."""
    os.environ.update({"OL_ENVIRONMENT": "qa", "OL_IMAGE_TAG": "1"} if catalog == "ol_data_lake_qa" else {})  # only its own processes may write it
    table = open_catalog(catalog, properties).load_table(identifier)
    acknowledged = []
    for number in range(batches):
        batch = writer * batches + number
        result = append_once(table, batch_of(batch), f"writer-{writer}:{number}")
        assert result.committed
        acknowledged.append(batch)
    answer.send(acknowledged)
