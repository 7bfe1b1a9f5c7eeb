"""A scheduler that starts again where another one died knows it at once.

Airflow takes a scheduler for dead when it has not been heard of for a while (``[scheduler] scheduler_health_check_threshold``), and until then nobody
takes up its tasks, not even the scheduler that starts in its place in the same container. So each scheduler keeps a lock of the system, which ends with
the last of its processes, tasks of LocalExecutor included; the next one on the same host sees which of its forerunners' locks nobody holds, and says
that they have failed before it looks for tasks without a scheduler. Where the folder of locks went with the host, all is as without.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from airflow.plugins_manager import AirflowPlugin

log = logging.getLogger(__name__)
JOBS = "airflow.jobs.job"
SCHEDULER = "SchedulerJob"
_held: list[IO[bytes]] = []


def succeed(_mapper: Any, connection: Any, job: Any) -> None:
    """Takes the new job's lock and ends the jobs of its forerunners on this host that live no more. SQLAlchemy calls it as the job's row is written."""
    if job.job_type != SCHEDULER:
        return
    try:
        with _locks_of(connection.engine.url) as folder:
            free = {path.name: path for path in folder.glob("*-*") if _is_free(path)}
            running = _running_here(connection, job) if free else {}
            for name in free.keys() - running.keys():  # what is ended now goes next time, when that is known to be written
                free[name].unlink()
            _end(connection, job, [running[name] for name in free.keys() & running.keys()])
            _hold(folder / _name(job.id, job.start_date))
    except OSError as error:  # without the locks the tasks wait, as Airflow's own would
        log.warning("cannot tell which schedulers of this host live: %s", error)


def _running_here(connection: Any, job: Any) -> dict[str, int]:
    """The other schedulers of this host that the database takes for running: name of the lock → id of the job."""
    from airflow.utils.state import JobState
    from sqlalchemy import select

    jobs = job.__table__
    here = (jobs.c.job_type == SCHEDULER) & (jobs.c.hostname == job.hostname) & (jobs.c.state == JobState.RUNNING) & (jobs.c.id != job.id)
    return {_name(found.id, found.start_date): found.id for found in connection.execute(select(jobs.c.id, jobs.c.start_date).where(here))}


def _end(connection: Any, job: Any, dead: list[int]) -> None:
    from airflow.utils.state import JobState

    if dead:
        connection.execute(job.__table__.update().where(job.__table__.c.id.in_(dead)).values(state=JobState.FAILED))
        log.info("%d scheduler(s) of this host ended without a word; their tasks are taken up", len(dead))


def _name(job_id: int, start: datetime) -> str:
    """A lock's file: ids begin again with a new database."""
    return f"{job_id}-{start.timestamp():.6f}"


@contextmanager
def _locks_of(database: Any) -> Iterator[Path]:
    """The folder of this host's locks for a metadata database, while nobody else looks at it or changes it."""
    address = hashlib.sha256(f"{database.host}:{database.port}/{database.database}".encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"airflow-schedulers-{os.getuid()}-{address}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "changes").open("ab") as changes:
        fcntl.flock(changes, fcntl.LOCK_EX)
        yield folder


def _is_free(path: Path) -> bool:
    """Whether nobody holds a lock."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _hold(path: Path) -> None:
    """Until this process and all that it forks have ended."""
    file = path.open("ab")
    _held.append(file)
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class SchedulerSuccession(AirflowPlugin):
    """Listens where jobs of Airflow's components are made: those have imported that module before they load plugins."""

    name = "scheduler_succession"

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Called in each process that loads plugins."""
        if (jobs := sys.modules.get(JOBS)) is None:
            return
        from sqlalchemy import event

        if not event.contains(jobs.Job, "after_insert", succeed):
            event.listen(jobs.Job, "after_insert", succeed)
