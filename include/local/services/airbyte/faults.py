"""Misbehaviour on request, and the record of what was asked.

``POST /_faults`` takes a list of rules; for each request the first rule that matches and is not used up decides. A rule::

    {"match": {"method": "POST", "path": "/jobs", "connection_id": "..."}, "skip": 0, "count": 1, "status": 503}

``path`` is a shell pattern below ``/api/public/v1`` (default: everything), ``skip`` requests pass first, ``count`` requests are hit (null: all). Effects:

``status``        answer this status (``retry_after`` seconds as a header) without doing anything
``delay``         seconds to wait before anything else happens
``half_body``     do the work, send half of the answer, close the connection
``drop_answer``   do the work, close the connection without an answer
``job``           for ``POST /jobs``: how the accepted job misbehaves, see :class:`JobFault`
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import time
from collections import deque
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from include.local.services.airbyte.problems import of_status, unprocessable
from include.local.services.answers import HeldAnswer, replay

PREFIX = "/api/public/v1"
RECORDED = 10_000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Match(_Strict):
    """Requests a rule is for."""

    method: str | None = None
    path: str = "*"
    connection_id: str | None = None


class JobFault(_Strict):
    """How a job misbehaves; ``fail`` and ``cancel`` strike once ``after_streams`` streams are complete.

    ``queued``: seconds without a start. ``stream_seconds``: every stream waits so long before it is read. ``fail``: the job fails with this message.
    ``cancel``: the job is cancelled, as if by somebody else. ``main_behind``: the staging branch is written, main stays (all streams, or those named).
    ``duplicate_rows``: rows of appending and overwriting streams come twice, and those at the cursor again.
    """

    queued: Annotated[float, Field(ge=0)] = 0
    stream_seconds: Annotated[float, Field(ge=0)] = 0
    fail: str | None = None
    cancel: bool = False
    after_streams: Annotated[int, Field(ge=0)] = 0
    main_behind: bool | list[str] = False
    duplicate_rows: bool = False


class Fault(_Strict):
    """One rule; see the module's docstring."""

    match: Match = Match()
    skip: Annotated[int, Field(ge=0)] = 0
    count: Annotated[int, Field(ge=1)] | None = 1
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    retry_after: Annotated[float, Field(ge=0)] | None = None
    delay: Annotated[float, Field(ge=0)] = 0
    half_body: bool = False
    drop_answer: bool = False
    job: JobFault | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.status or self.delay or self.half_body or self.drop_answer or self.job):
            raise ValueError("a rule needs an effect: status, delay, half_body, drop_answer or job")
        return self


_RULES = TypeAdapter(list[Fault])


class Faults:
    """ASGI middleware: applies rules to the public API, records its requests, and serves ``/_faults`` and ``/_requests``."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._rules: list[tuple[Fault, list[int]]] = []  # a rule and [requests matched so far]
        self._requests: deque[dict[str, Any]] = deque(maxlen=RECORDED)
        self._number = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in ("/_faults", "/_requests"):
            response = await self._administer(Request(scope, receive))
            await response(scope, receive, send)
        else:
            await self._serve(scope, receive, send)

    async def _administer(self, request: Request) -> Response:
        if request.url.path == "/_requests":
            if request.method == "DELETE":
                self._requests.clear()
            return JSONResponse(list(self._requests))
        if request.method == "DELETE":
            self._rules.clear()
        elif request.method == "POST":
            try:
                self._rules += [(rule, [0]) for rule in _RULES.validate_json(await request.body())]
            except ValidationError as error:
                return unprocessable("; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())).response()
        return JSONResponse([{**rule.model_dump(mode="json", exclude_defaults=True), "matched": seen[0]} for rule, seen in self._rules])

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await Request(scope, receive).body()
        path = scope["path"].removeprefix(PREFIX)
        created = _json_object(body) if path == "/jobs" and scope["method"] == "POST" else {}
        fault = self._choose(scope["method"], path, str(created.get("connectionId", "")))
        started = time.monotonic()
        self._number += 1
        record: dict[str, Any] = {"number": self._number, "at": datetime.now(UTC).isoformat(), "method": scope["method"], "path": path}
        record |= {"query": scope["query_string"].decode(), "body": created, "status": None}
        self._requests.append(record)
        capture = HeldAnswer(send)
        if fault is not None:
            record["fault"] = fault.model_dump(mode="json", exclude_defaults=True)
            scope["job_fault"] = fault.job.model_dump(exclude_defaults=True) if fault.job else {}
            await asyncio.sleep(fault.delay)
        if fault is not None and fault.status is not None:
            await of_status(fault.status, fault.retry_after).response()(scope, receive, capture)
        else:
            await self._app(scope, replay(body), capture)
        record |= {"status": capture.status, "seconds": round(time.monotonic() - started, 4)}
        await capture.forward(half=fault is not None and fault.half_body, drop=fault is not None and fault.drop_answer)

    def _choose(self, method: str, path: str, connection_id: str) -> Fault | None:
        for rule, seen in self._rules:
            match = rule.match
            if match.method not in (None, method) or match.connection_id not in (None, connection_id) or not fnmatch.fnmatchcase(path, match.path):
                continue
            if rule.count is not None and seen[0] >= rule.skip + rule.count:
                continue
            seen[0] += 1
            if seen[0] > rule.skip:
                return rule
        return None


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
