"""A task that comes back from its trigger starts beside the scheduler only once its first half is known to have ended.

Airflow 3.3's LocalExecutor does not keep which tasks its workers have. When a trigger fires before the scheduler has taken in the worker's word that the
first half ended (they are milliseconds apart on an idle machine, and as long as an outage of the database lasts otherwise), it hands the second half to a
worker, hears that word then, and takes it for the second half's: the task, which has only begun, loses this try and is started again beside itself. Here
the second half waits until the word is taken in. KubernetesExecutor looks the task's state up and needs none of this.
"""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from airflow.plugins_manager import AirflowPlugin
from airflow_processes import SCHEDULER, install

log = logging.getLogger(__name__)
LONGEST = 60.0
"""Seconds that a second half waits: a worker that was killed between handing over and its word never sends it."""
ROUND = 5.0
"""Seconds between two looks that count as waiting: a scheduler that stood still has not read what it was told meanwhile."""
ENDED = ("success", "failed")


@dataclass
class Words:
    """What one executor's workers have been given and owe their word of."""

    owed: Counter[Any] = field(default_factory=Counter)
    """Task (or other workload) → ends that nobody has told yet."""
    waited: dict[Any, tuple[float, float]] = field(default_factory=dict)
    """Task whose second half waits → seconds that it has, and when it was last looked at (monotonic)."""

    def is_due(self, key: Any, unread: bool) -> bool:
        """Whether a task may be handed to a worker; ``unread``: a word of it has come and is not taken in."""
        if not self.owed[key] and not unread:
            self.waited.pop(key, None)
            return True
        now = time.monotonic()
        seconds, last = self.waited.get(key, (0.0, now))
        seconds += now - last if now - last < ROUND else 0.0
        self.waited[key] = (seconds, now)
        if seconds < LONGEST:
            return False
        log.warning("the first half of %s has not told its end for %.0f s: the second one starts", key, seconds)
        del self.waited[key]
        return True

    def hear(self, key: Any) -> None:
        """Takes in that a worker has ended one."""
        self.owed[key] -= 1
        if self.owed[key] <= 0:
            del self.owed[key]


_words: WeakKeyDictionary[Any, Words] = WeakKeyDictionary()


def _words_of(executor: Any) -> Words:
    return _words.setdefault(executor, Words())


def noting(process: Callable[..., None]) -> Callable[..., None]:
    """Airflow's handing of workloads to workers; what is handed over is kept."""

    @functools.wraps(process)
    def noted(self: Any, workloads: Sequence[Any]) -> None:
        _words_of(self).owed.update(workload.key for workload in workloads)
        process(self, workloads)

    return noted


def holding_back(select: Callable[..., list[tuple[Any, Any]]]) -> Callable[..., list[tuple[Any, Any]]]:
    """Airflow's choice of what to hand over next, without what a worker still has; others take its place."""

    @functools.wraps(select)
    def chosen(self: Any, open_slots: int) -> list[tuple[Any, Any]]:
        words = _words_of(self)
        found = select(self, open_slots + len(words.owed) + len(self.event_buffer))
        return [(key, workload) for key, workload in found if words.is_due(key, key in self.event_buffer)][: max(open_slots, 0)]

    return chosen


def hearing(change_state: Callable[..., None]) -> Callable[..., None]:
    """Airflow's reading of a worker's word."""

    @functools.wraps(change_state)
    def heard(self: Any, key: Any, state: Any, *args: Any, **kwargs: Any) -> None:
        if state in ENDED:
            _words_of(self).hear(key)
        change_state(self, key, state, *args, **kwargs)

    return heard


class SecondHalves(AirflowPlugin):
    """Installs it in the scheduler, which alone hands work to workers."""

    name = "second_halves"

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Called in each process that loads plugins."""
        if SCHEDULER not in sys.modules:
            return
        from airflow.executors.local_executor import LocalExecutor

        for name, around in (("_process_workloads", noting), ("_get_workloads_to_schedule", holding_back), ("change_state", hearing)):
            install(LocalExecutor, name, around)
