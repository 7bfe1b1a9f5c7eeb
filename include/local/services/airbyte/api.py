"""The handlers of ``/api/public/v1``: what Airbyte's public API answers, status codes and bodies included."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlencode
from uuid import UUID

import psycopg
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from include.local.services.airbyte import problems
from include.local.services.airbyte.connections import WORKSPACE_ID, Connection, workspace_body
from include.local.services.airbyte.faults import PREFIX, Faults
from include.local.services.airbyte.problems import Problem
from include.local.services.airbyte.store import AlreadyRunningError, Job, Store
from include.local.services.airbyte.worker import Worker
from include.local.services.tokens import Tokens

STATUSES = ("pending", "queued", "running", "incomplete", "failed", "succeeded", "cancelled")
JOB_TYPES = {"sync": "sync", "reset": "reset", "clear": "reset"}
MAX_PAGE = 100
_ORDER = {"createdAt": "created_at", "updatedAt": "updated_at"}
Handler = Callable[[Request], Awaitable[Response]]


def job_body(job: Job) -> dict[str, Any]:
    """A job as the API shows it: end time only for ended jobs, no duration while it is pending."""
    body: dict[str, Any] = {
        "jobId": job.job_id,
        "status": job.status,
        "jobType": job.job_type,
        "startTime": _instant(job.created_at),
        "connectionId": str(job.connection_id),
        "bytesSynced": job.bytes_synced,
        "rowsSynced": job.rows_synced,
    }
    if not job.active:
        body["lastUpdatedAt"] = _instant(job.updated_at)
    if job.status != "pending":
        end = job.updated_at if not job.active else datetime.now(UTC)
        body["duration"] = _duration(max(0, int((end - job.created_at).total_seconds())))
    return body


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _duration(seconds: int) -> str:
    """ISO 8601, without parts that are zero: ``PT1H2M``, ``PT0S``."""
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    parts = f"{hours}H" * bool(hours) + f"{minutes}M" * bool(minutes) + f"{seconds}S" * bool(seconds)
    return f"PT{parts or '0S'}"


class Api:
    """The service's HTTP side. ``public_url`` begins the links to the next and previous page."""

    def __init__(self, store: Store, worker: Worker, connections: Mapping[str, Connection], tokens: Tokens, public_url: str) -> None:
        self._store, self._worker, self._connections, self._tokens = store, worker, connections, tokens
        self._public_url = public_url.rstrip("/")

    def application(self) -> ASGIApp:
        """The ASGI application, misbehaviour included."""
        routes = [
            Route("/health", self.health),
            Route("/applications/token", self.token, methods=["POST"]),
            Route("/jobs", self._secured(self.list_jobs)),
            Route("/jobs", self._secured(self.create_job), methods=["POST"]),
            Route("/jobs/{job_id}", self._secured(self.get_job)),
            Route("/jobs/{job_id}", self._secured(self.cancel_job), methods=["DELETE"]),
            Route("/connections", self._secured(self.list_connections)),
            Route("/connections/{connection_id}", self._secured(self.get_connection)),
            Route("/workspaces", self._secured(self.list_workspaces)),
            Route("/workspaces/{workspace_id}", self._secured(self.get_workspace)),
        ]
        handlers: dict[Any, Any] = {Problem: _problem, HTTPException: _http_error, psycopg.OperationalError: _state_away}
        return Faults(Starlette(routes=[Mount(PREFIX, routes=routes)], exception_handlers=handlers))

    def _secured(self, handler: Handler) -> Handler:
        async def secured(request: Request) -> Response:
            kind, _, token = request.headers.get("Authorization", "").partition(" ")
            if kind.lower() != "bearer" or not self._tokens.valid(token):
                raise problems.unauthorized()
            return await handler(request)

        return secured

    async def health(self, request: Request) -> Response:
        """200 without authorization."""
        return PlainTextResponse("Successful operation")

    async def token(self, request: Request) -> Response:
        """Client credentials, as a form (OAuth clients) or as JSON (Airbyte's own documentation), for an access token."""
        body = await request.body()
        if request.headers.get("Content-Type", "").startswith("application/json"):
            given = {key.replace("-", "_"): value for key, value in _object(body).items()}
        else:
            given = {key: values[0] for key, values in parse_qs(body.decode("utf-8", "replace")).items()}
        if given.get("grant_type", "client_credentials") != "client_credentials":
            raise problems.unprocessable("grant_type: allowed: client_credentials")
        if not self._tokens.accepts(str(given.get("client_id", "")), str(given.get("client_secret", ""))):
            raise problems.unauthorized()
        return JSONResponse({"access_token": self._tokens.issue(), "token_type": "Bearer", "expires_in": self._tokens.seconds})

    async def create_job(self, request: Request) -> Response:
        """200 with the new job; 404, 409 and 422 as Airbyte."""
        body = _object(await request.body())
        connection_id = _uuid(body.get("connectionId"), "connectionId")
        job_type = body.get("jobType")
        if job_type not in JOB_TYPES:
            raise problems.unprocessable(f"jobType: found {job_type!r}; allowed: {', '.join(JOB_TYPES)}")
        if connection_id not in self._connections:
            raise problems.not_found("connection", connection_id)
        faults = request.scope.get("job_fault", {})
        try:
            job = await run_in_threadpool(self._store.create_job, connection_id, JOB_TYPES[job_type], faults, float(faults.get("queued", 0)))
        except AlreadyRunningError as error:
            raise problems.already_running(connection_id) from error
        self._worker.notify()
        return JSONResponse(job_body(job))

    async def get_job(self, request: Request) -> Response:
        """200 with the job, 404."""
        return JSONResponse(job_body(await self._job(request)))

    async def cancel_job(self, request: Request) -> Response:
        """200 with the job as it is afterwards: cancelled, or as it had ended."""
        job = await self._job(request)
        if job.active:
            await run_in_threadpool(self._worker.cancel, job.job_id)
        return JSONResponse(job_body(await self._job(request)))

    async def list_jobs(self, request: Request) -> Response:
        """200 with one page of jobs, oldest first unless ``orderBy`` says otherwise."""
        query = request.query_params
        where: list[tuple[str, Any]] = []
        if "connectionId" in query:
            where.append(("connection_id = %s", _uuid(query["connectionId"], "connectionId")))
        if "jobType" in query:
            where.append(("job_type = %s", _one_of(query["jobType"], "jobType", tuple(JOB_TYPES))))
        if "status" in query:
            where.append(("status = %s", _one_of(query["status"], "status", STATUSES)))
        for name, condition in (
            ("createdAtStart", "created_at >= %s"),
            ("createdAtEnd", "created_at <= %s"),
            ("updatedAtStart", "updated_at >= %s"),
            ("updatedAtEnd", "updated_at <= %s"),
        ):
            if name in query:
                where.append((condition, _moment(query[name], name)))
        if query.getlist("workspaceIds") and WORKSPACE_ID not in ",".join(query.getlist("workspaceIds")).split(","):
            raise problems.not_found("workspace", query["workspaceIds"])
        limit, offset = _page(request)
        jobs = await run_in_threadpool(self._store.list_jobs, where, _order(query.get("orderBy")), limit, offset)
        return self._paged(request, [job_body(job) for job in jobs], limit, offset)

    async def list_connections(self, request: Request) -> Response:
        """200 with one page of connections."""
        limit, offset = _page(request)
        bodies = [connection.body() for connection in self._connections.values()]
        return self._paged(request, bodies[offset : offset + limit], limit, offset)

    async def get_connection(self, request: Request) -> Response:
        """200 with the connection, 404."""
        connection_id = request.path_params["connection_id"].lower()
        if connection_id not in self._connections:
            raise problems.not_found("connection", connection_id)
        return JSONResponse(self._connections[connection_id].body())

    async def list_workspaces(self, request: Request) -> Response:
        """200 with the only workspace."""
        limit, offset = _page(request)
        return self._paged(request, [workspace_body()][offset : offset + limit], limit, offset)

    async def get_workspace(self, request: Request) -> Response:
        """200 with the workspace, 404."""
        if request.path_params["workspace_id"] != WORKSPACE_ID:
            raise problems.not_found("workspace", request.path_params["workspace_id"])
        return JSONResponse(workspace_body())

    async def _job(self, request: Request) -> Job:
        text = request.path_params["job_id"]
        if not re.fullmatch(r"[0-9]{1,18}", text):
            raise problems.bad_request(f"jobId: found {text!r}; allowed: a whole number")
        job = await run_in_threadpool(self._store.job, int(text))
        if job is None:
            raise problems.not_found("job", text)
        return job

    def _paged(self, request: Request, bodies: Sequence[dict[str, Any]], limit: int, offset: int) -> Response:
        """One page; as at Airbyte a full page always has a next one, and a missing link is an empty text."""
        following = self._link(request, limit, offset + limit) if bodies and len(bodies) == limit else ""
        before = self._link(request, limit, max(0, offset - limit)) if offset else ""
        return JSONResponse({"data": bodies, "next": following, "previous": before})

    def _link(self, request: Request, limit: int, offset: int) -> str:
        kept = [(key, value) for key, value in request.query_params.multi_items() if key not in ("limit", "offset")]
        return f"{self._public_url}{request.url.path}?{urlencode([*kept, ('limit', limit), ('offset', offset)])}"


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problems.of_status(error.status_code).response()


async def _state_away(_: Request, error: Exception) -> Response:
    return problems.of_status(500).response()


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError as error:
        raise problems.bad_request("the body is no JSON") from error
    if not isinstance(found, dict):
        raise problems.unprocessable(f"the body: found {type(found).__name__}; allowed: an object")
    return found


def _uuid(text: Any, key: str) -> str:
    try:
        return str(UUID(text))
    except (TypeError, ValueError, AttributeError) as error:
        raise problems.unprocessable(f"{key}: found {text!r}; allowed: a UUID") from error


def _one_of(text: str, key: str, allowed: Sequence[str]) -> str:
    if text not in allowed:
        raise problems.bad_request(f"{key}: found {text!r}; allowed: {', '.join(allowed)}")
    return text


def _moment(text: str, key: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise problems.bad_request(f"{key}: found {text!r}; allowed: an ISO 8601 date and time") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _order(text: str | None) -> str:
    field, _, direction = (text or "createdAt|ASC").partition("|")
    if field not in _ORDER or direction not in ("ASC", "DESC"):
        raise problems.bad_request(f"Invalid order by clause provided: {text}")
    return f"{_ORDER[field]} {direction}, job_id {direction}"


def _page(request: Request) -> tuple[int, int]:
    limit, offset = request.query_params.get("limit", "20"), request.query_params.get("offset", "0")
    if not re.fullmatch(r"[0-9]{1,9}", limit) or not 1 <= int(limit) <= MAX_PAGE:
        raise problems.bad_request(f"limit: found {limit!r}; allowed: 1 to {MAX_PAGE}")
    if not re.fullmatch(r"[0-9]{1,9}", offset):
        raise problems.bad_request(f"offset: found {offset!r}; allowed: a whole number of 0 or more")
    return int(limit), int(offset)
