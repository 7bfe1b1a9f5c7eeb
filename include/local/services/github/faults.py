"""How the local GitHub misbehaves on request, as every stand-in can (:mod:`include.local.services.rules`). Paths are the API's."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp

from include.local.services import faults, rules


class Faults(faults.Faults[rules.Fault]):
    """The middleware before the API."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, rules.Fault)

    def refusal(self, status: int, retry_after: float | None) -> Response:
        """As GitHub says it."""
        headers = {} if retry_after is None else {"Retry-After": f"{retry_after:g}"}
        return JSONResponse({"message": f"status {status} was asked for"}, status_code=status, headers=headers)

    def refused_rules(self, message: str) -> Response:
        """As GitHub says it."""
        return JSONResponse({"message": message}, status_code=422)
