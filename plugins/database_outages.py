"""The scheduler and the triggerer live on when the metadata database goes in the midst of a statement.

Airflow's own end then: with the scheduler all tasks of LocalExecutor, and the kubelet lets a container that ends often wait longer each time. What they
were at was rolled back, and they ask the database for all they know in every round; so here they begin their round anew. The new connection waits for
a database that starts again (``create_metadata_engine`` in airflow_local_settings.py), and ends the process when none comes in time.
"""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from airflow.plugins_manager import AirflowPlugin
from sqlalchemy.exc import DBAPIError

log = logging.getLogger(__name__)
SCHEDULER, TRIGGERER = "airflow.jobs.scheduler_job_runner", "airflow.jobs.triggerer_job_runner"
OF_TRIGGERER = ("load_triggers", "on_trigger_event", "on_trigger_failure", "clean_unused")
"""Each does nothing more when it is done again: an event for a task that waits no longer is let go."""
PAUSE = 1.0  # seconds
_installed: set[tuple[type, str]] = set()


def is_outage(error: BaseException) -> bool:
    """Whether an open connection broke; not when none could be made."""
    return any(isinstance(one, DBAPIError) and one.connection_invalidated for one in _chain(error))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def outliving_outages(method: Callable[..., Any], first: Callable[[Any], None] = lambda _self: None) -> Callable[..., Any]:
    """The same method, begun anew each time that the database went under it; ``first`` is called before with the method's object."""

    @functools.wraps(method)
    def patient(self: Any, *args: Any, **kwargs: Any) -> Any:
        while True:
            try:
                return method(self, *args, **kwargs)
            except Exception as error:
                if not is_outage(error):
                    raise
                log.warning("the metadata database went away under %s, which begins anew: %s", method.__name__, error)
            time.sleep(PAUSE)
            first(self)

    return patient


def _show_life(runner: Any) -> None:
    """Of a scheduler, before it looks for schedulers that have not been heard of: it must not take itself for one."""
    from airflow.jobs.job import perform_heartbeat

    perform_heartbeat(job=runner.job, heartbeat_callback=runner.heartbeat_callback, only_if_necessary=True)


class DatabaseOutages(AirflowPlugin):
    """Installs it in the processes that have imported those modules before they load plugins."""

    name = "database_outages"

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Called in each process that loads plugins."""
        if (scheduler := sys.modules.get(SCHEDULER)) is not None:
            _install(scheduler.SchedulerJobRunner, "_run_scheduler_loop", _show_life)
        if (triggerer := sys.modules.get(TRIGGERER)) is not None:
            for name in OF_TRIGGERER:
                _install(triggerer.TriggerRunnerSupervisor, name)


def _install(owner: type, name: str, *first: Callable[[Any], None]) -> None:
    if (owner, name) not in _installed:
        _installed.add((owner, name))
        setattr(owner, name, outliving_outages(getattr(owner, name), *first))
