"""Several log files at once: processes that share them out by size, each with its own data files of the table."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from datetime import datetime
from multiprocessing.connection import wait
from types import TracebackType

from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile
from pyiceberg.table.metadata import TableMetadata

from include.contract import TransientError
from include.jobs.openedx.tracking_logs.landing import Landing
from include.jobs.openedx.tracking_logs.normalise import FileOutcome, Rows, normalise
from include.jobs.openedx.tracking_logs.sources import Prefix, Source
from include.lake.files import PartitionWriter

log = logging.getLogger(__name__)
PROCESSES = 2
GROUP_BYTES = 24 << 20
"""Arrow data of a row group: each process holds one."""


@dataclass(frozen=True)
class Target:
    """The table that rows go to, as a process without a catalog needs it; all rows get ``retrieved_at``."""

    metadata: TableMetadata
    io: FileIO
    retrieved_at: datetime


@dataclass(frozen=True)
class Task:
    """The files of one process. Without a ``target`` only the landing zone is written."""

    prefix: Prefix
    sources: tuple[Source, ...]
    landing: Landing
    target: Target | None = None


@dataclass(frozen=True)
class Done:
    """What became of a task's files, and the data files with their rows, which no snapshot names yet."""

    outcomes: tuple[FileOutcome, ...]
    files: tuple[DataFile, ...]


class Workers:
    """Processes that work on tasks.

    They are forked when the block is entered: before connections and threads exist, with all imports done. They end with their parent,
    also when that is killed.
    """

    def __init__(self, processes: int = PROCESSES) -> None:
        self.processes = processes
        self._pool = ProcessPoolExecutor(processes, multiprocessing.get_context("fork"), initializer=_begin)

    def __enter__(self) -> Workers:
        gc.freeze()  # or the first collection of each child would copy the pages that it shares with us
        self._pool.submit(os.getpid).result()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:  # all answers are in
            for process in tuple((self._pool._processes or {}).values()):
                process.kill()  # one that died while it waited for work has the queue's lock: the others would wait for it for ever, and shutdown() for them
        self._pool.shutdown(wait=True, cancel_futures=True)
        gc.unfreeze()

    def run(self, task: Task) -> Done:
        """Shares the files of a task out; outcomes in the order of its files. Raises ``TransientError`` when a process dies."""
        parts = [replace(task, sources=sources) for sources in share_out(task.sources, self.processes)]
        try:
            found = list(self._pool.map(work, parts))
        except BrokenProcessPool as error:
            raise TransientError("a process that reads log files was killed, perhaps for want of memory") from error
        outcomes = {outcome.name: outcome for done in found for outcome in done.outcomes}
        return Done(tuple(outcomes[source.name] for source in task.sources), tuple(file for done in found for file in done.files))


def work(task: Task) -> Done:
    """Reads the files of a task, one after the other. When one fails for reasons that are not its own, nothing is left behind."""
    target = task.target
    writer = PartitionWriter(target.metadata, target.io, {"log_day": task.landing.day}, group_bytes=GROUP_BYTES) if target else None
    rows = Rows(writer, task.landing.day, target.retrieved_at) if target and writer else None
    try:
        outcomes = tuple(normalise(task.prefix, source, task.landing, rows) for source in task.sources)
        return Done(outcomes, tuple(writer.close()) if writer else ())
    except BaseException:
        if writer:
            writer.abort()
        raise


def share_out(sources: Iterable[Source], processes: int) -> list[tuple[Source, ...]]:
    """The files in at most so many parts of about equal size: the largest first, each to the part that is smallest so far."""
    parts: list[list[Source]] = [[] for _ in range(processes)]
    sizes = [0] * processes
    for source in sorted(sources, key=lambda one: (-one.size, one.name)):
        smallest = sizes.index(min(sizes))
        parts[smallest].append(source)
        sizes[smallest] += source.size
    return [tuple(part) for part in parts if part]


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
