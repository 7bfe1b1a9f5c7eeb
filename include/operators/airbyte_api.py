"""Airbyte's public API as the platform needs it: typed outcomes, bounded retries, and a clear line between permanent and transient."""

from __future__ import annotations

import logging
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import httpx
from airbyte_api import AirbyteAPI
from airbyte_api.api import CancelJobRequest, GetJobRequest, ListJobsRequest
from airbyte_api.errors import AirbyteAPIError, NoResponseError, ResponseValidationError
from airbyte_api.models import JobCreateRequest, JobResponse, JobTypeEnum

from include.contract import PermanentError, TransientError

Answer = TypeVar("Answer")
log = logging.getLogger(__name__)

ACTIVE = frozenset({"pending", "queued", "running", "incomplete"})
"""``incomplete`` is an attempt that ended while Airbyte still means to make another one."""
ATTEMPTS = 6
LISTED = 5
LONGEST_PAUSE = 30.0


class ConflictError(Exception):
    """The connection has a job already (HTTP 409)."""


class UnclearError(TransientError):
    """The request may or may not have been carried out: the answer was lost, late, half or a server error."""


@dataclass(frozen=True)
class Job:
    """One job of a connection, as the API describes it. ``rows`` and ``bytes`` are those synced so far."""

    id: int
    status: str
    rows: int = 0
    bytes: int = 0
    started: str = ""
    duration: str = ""

    @property
    def active(self) -> bool:
        """Whether the job has not come to its end."""
        return self.status in ACTIVE

    @property
    def succeeded(self) -> bool:
        """Whether the job ended well."""
        return self.status == "succeeded"


class Clock(Protocol):
    """Sleeps; replaced in tests that cannot wait."""

    def __call__(self, seconds: float, /) -> None:
        """Waits."""


class AirbyteJobs:
    """The four calls on jobs. Every method raises ``PermanentError`` for what no retry mends and ``TransientError`` when patience ran out.

    :param api: the provider's client; ``sleep`` is called between attempts.
    """

    def __init__(self, api: AirbyteAPI, sleep: Clock = time.sleep) -> None:
        self.api = api
        self.sleep = sleep

    def get(self, job_id: int) -> Job:
        """One job by its id."""
        return _job(self._patiently(lambda: self.api.jobs.get_job(request=GetJobRequest(job_id=job_id)).job_response, f"job {job_id}"))

    def newest(self, connection_id: str) -> list[Job]:
        """The connection's last few syncs, newest first."""
        request = ListJobsRequest(connection_id=connection_id, job_type=JobTypeEnum.SYNC, order_by="createdAt|DESC", limit=LISTED)
        answer = self._patiently(lambda: self.api.jobs.list_jobs(request=request).jobs_response, f"jobs of connection {connection_id}")
        return [_job(job) for job in answer.data] if answer is not None else []

    def submit(self, connection_id: str) -> Job:
        """Starts a sync, in one attempt. Raises ``ConflictError`` when one is running and ``UnclearError`` when nobody knows."""
        request = JobCreateRequest(connection_id=connection_id, job_type=JobTypeEnum.SYNC)
        return _job(_once(lambda: self.api.jobs.create_job(request=request).job_response, f"a sync of connection {connection_id}"))

    def cancel(self, job_id: int) -> None:
        """Asks Airbyte to end a job; a job that has ended already is fine."""
        try:
            self._patiently(lambda: self.api.jobs.cancel_job(request=CancelJobRequest(job_id=job_id)), f"cancelling job {job_id}")
        except (PermanentError, ConflictError) as error:
            log.info("job %s was not cancelled: %s", job_id, error)

    def _patiently(self, call: Callable[[], Answer], what: str) -> Answer:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return _once(call, what)
            except UnclearError as error:
                if attempt == ATTEMPTS:
                    raise
                pause = pause_before(attempt, error)
                log.warning("%s; asking again in %.1f s (attempt %d of %d)", error, pause, attempt, ATTEMPTS)
                self.sleep(pause)
        raise AssertionError("unreachable")


def pause_before(attempt: int, error: UnclearError) -> float:
    """Seconds to wait after a failed attempt: what the server asked for, or an exponential pause with jitter."""
    asked = getattr(error, "retry_after", None)
    backoff: float = 2.0 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
    return min(LONGEST_PAUSE, asked if asked is not None else backoff)


def _once(call: Callable[[], Answer], what: str) -> Answer:
    """One attempt; a 401 gets a second one at once, because the client drops its expired token only when it meets a 401."""
    for last in (False, True):
        try:
            return call()
        except (ResponseValidationError, NoResponseError) as error:
            raise UnclearError(f"{what}: Airbyte's answer could not be read: {_short(error)}") from error
        except AirbyteAPIError as error:
            if error.status_code == 401 and not last:
                continue
            raise _from_status(error.status_code, f"{what}: Airbyte answered {_short(error)}", error.headers) from error
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise PermanentError(f"{what}: the connection's host is no address: {error} (allowed: http://… or https://…)") from error
        except httpx.HTTPError as error:
            raise UnclearError(f"{what}: no answer from Airbyte: {type(error).__name__} {error}") from error
        except ValueError as error:
            raise UnclearError(f"{what}: Airbyte's answer could not be read: {_short(error)}") from error
        except Exception as error:  # the client raises bare exceptions for its token endpoint
            match = re.search(r"status code (\d+) from token endpoint", str(error))
            if match is None:
                raise
            raise _from_status(int(match[1]), f"{what}: Airbyte's token endpoint answered {match[1]}", {}) from error
    raise AssertionError("unreachable")


def _from_status(status: int, message: str, headers: Any) -> Exception:
    if status == 409:
        return ConflictError(message)
    if status in (408, 425, 429) or status >= 500:
        unclear = UnclearError(message)
        asked = headers.get("retry-after", "") if headers else ""
        if asked.isdigit():
            unclear.retry_after = float(asked)  # type: ignore[attr-defined]
        return unclear
    hint = {401: "; check the connection's client id and secret", 403: "; the application may not do this", 404: "; is the id in the unit file right?"}
    return PermanentError(message + hint.get(status, ""))


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else text[:297] + "..."


def _job(answer: JobResponse | None) -> Job:
    if answer is None:
        raise UnclearError("Airbyte answered without a job")
    return Job(
        id=answer.job_id,
        status=str(getattr(answer.status, "value", answer.status)),
        rows=answer.rows_synced or 0,
        bytes=answer.bytes_synced or 0,
        started=answer.start_time,
        duration=answer.duration or "",
    )
