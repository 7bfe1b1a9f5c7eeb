"""How the local Open edX misbehaves on request, beside what every stand-in can (:mod:`include.local.services.rules`). One more effect:

``export``   for the start of an export: how it goes, see :class:`include.local.services.openedx.exports.ExportPlan`
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import ASGIApp, Scope

from include.local.services import faults, rules
from include.local.services.openedx.exports import ExportPlan
from include.local.services.openedx.problems import of_developer, of_status


class Fault(rules.Fault):
    """One rule."""

    export: ExportPlan | None = None


class Faults(faults.Faults[Fault]):
    """The middleware before LMS and Studio."""

    def __init__(self, app: ASGIApp, latency: float = 0.0) -> None:
        super().__init__(app, Fault, latency)

    def strike(self, scope: Scope, fault: Fault) -> None:
        """Tells who starts the export."""
        scope["export_plan"] = fault.export

    def refusal(self, status: int, retry_after: float | None) -> Response:
        """As Open edX says it."""
        return of_status(status, retry_after).response()

    def refused_rules(self, message: str) -> Response:
        """As an API's own code says it."""
        return of_developer(422, message).response()
