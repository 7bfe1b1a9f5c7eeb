"""Misbehaviour on request, and the record of what was asked.

``POST /_faults`` takes a list of rules; for each request the first rule that matches and is not used up decides. A rule::

    {"match": {"method": "GET", "path": "*/course_outline/*"}, "skip": 0, "count": 1, "status": 503}

``path`` is a shell pattern of the whole path (default: everything), ``skip`` requests pass first, ``count`` requests are hit (null: all), and of those
that could be hit only a ``share`` is (default 1), drawn from ``seed``. Effects:

``status``        answer this status (``retry_after`` seconds as a header) without doing anything
``delay``         seconds to wait before anything else happens
``half_body``     do the work, send half of the answer, close the connection
``drop_answer``   do the work, close the connection without an answer
``export``        for the start of an export: how it goes, see :class:`include.local.services.openedx.exports.ExportPlan`
"""

from __future__ import annotations

import asyncio
import fnmatch
import random
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from include.local.services.answers import HeldAnswer, replay
from include.local.services.openedx.exports import ExportPlan
from include.local.services.openedx.problems import of_developer, of_status

RECORDED = 50_000


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Match(_Strict):
    """Requests a rule is for."""

    method: str | None = None
    path: str = "*"


class Fault(_Strict):
    """One rule; see the module's docstring."""

    match: Match = Match()
    skip: Annotated[int, Field(ge=0)] = 0
    count: Annotated[int, Field(ge=1)] | None = 1
    share: Annotated[float, Field(gt=0, le=1)] = 1
    seed: int = 7
    status: Annotated[int, Field(ge=400, le=599)] | None = None
    retry_after: Annotated[float, Field(ge=0)] | None = None
    delay: Annotated[float, Field(ge=0)] = 0
    half_body: bool = False
    drop_answer: bool = False
    export: ExportPlan | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if not (self.status or self.delay or self.half_body or self.drop_answer or self.export):
            raise ValueError("a rule needs an effect: status, delay, half_body, drop_answer or export")
        return self


@dataclass
class _Rule:
    fault: Fault
    seen: int = 0
    hit: int = 0
    draws: random.Random = field(default_factory=random.Random)

    def strikes(self, method: str, path: str) -> bool:
        match = self.fault.match
        if match.method not in (None, method) or (match.path != "*" and not fnmatch.fnmatchcase(path, match.path)):
            return False
        if self.fault.count is not None and self.hit >= self.fault.count:
            return False
        self.seen += 1
        if self.seen <= self.fault.skip or self.draws.random() >= self.fault.share:
            return False
        self.hit += 1
        return True


_RULES = TypeAdapter(list[Fault])


class Faults:
    """ASGI middleware: adds the latency, applies rules, records requests, and serves ``/_faults`` and ``/_requests``. ``latency`` is in seconds."""

    def __init__(self, app: ASGIApp, latency: float = 0.0) -> None:
        self._app, self.latency = app, latency
        self._rules: list[_Rule] = []
        self._requests: deque[dict[str, Any]] = deque(maxlen=RECORDED)
        self._number = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in ("/_faults", "/_requests"):
            response = await self._administer(Request(scope, receive))
            await response(scope, receive, send)
        elif scope["path"].startswith("/_") or scope["path"] == "/health":
            await self._app(scope, receive, send)
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
                rules = _RULES.validate_json(await request.body())
            except ValidationError as error:
                return of_developer(422, "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())).response()
            self._rules += [_Rule(rule, draws=random.Random(rule.seed)) for rule in rules]
        return JSONResponse([{**rule.fault.model_dump(mode="json", exclude_defaults=True), "seen": rule.seen, "hit": rule.hit} for rule in self._rules])

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        body = await Request(scope, receive).body() if method != "GET" else b""
        fault = next((rule.fault for rule in self._rules if rule.strikes(method, path)), None)
        started = time.monotonic()
        self._number += 1
        record: dict[str, Any] = {"number": self._number, "at": datetime.now(UTC).isoformat(), "method": method, "path": path}
        record |= {"query": scope["query_string"].decode(), "status": None}
        self._requests.append(record)
        held = HeldAnswer(send)
        if self.latency:
            await asyncio.sleep(self.latency)
        if fault is not None:
            record["fault"] = fault.model_dump(mode="json", exclude_defaults=True)
            scope["export_plan"] = fault.export
            await asyncio.sleep(fault.delay)
        if fault is not None and fault.status is not None:
            await of_status(fault.status, fault.retry_after).response()(scope, receive, held)
        else:
            await self._app(scope, replay(body), held)
        record |= {"status": held.status, "seconds": round(time.monotonic() - started, 4)}
        await held.forward(half=fault is not None and fault.half_body, drop=fault is not None and fault.drop_answer)
