"""Waits for Airbyte jobs in the triggerer. The provider's own trigger ends on the first failed request and takes ``queued`` for a failure."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

from airflow.triggers.base import TriggerEvent
from asgiref.sync import sync_to_async
from masked_trigger import MaskedTrigger

ACTIVE = frozenset({"pending", "queued", "running", "incomplete"})
CANCEL_PAUSES = (1.0, 2.0, 4.0, 8.0)  # seconds after each attempt to cancel
PERMANENT = frozenset({400, 403, 404, 405, 410, 422})


class AirbyteJobTrigger(MaskedTrigger):
    """Fires when a job has come to its end, whatever the end: the task judges it, with the code it uses everywhere.

    Errors of the API are waited out for as long as they last, except those that no waiting mends (an unknown job, say).
    """

    def __init__(self, conn_id: str, job_id: int, poll_seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.conn_id = conn_id
        self.job_id = job_id
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return "airbyte_triggers.AirbyteJobTrigger", {"conn_id": self.conn_id, "job_id": self.job_id, "poll_seconds": self.poll_seconds}

    async def watch(self) -> AsyncGenerator[TriggerEvent, None]:
        """Yields one event: ``{"job_id", "status"}``, or ``{"job_id", "error"}`` for an error that stays."""
        while True:
            # not at once: an event that comes before the scheduler has read the end of the worker that deferred is taken for the end of the next one,
            # and the task is tried again for nothing (Airflow 3.3, "finished with state success, but the task instance's state attribute is queued")
            await asyncio.sleep(self.poll_seconds)
            status, error, permanent = await sync_to_async(self._look, thread_sensitive=False)()
            if error is not None:
                self.log.warning("job %s: %s", self.job_id, error)
                if permanent:
                    yield TriggerEvent({"job_id": self.job_id, "error": error})
                    return
            elif status not in ACTIVE:
                yield TriggerEvent({"job_id": self.job_id, "status": status})
                return

    async def on_kill(self) -> None:
        """Cancels the job when somebody clears the waiting task or marks it; not when the triggerer restarts."""
        for pause in CANCEL_PAUSES:
            error = await sync_to_async(self._cancel, thread_sensitive=False)()
            if error is None:
                return
            self.log.warning("job %s could not be cancelled: %s", self.job_id, error)
            await asyncio.sleep(pause)

    def _api(self) -> Any:
        from airflow.providers.airbyte.hooks.airbyte import AirbyteHook

        return AirbyteHook(airbyte_conn_id=self.conn_id).airbyte_api

    def _look(self) -> tuple[str | None, str | None, bool]:
        """Status, or an error and whether it is permanent."""
        from airbyte_api.api import GetJobRequest
        from airbyte_api.errors import AirbyteAPIError

        try:
            answer = self._api().jobs.get_job(request=GetJobRequest(job_id=self.job_id)).job_response
        except AirbyteAPIError as error:
            return None, f"Airbyte answered {' '.join(str(error).split())[:300]}", error.status_code in PERMANENT
        except Exception as error:  # noqa: BLE001 - whatever stops one look must not end the wait; it is logged each time
            return None, f"{type(error).__name__}: {error}", False
        return str(getattr(answer.status, "value", answer.status)), None, False

    def _cancel(self) -> str | None:
        """Asks Airbyte to end the job; an error that another attempt may mend."""
        from airbyte_api.api import CancelJobRequest
        from airbyte_api.errors import AirbyteAPIError

        try:
            self._api().jobs.cancel_job(request=CancelJobRequest(job_id=self.job_id))
        except AirbyteAPIError as error:
            if error.status_code not in PERMANENT:
                return f"Airbyte answered {' '.join(str(error).split())[:300]}"
        except Exception as error:  # noqa: BLE001 - as above
            return f"{type(error).__name__}: {error}"
        return None
