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
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from airflow.plugins_manager import AirflowPlugin
from airflow_processes import SCHEDULER, install
from scheduler_rounds import forget_what_was_rolled_back, keeping_failures, when_all_could_speak

log = logging.getLogger(__name__)
TRIGGERER = "airflow.jobs.triggerer_job_runner"
OF_TRIGGERER = ("load_triggers", "on_trigger_event", "on_trigger_failure", "clean_unused", "heartbeat")
"""Each does nothing more for a task when it is done again: one that waits no longer is let go."""
PAUSE = 1.0  # seconds
MOST, WITHIN = 10, 600.0
"""So many outages in so many seconds are none of the database: the process ends, as without this, and the cluster sees that it does."""
_RECONNECT = "8s2b"  # SQLAlchemy's name for a session whose connection broke, and whose error was caught on the way


def is_outage(error: BaseException) -> bool:
    """Whether an open connection broke; not when none could be made."""
    from sqlalchemy.exc import DBAPIError, PendingRollbackError

    return any(
        (isinstance(one, DBAPIError) and one.connection_invalidated) or (isinstance(one, PendingRollbackError) and one.code == _RECONNECT)
        for one in _chain(error)
    )


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def outliving_outages(method: Callable[..., Any], anew: Callable[[Any], None] = lambda _self: None) -> Callable[..., Any]:
    """The same method, begun again each time that the database went under it; ``anew`` is called before, with the method's object."""
    outages: deque[float] = deque(maxlen=MOST)

    @functools.wraps(method)
    def patient(self: Any, *args: Any, **kwargs: Any) -> Any:
        again = False
        while True:
            try:
                if again:
                    anew(self)
                return method(self, *args, **kwargs)
            except Exception as error:
                if not is_outage(error) or (len(outages) == MOST and time.monotonic() - outages[0] < WITHIN):
                    raise
                log.warning("the metadata database went away under %s, which begins anew: %s", method.__name__, error)
            outages.append(time.monotonic())
            again = True
            time.sleep(PAUSE)

    return patient


class DatabaseOutages(AirflowPlugin):
    """Installs it in the processes that have imported those modules before they load plugins."""

    name = "database_outages"

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Called in each process that loads plugins."""
        if (scheduler := sys.modules.get(SCHEDULER)) is not None:
            runner = scheduler.SchedulerJobRunner
            install(runner, "adopt_or_reset_orphaned_tasks", when_all_could_speak)
            install(runner, "_process_executor_events", functools.partial(keeping_failures, is_outage=is_outage))
            install(runner, "_run_scheduler_loop", functools.partial(outliving_outages, anew=forget_what_was_rolled_back))
        if (triggerer := sys.modules.get(TRIGGERER)) is not None:
            for name in OF_TRIGGERER:
                install(triggerer.TriggerRunnerSupervisor, name, outliving_outages)
