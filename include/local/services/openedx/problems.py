"""Error bodies of Open edX: ``detail`` where its REST framework answers, ``developer_message`` where an API's own code does."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse


@dataclass(eq=False)  # not frozen: Python writes the traceback into a raised exception
class Problem(Exception):  # noqa: N818 - an answer, not a fault of the program
    """An error answer: HTTP status, body and headers."""

    status: int
    body: dict[str, Any]
    headers: dict[str, str] = field(default_factory=dict)

    def response(self) -> JSONResponse:
        """The answer as Open edX sends it."""
        return JSONResponse(self.body, status_code=self.status, headers=self.headers or None)


def unauthorized(detail: str = "Authentication credentials were not provided.") -> Problem:
    """401, with the challenge that names the API's realm."""
    return Problem(401, {"detail": detail}, {"WWW-Authenticate": 'JWT realm="api"'})


def not_found(detail: str = "Not found.") -> Problem:
    """404 of the REST framework."""
    return Problem(404, {"detail": detail})


def of_developer(status: int, message: str, code: str = "") -> Problem:
    """An error that an API's own code raises, with Open edX's ``error_code`` where it has one."""
    return Problem(status, {"developer_message": message, **({"error_code": code} if code else {})})


def bad_fields(**messages: str) -> Problem:
    """400: parameters that a form refused, each with its reason."""
    fields = {name: {"developer_message": message, "user_message": message} for name, message in messages.items()}
    return Problem(400, {"field_errors": fields})


def of_status(status: int, retry_after: float | None = None) -> Problem:
    """What Open edX, or the proxy before it, answers with a status of its own accord; ``retry_after`` in seconds sets ``Retry-After``."""
    headers = {"Retry-After": f"{retry_after:g}"} if retry_after is not None else {}
    if status == 401:
        return unauthorized("JWT has expired.")
    if status == 404:
        return not_found()
    if status == 429:
        detail = "Request was throttled."
        return Problem(429, {"detail": detail if retry_after is None else f"{detail} Expected available in {retry_after:g} seconds."}, headers)
    return Problem(status, {"detail": "A server error occurred."}, headers)
