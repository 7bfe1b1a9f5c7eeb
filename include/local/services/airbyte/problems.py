"""Error bodies of Airbyte's public API: RFC 9457 problems with Airbyte's own types and titles."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from starlette.responses import JSONResponse

REFERENCE = "https://reference.airbyte.com/reference/errors"


@dataclass(eq=False)  # not frozen: Python writes the traceback into a raised exception
class Problem(Exception):  # noqa: N818 - Airbyte's own word for these answers
    """An error answer: HTTP status, title, the anchor of its type, one sentence, and data that depends on the title."""

    status: int
    title: str
    anchor: str
    detail: str
    data: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def response(self) -> JSONResponse:
        """The problem as Airbyte sends it."""
        body: dict[str, Any] = {"status": self.status, "type": f"{REFERENCE}{self.anchor}", "title": self.title, "detail": self.detail}
        if self.data:
            body["data"] = self.data
        return JSONResponse(body, status_code=self.status, headers=self.headers or None)


def unauthorized() -> Problem:
    """401: no token, a wrong one, an expired one, or wrong client credentials."""
    return Problem(401, "invalid-api-key", "#invalid-api-key", "The API key in the Authorization header is invalid.")


def already_running(connection_id: str) -> Problem:
    """409: the connection has a job that has not ended."""
    message = f"A sync is already running for: {connection_id}"
    return Problem(409, "try-again-later", "#try-again-later", "Please try again later.", {"message": message})


def not_found(kind: str, identifier: str) -> Problem:
    """404: no such connection, job or workspace."""
    return Problem(
        404, "resource-not-found", "#resource-not-found", "The requested resource could not be found.", {"resourceType": kind, "resourceId": identifier}
    )


def bad_request(message: str) -> Problem:
    """400: a query parameter or a path that cannot be read."""
    return Problem(400, "bad-request", "#bad-request", "The request could not be understood by the server due to malformed syntax.", {"message": message})


def unprocessable(message: str) -> Problem:
    """422: a body that is no valid request."""
    return Problem(422, "unprocessable-entity", "#unprocessable-entity", "The body of the request was not understood", {"message": message})


def of_status(status: int, retry_after: float | None = None) -> Problem:
    """The problem that Airbyte answers with a status of its own accord; ``retry_after`` in seconds sets ``Retry-After``."""
    headers = {"Retry-After": f"{retry_after:g}"} if retry_after is not None else {}
    if status == 401:
        return unauthorized()
    if status == 409:
        return already_running("")
    title, detail = {
        429: ("too-many-requests", "Too many requests."),
        503: ("service-unavailable", "The server is currently unable to handle the request."),
    }.get(status, ("unexpected-problem", "An unexpected problem has occurred."))
    return Problem(status, title, "", detail, headers=headers)
