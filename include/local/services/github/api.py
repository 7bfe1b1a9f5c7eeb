"""The handlers: a repository's pull requests, and the administration of this stand-in.

``GET /repos/{owner}/{repo}/pulls?state=open|closed|all&per_page=1…100&page=1…``
    200, a list in the order of their numbers; ``Link`` names the next and the last page
``GET /repos/{owner}/{repo}/pulls/{number}``
    200, or 404 for a number that is no pull request
``GET|PUT /_pulls``
    the pull requests as ``{"1523": "open", "1480": "closed"}``; PUT replaces all
``GET|POST|DELETE /_faults``, ``GET|DELETE /_requests``
    see :mod:`include.local.services.faults`
``GET /health``
    200

Without ``Authorization: Bearer <token>`` the answer is 401, and another repository's is 404, as GitHub hides what a token may not see.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from include.local.services.github.faults import Faults

STATES = ("open", "closed")
LONGEST_PAGE = 100


class GitHub:
    """One repository, in memory."""

    def __init__(self, repository: str, token: str) -> None:
        self._repository, self._token = repository, token
        self.pulls: dict[int, str] = {}

    def application(self) -> ASGIApp:
        """The ASGI application, misbehaviour included."""
        pulls = "/repos/{owner}/{repo}/pulls"
        routes = [
            Route("/health", _health),
            Route("/_pulls", self._administer, methods=["GET", "PUT"]),
            Route(pulls, self._list),
            Route(f"{pulls}/{{number}}", self._one),
        ]
        return Faults(Starlette(routes=routes))

    async def _list(self, request: Request) -> Response:
        refused = self._refused(request)
        if refused:
            return refused
        wanted = request.query_params.get("state", "open")
        found = [number for number, state in sorted(self.pulls.items()) if wanted in (state, "all")]
        size = min(_positive(request, "per_page", 30), LONGEST_PAGE)
        page = _positive(request, "page", 1)
        last = max(1, -(-len(found) // size))
        links = {} if page >= last else {"next": page + 1, "last": last}
        told = ", ".join(f'<{request.url.include_query_params(page=number)}>; rel="{name}"' for name, number in links.items())
        data = [self._told(number) for number in found[(page - 1) * size : page * size]]
        return JSONResponse(data, headers={"Link": told} if told else {})

    async def _one(self, request: Request) -> Response:
        refused = self._refused(request)
        number = request.path_params["number"]
        if refused is None and number.isdecimal() and int(number) in self.pulls:
            return JSONResponse(self._told(int(number)))
        return refused or _not_found()

    def _told(self, number: int) -> dict[str, Any]:
        return {"number": number, "state": self.pulls[number], "title": f"Pull request {number}", "draft": False}

    def _refused(self, request: Request) -> Response | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() not in ("bearer", "token") or not secrets.compare_digest(token.encode(), self._token.encode()):
            return JSONResponse({"message": "Bad credentials"}, status_code=401)
        if f"{request.path_params['owner']}/{request.path_params['repo']}" != self._repository:
            return _not_found()
        return None

    async def _administer(self, request: Request) -> Response:
        if request.method == "PUT":
            try:
                wanted = {int(number): state for number, state in json.loads(await request.body()).items()}
            except (ValueError, AttributeError):
                wanted = {0: ""}
            if any(number < 1 or state not in STATES for number, state in wanted.items()):
                return JSONResponse({"message": 'allowed: numbers with open or closed; for example: {"1523": "open"}'}, status_code=422)
            self.pulls = wanted
        return JSONResponse({str(number): state for number, state in sorted(self.pulls.items())})


async def _health(request: Request) -> Response:
    return PlainTextResponse("ok")


def _not_found() -> Response:
    return JSONResponse({"message": "Not Found"}, status_code=404)


def _positive(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    return int(text) if text.isdecimal() and int(text) > 0 else default
