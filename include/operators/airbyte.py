"""The task that syncs one Airbyte connection: resumable, attaching, patient, and cancelled at Airbyte when it is killed here."""

from __future__ import annotations

import time
from typing import Any

from airflow.providers.airbyte.hooks.airbyte import AirbyteHook
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred

from include.contract import PermanentError
from include.operators.airbyte_api import AirbyteJobs, Job
from include.operators.airbyte_sync import Sync


class AirbyteSyncOperator(BaseOperator):
    """Runs one sync of a connection and returns ``{"job_id", "rows", "bytes", "duration"}``.

    :param connection_id: Airbyte's id of the connection.
    :param airbyte_conn_id: the Airflow connection of Airbyte's API.
    :param poll_seconds: pause between looks at the job.
    :param inline_seconds: how long the worker itself waits before it hands over to the triggerer; short syncs end sooner that way.

    There is no time limit: Airbyte ends its own jobs, and a job given up here would go on there.
    """

    template_fields = ("connection_id",)
    ui_color = "#e0e7ff"

    def __init__(
        self, *, connection_id: str, airbyte_conn_id: str, poll_seconds: float = 15.0, inline_seconds: float = 20.0, deferrable: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.connection_id = connection_id
        self.airbyte_conn_id = airbyte_conn_id
        self.poll_seconds = poll_seconds
        self.inline_seconds = inline_seconds
        self.deferrable = deferrable
        self._job: Job | None = None

    def execute(self, context: Any) -> dict[str, Any]:
        """Finds or starts the job and follows it to its end."""
        return self._follow(context, None)

    def resume(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """Called when the trigger saw the job end, or met an error that waiting does not mend."""
        if event.get("error"):
            raise AirflowFailException(event["error"])
        return self._follow(context, int(event["job_id"]))

    def on_kill(self) -> None:
        """Cancels the job at Airbyte, so that nothing runs for a task that is gone."""
        if self._job is not None and self._job.active:
            self._jobs().cancel(self._job.id)

    def _jobs(self) -> AirbyteJobs:
        return AirbyteJobs(AirbyteHook(airbyte_conn_id=self.airbyte_conn_id).airbyte_api)

    def _follow(self, context: Any, job_id: int | None) -> dict[str, Any]:
        jobs = self._jobs()
        sync = Sync(jobs, context["task_state_store"], self.connection_id, int(context["ti"].max_tries or 0))
        try:
            job = sync.job() if job_id is None else jobs.get(job_id)
            give_up_inline = time.monotonic() + self.inline_seconds
            while not job.succeeded:
                self._job = job
                if not job.active:
                    job = sync.after_failure(job)
                    continue
                if self.deferrable and time.monotonic() > give_up_inline:
                    self._defer(job)
                time.sleep(min(1.0, self.poll_seconds) if self.deferrable else self.poll_seconds)
                job = jobs.get(job.id)
        except PermanentError as error:
            raise AirflowFailException(str(error)) from error
        self.log.info("job %d succeeded: %d rows, %d bytes", job.id, job.rows, job.bytes)
        return {"job_id": job.id, "rows": job.rows, "bytes": job.bytes, "duration": job.duration}

    def _defer(self, job: Job) -> None:
        self.log.info("job %d is %s; waiting in the triggerer", job.id, job.status)
        # plugins/ is on the path of tasks and of the triggerer, not of whoever only imports this module
        from airbyte_triggers import AirbyteJobTrigger

        trigger = AirbyteJobTrigger(conn_id=self.airbyte_conn_id, job_id=job.id, poll_seconds=self.poll_seconds)
        raise TaskDeferred(trigger=trigger, method_name="resume")
