"""ASGI middleware of the stand-ins that have an HTTP API: misbehaviour on request, and the record of what was asked.

``/_faults`` takes rules (:mod:`include.local.services.rules`), ``GET /_requests`` tells what was asked, ``DELETE`` forgets it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from datetime import UTC, datetime
from typing import Any, Generic

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from include.local.services.answers import HeldAnswer, replay
from include.local.services.rules import F, Rules, UnknownRuleError

RECORDED = 50_000


class Faults(Generic[F]):
    """One service's. A subclass says how its service answers errors, and what of a request rules can ask for.

    :param latency: seconds before anything else, for every request.
    """

    def __init__(self, app: ASGIApp, kind: type[F], latency: float = 0.0) -> None:
        self._app, self.latency = app, latency
        self._rules = Rules(kind)
        self._requests: deque[dict[str, Any]] = deque(maxlen=RECORDED)
        self._number = 0

    # --- what differs between services -----------------------------------------------------------------

    def passes(self, path: str) -> bool:
        """Whether a request is none of the service's own API, and is left alone."""
        return path.startswith("/_") or path == "/health"

    def told(self, method: str, path: str, body: bytes) -> dict[str, str]:
        """What rules may ask for."""
        return {"method": method, "path": path}

    def noted(self, method: str, path: str, body: bytes) -> dict[str, Any]:
        """What is recorded of a request beside method, path and query."""
        return {}

    def strike(self, scope: Scope, fault: F) -> None:
        """Passes effects of the service's own on to the application."""

    def refusal(self, status: int, retry_after: float | None) -> Response:
        """The service's answer with a status; ``retry_after`` in seconds."""
        raise NotImplementedError

    def refused_rules(self, message: str) -> Response:
        """422: a body that is no list of rules."""
        raise NotImplementedError

    # --- the middleware --------------------------------------------------------------------------------

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and scope["path"] in ("/_faults", "/_requests"):
            response = await self._administer(Request(scope, receive))
            await response(scope, receive, send)
        elif scope["type"] != "http" or self.passes(scope["path"]):
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
                self._rules.add(await request.body())
            except UnknownRuleError as error:
                return self.refused_rules(str(error))
        return JSONResponse(self._rules.listed())

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        method, path = scope["method"], scope["path"]
        body = await Request(scope, receive).body() if method != "GET" else b""
        fault = self._rules.choose(**self.told(method, path, body))
        started = time.monotonic()
        record = self._record(scope, body)
        held = HeldAnswer(send)
        if self.latency:
            await asyncio.sleep(self.latency)
        if fault is not None:
            record["fault"] = fault.model_dump(mode="json", exclude_defaults=True)
            self.strike(scope, fault)
            await asyncio.sleep(fault.delay)
        if fault is not None and fault.status is not None:
            seconds = fault.retry_after if isinstance(fault.retry_after, float) else None
            await self.refusal(fault.status, seconds)(scope, receive, held)
        else:
            await self._app(scope, replay(body), held)
        record |= {"status": held.status, "seconds": round(time.monotonic() - started, 4)}
        await held.forward(half=fault is not None and fault.half_body, drop=fault is not None and fault.drop_answer)

    def _record(self, scope: Scope, body: bytes) -> dict[str, Any]:
        self._number += 1
        record: dict[str, Any] = {"number": self._number, "at": datetime.now(UTC).isoformat(), "method": scope["method"], "path": scope["path"]}
        record |= {"query": scope["query_string"].decode(), **self.noted(scope["method"], scope["path"], body), "status": None}
        self._requests.append(record)
        return record
