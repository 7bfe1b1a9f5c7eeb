"""All deployments put together: routes, tokens, and the switches that only tests and the demo use (paths that begin with an underscore)."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from urllib.parse import parse_qs

import psycopg
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from include.local.services.openedx import problems
from include.local.services.openedx.faults import Faults
from include.local.services.openedx.lms import Lms
from include.local.services.openedx.store import Deployment, UnknownRunError
from include.local.services.openedx.studio import Studio
from include.local.services.tokens import Tokens

TOKEN_TYPES = {"jwt": "JWT", "bearer": "Bearer"}
Handler = Callable[[Request], Awaitable[Response]]


class OpenEdx:
    """The service. One application (client id and secret) may call all deployments; ``links`` begins the links between pages of the course list."""

    def __init__(
        self, deployments: Mapping[str, Deployment], client: tuple[str, str], *, token_seconds: int = 3600, latency: float = 0.0, links: str = ""
    ) -> None:
        self.deployments = dict(deployments)
        self._client, self._token_seconds = Tokens(*client, token_seconds), token_seconds
        self._generation = 0  # a new one makes all tokens worthless at once
        routes: list[BaseRoute] = [
            Route("/health", self.health),
            Route("/_courses/{deployment}", self.change_courses, methods=["POST"]),
            Route("/_exports/{deployment}", self.list_exports),
            Route("/_tokens", self.expire_tokens, methods=["DELETE"]),
        ]
        for deployment in self.deployments.values():
            routes += self._routes(deployment, links)
        # the REST framework and Django know no redirect to or from a trailing slash for these paths
        application = Starlette(routes=routes, exception_handlers={problems.Problem: _problem, HTTPException: _http_error, psycopg.Error: _databases_away})
        application.router.redirect_slashes = False
        self.application = Faults(application, latency)

    def _routes(self, deployment: Deployment, links: str) -> list[BaseRoute]:
        lms, studio, name = Lms(deployment, links), Studio(deployment), deployment.name
        secured = self._secured
        return [
            Route(f"/{name}/lms/api/learning_sequences/v1/course_outline/{{course_id}}", secured(lms.outline)),
            Route(f"/{name}/lms/api/courses/v1/courses/", secured(lms.courses)),
            Route(f"/{name}/lms/api/courses/v1/courses/{{course_id}}/", secured(lms.course)),
            Route(f"/{name}/lms/api/course-structure/v0/{{course_id}}/", secured(lms.structure)),
            Route(f"/{name}/lms/api/user/v1/me", secured(lms.me)),
            Route(f"/{name}/lms/oauth2/access_token", self.token, methods=["POST"]),
            Route(f"/{name}/studio/api/courses/v0/export/", secured(studio.start), methods=["POST"]),
            Route(f"/{name}/studio/api/courses/v0/export/{{course_id}}/", secured(studio.state)),
            Route(f"/{name}/bucket/{{object}}", studio.download),
        ]

    def _issuer(self, kind: str) -> Tokens:
        """Signs tokens of one kind: one that was issued as a bearer token is no JWT."""
        return Tokens(self._client.client_id, f"{self._client.client_secret}/{kind}/{self._generation}", self._token_seconds)

    def _secured(self, handler: Handler) -> Handler:
        async def secured(request: Request) -> Response:
            kind, _, token = request.headers.get("Authorization", "").partition(" ")
            if not token:
                raise problems.unauthorized()
            if kind.lower() not in TOKEN_TYPES or not self._issuer(TOKEN_TYPES[kind.lower()]).valid(token):
                raise problems.unauthorized("JWT has expired or is invalid.")
            return await handler(request)

        return secured

    async def token(self, request: Request) -> Response:
        """Client credentials, as a form, for an access token of the type that was asked for."""
        form = {key: values[0] for key, values in parse_qs((await request.body()).decode("utf-8", "replace")).items()}
        if form.get("grant_type") != "client_credentials":
            return JSONResponse({"error": "unsupported_grant_type"}, status_code=400)
        if not self._client.accepts(form.get("client_id", ""), form.get("client_secret", "")):
            return JSONResponse({"error": "invalid_client"}, status_code=401)
        kind = TOKEN_TYPES.get(form.get("token_type", "bearer").lower())
        if kind is None:
            return JSONResponse({"error": "unsupported_token_type"}, status_code=400)
        body = {"access_token": self._issuer(kind).issue(), "expires_in": self._token_seconds, "token_type": kind, "scope": "read write profile email"}
        return JSONResponse(body)

    async def health(self, request: Request) -> Response:
        """200 without authorization."""
        return PlainTextResponse("OK")

    async def change_courses(self, request: Request) -> Response:
        """What happens at a deployment, see :meth:`include.local.services.openedx.store.Deployment.change`."""
        try:
            self._deployment(request).change(**json.loads(await request.body()))
        except (UnknownRunError, TypeError, ValueError) as error:
            raise problems.of_developer(422, str(error)) from error
        return JSONResponse({"runs": len(self._deployment(request).listed())})

    async def list_exports(self, request: Request) -> Response:
        """Every export task since the start."""
        exports = self._deployment(request).exports
        exports.settle()
        tasks = [{"course": task.course_id, "task_id": task.id, "state": task.state} for task in exports.tasks]
        return JSONResponse({"tasks": tasks, "most_at_once": exports.most_at_once})

    async def expire_tokens(self, request: Request) -> Response:
        """All tokens issued so far have expired."""
        self._generation += 1
        return JSONResponse({})

    def _deployment(self, request: Request) -> Deployment:
        found = self.deployments.get(request.path_params["deployment"])
        if found is None:
            raise problems.not_found(f"deployment: found {request.path_params['deployment']!r}; allowed: {', '.join(self.deployments)}")
        return found


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, problems.Problem)
    return error.response()


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problems.of_status(error.status_code).response() if error.status_code != 405 else JSONResponse({"detail": "Method not allowed."}, status_code=405)


async def _databases_away(_: Request, error: Exception) -> Response:
    return problems.of_status(500).response()
