"""How the local MIT Learn misbehaves on request, beside what every stand-in can (:mod:`include.local.services.rules`).

Paths are those below ``/api/v1/webhooks/`` without the last slash. More effects:

``after_work``   with ``status``: do the work first
``twice``        do the work two times, as if the request had been doubled on its way
``hang``         do the work, then say nothing for so many seconds
``drip``         do the work, then send the answer byte by byte over so many seconds
``redirect``     answer 307 to this address
``answer``       do the work, answer 200 with this text instead of MIT Learn's JSON
"""

from __future__ import annotations

from typing import ClassVar

from include.local.services import rules
from include.local.services.rules import Seconds


class Fault(rules.Fault):
    """One rule."""

    CONDITIONS: ClassVar[frozenset[str]] = rules.Fault.CONDITIONS | {"after_work"}

    after_work: bool = False
    twice: bool = False
    hang: Seconds = 0
    drip: Seconds = 0
    redirect: str | None = None
    answer: str | None = None
