"""The handlers: MIT Learn's webhooks, and the administration of this stand-in.

``POST /api/v1/webhooks/{content_files,ovs_videos,learning_resources}/``
    200 ``{"status":"success","message":"Webhook received"}``, with ``Idempotent-Replayed: true`` for a delivery that was applied before; 400 for a
    body that says nothing usable, 403 for a request that is not believed, 422 for an idempotency key that stands for another body
``GET|PUT /_settings``
    ``keys`` (ids and secrets, two at most), ``mode`` (today, strict), ``skew`` (seconds that the clock is ahead); secrets are never shown
``GET|POST|DELETE /_faults``
    see :mod:`include.local.services.learn.faults`
``GET /_applied``, ``GET /_receipts``, ``DELETE /_receipts``
    what took effect and what came, oldest first, beyond ``?after=``; the last forgets both
``GET /health``
    200
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from include.local.services.learn.faults import Fault
from include.local.services.learn.payloads import MODELS, PayloadError, check
from include.local.services.learn.store import KeyReusedError, Store
from include.local.services.learn.verify import RefusedError, Request, check_strict, check_today
from include.local.services.rules import Rules, UnknownRuleError, told

PREFIX = "/api/v1/webhooks/"
NOTHING = Fault(delay=1e-9)
KeyId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Secret = Annotated[str, StringConstraints(min_length=16)]


class Settings(BaseModel):
    """What ``PUT /_settings`` may change; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    keys: Annotated[dict[KeyId, Secret], Field(min_length=1, max_length=2)] | None = None
    mode: Literal["today", "strict"] | None = None
    skew: float | None = None


@dataclass(frozen=True)
class Answer:
    """An answer before it is sent: status, body, headers beside the usual ones, and a word for the record."""

    status: int
    outcome: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


class Api:
    """The ASGI application."""

    def __init__(self, store: Store) -> None:
        self._store, self._faults = store, Rules(Fault)
        self._administration = Starlette(
            routes=[
                Route("/health", self._health),
                Route("/_settings", self._settings, methods=["GET", "PUT"]),
                Route("/_faults", self._rules, methods=["GET", "POST", "DELETE"]),
                Route("/_receipts", self._receipts, methods=["GET", "DELETE"]),
                Route("/_applied", self._applied),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and scope["path"].startswith(PREFIX):
            await self._webhook(HttpRequest(scope, receive), send)
        else:
            await self._administration(scope, receive, send)

    # --- webhooks --------------------------------------------------------------------------------

    async def _webhook(self, http: HttpRequest, send: Send) -> None:
        request = Request(http.url.path, http.headers, await http.body())
        fault = self._faults.choose(method=http.method, path=http.url.path.removeprefix(PREFIX).rstrip("/")) or NOTHING
        await asyncio.sleep(fault.delay)
        if fault.redirect is not None:
            answer = Answer(307, "fault", b"", {"Location": fault.redirect})
        elif fault.status is not None and not fault.after_work:
            answer = _failure(fault, "fault")
        else:
            answer = self._work(http.method, request, fault)
            if fault.twice:
                self._record(request, answer)
                answer = self._work(http.method, request, fault)
        self._record(request, answer)
        await self._say(send, answer, fault)

    def _work(self, method: str, request: Request, fault: Fault) -> Answer:
        answer = self._done(method, request)
        if fault.status is not None:
            return _failure(fault, answer.outcome)
        if fault.answer is not None:
            return Answer(200, answer.outcome, fault.answer.encode())
        return answer

    def _done(self, method: str, request: Request) -> Answer:
        endpoint = request.path.removeprefix(PREFIX).removesuffix("/")
        if endpoint not in MODELS or not request.path.endswith("/"):
            return _error(404, "path", f"no webhook at {request.path}; there are {', '.join(MODELS)}")
        if method != "POST":
            return _error(405, "method", f"found {method}; allowed: POST")
        try:
            key = None
            if self._store.mode == "strict":
                key = check_strict(request, self._store.keys, self._now())
            else:
                check_today(request, self._store.keys)
            check(endpoint, request.body)
            new = self._store.apply(endpoint, request.body, key, self._now())
        except RefusedError as error:
            return _error(403, error.error, str(error))
        except PayloadError as error:
            return _error(400, "payload", str(error))
        except KeyReusedError as error:
            return _error(422, "reused", f"idempotency key {error} came before with another body or at another endpoint")
        headers = {} if new else {"Idempotent-Replayed": "true"}
        return Answer(200, "applied" if new else "known", _json({"status": "success", "message": "Webhook received"}), headers)

    def _record(self, request: Request, answer: Answer) -> None:
        self._store.receive(request, answer.status, answer.outcome, self._now())

    def _now(self) -> float:
        return time.time() + self._store.skew

    async def _say(self, send: Send, answer: Answer, fault: Fault) -> None:
        await asyncio.sleep(fault.hang)
        if fault.drop_answer:
            # ASGI knows no answer without a status line, so this reaches through to uvicorn's transport
            send.__self__.transport.abort()  # type: ignore[attr-defined]
            return
        content_type = "application/json" if fault.answer is None else "text/html"
        headers = {"Content-Type": content_type, "Date": formatdate(self._now(), usegmt=True), "Content-Length": str(len(answer.body)), **answer.headers}
        await send({"type": "http.response.start", "status": answer.status, "headers": [(name.encode(), text.encode()) for name, text in headers.items()]})
        if fault.half_body:
            await send({"type": "http.response.body", "body": answer.body[: len(answer.body) // 2], "more_body": True})
            send.__self__.transport.close()  # type: ignore[attr-defined]
            return
        for byte in answer.body if fault.drip else b"":
            await send({"type": "http.response.body", "body": bytes([byte]), "more_body": True})
            await asyncio.sleep(fault.drip / len(answer.body))
        await send({"type": "http.response.body", "body": b"" if fault.drip else answer.body})

    # --- administration --------------------------------------------------------------------------

    async def _health(self, http: HttpRequest) -> Response:
        return PlainTextResponse("ok")

    async def _settings(self, http: HttpRequest) -> Response:
        if http.method == "PUT":
            try:
                wanted = Settings.model_validate_json(await http.body())
            except ValidationError as error:
                return _unusable(told(error))
            for name, value in wanted.model_dump(exclude_none=True).items():
                self._store.change(name, value)  # type: ignore[arg-type]  # the names of the model are those of the settings
        return JSONResponse({"keys": sorted(self._store.keys), "mode": self._store.mode, "skew": self._store.skew})

    async def _rules(self, http: HttpRequest) -> Response:
        if http.method == "DELETE":
            self._faults.clear()
        elif http.method == "POST":
            try:
                self._faults.add(await http.body())
            except UnknownRuleError as error:
                return _unusable(str(error))
        return JSONResponse(self._faults.listed())

    async def _receipts(self, http: HttpRequest) -> Response:
        if http.method == "DELETE":
            self._store.forget()
        return JSONResponse([receipt.told() for receipt in self._store.receipts(_after(http))])

    async def _applied(self, http: HttpRequest) -> Response:
        return JSONResponse([applied.told() for applied in self._store.applied(_after(http))])


def _after(http: HttpRequest) -> int:
    text = http.query_params.get("after", "0")
    return int(text) if text.isdecimal() else 0


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _error(status: int, error: str, message: str) -> Answer:
    return Answer(status, error, _json({"status": "error", "error": error, "message": message}))


def _failure(fault: Fault, outcome: str) -> Answer:
    waits = {} if fault.retry_header is None else {"Retry-After": fault.retry_header}
    return Answer(fault.status or 500, outcome, _json({"status": "error", "error": "fault"}), waits)


def _unusable(message: str) -> Response:
    return JSONResponse({"status": "error", "error": "administration", "message": message}, status_code=422)
