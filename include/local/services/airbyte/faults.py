"""How the local Airbyte misbehaves on request, beside what every stand-in can (:mod:`include.local.services.rules`).

Paths are those below ``/api/public/v1``; a rule may ask for a ``connection_id``. One more effect:

``job``   for ``POST /jobs``: how the accepted job misbehaves, see :class:`JobFault`
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import Field
from starlette.responses import Response
from starlette.types import ASGIApp, Scope

from include.local.services import faults, rules
from include.local.services.airbyte.problems import of_status, unprocessable
from include.local.services.rules import Seconds, Strict

PREFIX = "/api/public/v1"


class Match(rules.Match):
    """Requests a rule is for; ``connection_id`` is that of a job to be created."""

    connection_id: str | None = None


class JobFault(Strict):
    """How a job misbehaves; ``fail`` and ``cancel`` strike once ``after_streams`` streams are complete.

    ``queued``: seconds without a start. ``stream_seconds``: every stream waits so long before it is read. ``fail``: the job fails with this message.
    ``cancel``: the job is cancelled, as if by somebody else. ``main_behind``: the staging branch is written, main stays (all streams, or those named).
    ``duplicate_rows``: rows of appending and overwriting streams come twice, and those at the cursor again.
    """

    queued: Seconds = 0
    stream_seconds: Seconds = 0
    fail: str | None = None
    cancel: bool = False
    after_streams: Annotated[int, Field(ge=0)] = 0
    main_behind: bool | list[str] = False
    duplicate_rows: bool = False


class Fault(rules.Fault):
    """One rule."""

    match: Match = Match()
    job: JobFault | None = None


class Faults(faults.Faults[Fault]):
    """The middleware before Airbyte's public API."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, Fault)

    def passes(self, path: str) -> bool:
        """Everything is Airbyte's."""
        return False

    def told(self, method: str, path: str, body: bytes) -> dict[str, str]:
        """The connection of a job to be created, too."""
        found = _job(method, path, body)
        return {"method": method, "path": path.removeprefix(PREFIX), "connection_id": str(found.get("connectionId", ""))}

    def noted(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        """The job to be created."""
        return {"path": path.removeprefix(PREFIX), "body": _job(method, path, body)}

    def strike(self, scope: Scope, fault: Fault) -> None:
        """Tells who creates the job."""
        scope["job_fault"] = fault.job.model_dump(exclude_defaults=True) if fault.job else {}

    def refusal(self, status: int, retry_after: float | None) -> Response:
        """As Airbyte says it."""
        return of_status(status, retry_after).response()

    def refused_rules(self, message: str) -> Response:
        """As Airbyte says it."""
        return unprocessable(message).response()


def _job(method: str, path: str, body: bytes) -> dict[str, Any]:
    if (method, path) != ("POST", f"{PREFIX}/jobs"):
        return {}
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
