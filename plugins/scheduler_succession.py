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
            dead = [int(path.name) for path in folder.iterdir() if path.name.isdecimal() and _is_free(path)]
            _hold(folder / str(job.id))
    except OSError as error:  # without the locks the tasks wait, as Airflow's own would
        log.warning("cannot tell which schedulers of this host live: %s", error)
        return
    if dead:
        _end(connection, job, dead)


def _end(connection: Any, job: Any, dead: list[int]) -> None:
    from airflow.utils.state import JobState

    jobs = job.__table__
    here = jobs.c.id.in_(dead) & (jobs.c.job_type == SCHEDULER) & (jobs.c.hostname == job.hostname) & (jobs.c.state == JobState.RUNNING)
    if ended := connection.execute(jobs.update().where(here & (jobs.c.id != job.id)).values(state=JobState.FAILED)).rowcount:
        log.info("%d scheduler(s) of this host ended without a word; their tasks are taken up", ended)


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
    """Whether nobody holds a lock; it is gone then."""
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        path.unlink()
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
