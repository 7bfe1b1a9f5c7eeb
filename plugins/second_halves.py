"""A task that comes back from its trigger starts beside the scheduler only once its first half is known to have ended.

Airflow 3.3's LocalExecutor does not keep which tasks its workers have. When a trigger fires before the scheduler has read the worker's word that the first
half ended (they are milliseconds apart on an idle machine, and as long as an outage of the database lasts otherwise), it hands the second half to a
worker, reads that word then, and takes it for the second half's: the task, which has only begun, loses this try and is started again beside itself. Here
the second half waits for the word. KubernetesExecutor looks the task's state up and needs none of this.
"""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from airflow.plugins_manager import AirflowPlugin

log = logging.getLogger(__name__)
SCHEDULER = "airflow.jobs.scheduler_job_runner"
LONGEST = 60.0
"""Seconds that a second half waits: a worker that was killed between handing over and its word never sends it."""
ENDED = ("success", "failed")
_unheard: WeakKeyDictionary[Any, dict[Any, float | None]] = WeakKeyDictionary()
"""Executor → what its workers have been given and have told no end of → since when the same waits to be given again (monotonic seconds)."""


def noting(process: Callable[..., None]) -> Callable[..., None]:
    """Airflow's handing of workloads to workers; what is handed over is kept."""

    @functools.wraps(process)
    def noted(self: Any, workloads: Sequence[Any]) -> None:
        _unheard.setdefault(self, {}).update(dict.fromkeys(workload.key for workload in workloads))
        process(self, workloads)

    return noted


def holding_back(select: Callable[..., list[tuple[Any, Any]]]) -> Callable[..., list[tuple[Any, Any]]]:
    """Airflow's choice of what to hand over next, without what a worker still has."""

    @functools.wraps(select)
    def chosen(self: Any, open_slots: int) -> list[tuple[Any, Any]]:
        return [(key, workload) for key, workload in select(self, open_slots) if not _has_to_wait(self, key)]

    return chosen


def hearing(change_state: Callable[..., None]) -> Callable[..., None]:
    """Airflow's taking in of a worker's word."""

    @functools.wraps(change_state)
    def heard(self: Any, key: Any, state: Any, *args: Any, **kwargs: Any) -> None:
        if state in ENDED:
            _unheard.get(self, {}).pop(key, None)
        change_state(self, key, state, *args, **kwargs)

    return heard


def _has_to_wait(executor: Any, key: Any) -> bool:
    unheard = _unheard.get(executor, {})
    if key not in unheard:
        return False
    since = unheard[key] = unheard[key] or time.monotonic()
    if time.monotonic() - since < LONGEST:
        return True
    log.warning("the first half of %s has not told its end for %.0f s: the second one starts", key, LONGEST)
    return False


class SecondHalves(AirflowPlugin):
    """Installs it in the scheduler, which alone hands work to workers."""

    name = "second_halves"
    _installed = False

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Called in each process that loads plugins."""
        if SCHEDULER not in sys.modules or cls._installed:
            return
        from airflow.executors.local_executor import LocalExecutor

        cls._installed = True
        for name, around in (("_process_workloads", noting), ("_get_workloads_to_schedule", holding_back), ("change_state", hearing)):
            setattr(LocalExecutor, name, around(getattr(LocalExecutor, name)))
