"""Exactly one sync per interval: which job a task answers for, decided from what is remembered and what Airbyte says.

A worker can die at any instant, also between Airbyte accepting a job and the task noting its id. So before a job is submitted the
newest job id of the connection is noted. A later try finds any newer job and adopts it; ids only grow, no clock is compared.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Protocol

from include.contract import TransientError
from include.operators.airbyte_api import ATTEMPTS, AirbyteJobs, ConflictError, Job, UnclearError, pause_before

log = logging.getLogger(__name__)
KEY = "airbyte_sync"


class Store(Protocol):
    """The part of Airflow's task state store that is used: small JSON values that outlive a try."""

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or ``default``."""

    def set(self, key: str, value: Any) -> None:
        """Stores the value."""


@dataclass(frozen=True)
class Sync:
    """One task's dealings with one connection.

    :param round: distinguishes a retry from a task cleared by somebody: Airflow raises ``max_tries`` on a clear and only then.
        A retry wants the sync that was begun; a cleared task wants a new one.
    """

    jobs: AirbyteJobs
    store: Store
    connection_id: str
    round: int

    def job(self) -> Job:
        """The job this task answers for: one begun by an earlier try, one that is running anyway, or a new one.

        Raises ``PermanentError`` or ``TransientError``; after either, a later call takes up where this one stopped.
        """
        return self._begun() or self._new()

    def after_failure(self, job: Job) -> Job:
        """What follows a job that failed or was cancelled.

        A job that an earlier round began (and that clearing its task may have cancelled) is replaced by a new one, which is
        returned. For one of this round ``TransientError`` says how it ended; a retry of the task then submits a new one.
        """
        if self._noted().get("taken_over"):
            log.warning("job %d, begun before this task was cleared, ended as %s; starting a new one", job.id, job.status)
            return self._new()
        reason = "somebody cancelled it at Airbyte" if job.status == "cancelled" else "see the job's log at Airbyte"
        raise TransientError(f"Airbyte job {job.id} of connection {self.connection_id} {job.status} after {job.rows} rows: {reason}")

    def _noted(self) -> dict[str, Any]:
        return self.store.get(KEY) or {}

    def _note(self, **values: Any) -> None:
        self.store.set(KEY, {"round": self.round, **values})

    def _begun(self) -> Job | None:
        """The job of an earlier try, if it is still to be waited for or has succeeded in this round."""
        noted = self._noted()
        same_round = noted.get("round") == self.round
        job: Job | None = None
        if "job_id" in noted:
            job = self.jobs.get(noted["job_id"])
        elif "newest_before" in noted:
            job = self._found(noted["newest_before"])
            if job is not None:
                log.info("adopting job %d: it was begun by an earlier try that did not live to note it", job.id)
        if job is not None and job.active:
            self._note(job_id=job.id, taken_over=not same_round or noted.get("taken_over", False))
            return job
        if job is not None and job.succeeded and same_round:
            self._note(job_id=job.id)
            return job
        return None

    def _new(self) -> Job:
        """Submits a sync, or attaches to the one that is running."""
        newest = self.jobs.newest(self.connection_id)
        before = newest[0].id if newest else 0
        self._note(newest_before=before)
        reason: Exception | None = None
        for attempt in range(1, ATTEMPTS + 1):
            job: Job | None
            try:
                job = self.jobs.submit(self.connection_id)
            except ConflictError as error:
                reason = error
                job = self._found(before)
                if job is None:  # it ended in this very moment, or it is a reset
                    self.jobs.sleep(pause_before(attempt, UnclearError(str(error))))
                else:
                    log.info("attaching to job %d, which is %s already", job.id, job.status)
            except UnclearError as error:
                reason = error
                log.warning("%s; looking whether a job was made", error)
                self.jobs.sleep(pause_before(attempt, error))
                job = self._found(before)
            if job is not None:
                self._note(job_id=job.id)
                return job
        raise TransientError(f"connection {self.connection_id}: {ATTEMPTS} submissions brought no job; the last one: {reason}")

    def _found(self, before: int) -> Job | None:
        """The connection's job that makes another one superfluous: one that is active, or one younger than ``before``."""
        jobs = [job for job in self.jobs.newest(self.connection_id) if job.active or job.id > before]
        return max(jobs, key=lambda job: (job.active, job.succeeded, job.id), default=None)
