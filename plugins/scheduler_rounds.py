"""What a scheduler whose database was away sees to: that nobody takes a living scheduler for dead, and that its executors know no more than the database."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

log = logging.getLogger(__name__)


def show_life(runner: Any) -> timedelta:
    """Writes the scheduler's heartbeat, and tells how long there was none. Airflow's own writes the time of the beat before."""
    from airflow.jobs.job import Job
    from airflow.utils.session import create_session
    from airflow.utils.state import JobState
    from sqlalchemy import select, update

    now, own = datetime.now(UTC), Job.id == runner.job.id
    with create_session() as session:
        last = session.scalar(select(Job.latest_heartbeat).where(own))
        session.execute(update(Job).where(own).values(latest_heartbeat=now, state=JobState.RUNNING))
    return now - (last or now)


def when_all_could_speak(adopt: Callable[..., int]) -> Callable[..., int]:
    """Airflow's look for tasks without a scheduler, but never for those of this one, and not in the first round after an outage.

    After half a minute without a database every scheduler looks dead, this one included, and the first to look would start the tasks of all of them a
    second time.
    """
    waited: set[int] = set()

    @functools.wraps(adopt)
    def adopted(self: Any, *args: Any, **kwargs: Any) -> int:
        from airflow.configuration import conf

        silent = show_life(self)
        if silent.total_seconds() > conf.getint("scheduler", "scheduler_health_check_threshold") / 2 and self.job.id not in waited:
            waited.add(self.job.id)
            log.info("no heartbeat for %.0f s: tasks without a scheduler are looked for in the next round", silent.total_seconds())
            return 0
        waited.discard(self.job.id)
        return adopt(self, *args, **kwargs)

    return adopted


def keeping_failures(process: Callable[..., int], is_outage: Callable[[BaseException], bool]) -> Callable[..., int]:
    """Airflow's taking in of what executors tell, but a failure that an outage kept it from taking in comes again.

    Nobody else tells of a task that never began. What succeeded does not come again: the task has told so itself, and may run once more by now, after its
    trigger.
    """

    @functools.wraps(process)
    def processed(self: Any, executor: Any, session: Any) -> int:
        from airflow.utils.state import TaskInstanceState

        failures = {key: event for key, event in executor.event_buffer.items() if event[0] == TaskInstanceState.FAILED}
        try:
            return process(self, executor=executor, session=session)
        except Exception as error:
            if is_outage(error):
                executor.event_buffer = {**failures, **executor.event_buffer}
            raise

    return processed


def forget_what_was_rolled_back(runner: Any) -> None:
    """Before a scheduler's loop begins again in the same process.

    Takes tasks from the executors' queues that are not queued by this scheduler: they are scheduled again, and would be started twice.
    """
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import select

    query = select(TaskInstance.id).where(TaskInstance.queued_by_job_id == runner.job.id, TaskInstance.state == TaskInstanceState.QUEUED)
    with create_session() as session:
        queued = {str(one) for one in session.scalars(query)}
    for executor in runner.executors:
        waiting = {str(workload.ti.id): key for key, workload in executor.queued_tasks.items()}
        for ti_id in waiting.keys() - queued:
            del executor.queued_tasks[waiting[ti_id]]
