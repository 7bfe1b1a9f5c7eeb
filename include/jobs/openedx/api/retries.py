"""How often and how long a request is tried, and where a job's budget of time and requests ends."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from include.contract import TransientError

TRANSIENT = frozenset({408, 425, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529})
"""Statuses after which the same request may succeed; 429 has rules of its own."""
THROTTLED_PAUSE = 60.0
"""Seconds to wait after a 429 that does not say how long."""


class BudgetSpentError(TransientError):
    """The job may make no further request: its time or its number of requests is used up."""


@dataclass(frozen=True)
class Patience:
    """Bounds of one request: ``attempts`` in all, pauses from ``first`` to ``longest`` seconds between them, ``throttled`` pauses after a 429.

    ``asked`` is the longest pause in seconds that a ``Retry-After`` is granted.
    """

    attempts: int = 5
    first: float = 0.1
    longest: float = 10.0
    throttled: int = 3
    asked: float = 120.0

    def pause(self, attempt: int) -> float:
        """Seconds to wait after the attempt with this number (from 1): twice as long each time, and never in step with others."""
        longest = min(self.longest, self.first * 2.0 ** (attempt - 1))
        return random.uniform(longest / 2, longest)  # noqa: S311 - spreads requests, no secret


@dataclass
class Budget:
    """What a job may spend: ``seconds`` from its making on, and ``requests``. ``made`` counts them.

    Every attempt counts. Tokens do not, and neither does the second sending of a request whose kept-alive connection turned out to be closed.
    """

    seconds: float
    requests: int
    made: int = 0
    begun: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        """Seconds until the deadline, 0 behind it."""
        return max(0.0, self.begun + self.seconds - time.monotonic())

    @property
    def spent(self) -> str:
        """What is used up: ``deadline``, ``requests``, or nothing."""
        if self.left <= 0:
            return "deadline"
        return "requests" if self.made >= self.requests else ""

    def take(self) -> None:
        """Counts a request that is about to be made. Raises :class:`BudgetSpentError` when it may not be."""
        if spent := self.spent:
            raise BudgetSpentError(f"{spent} of the budget reached: {self.seconds:g} s, {self.requests} requests")
        self.made += 1


def asked_pause(headers: Mapping[str, str]) -> float:
    """Seconds that a 429 asks to wait for: a number or a date in ``Retry-After``, a minute when it does not say."""
    text = headers.get("Retry-After", "").strip()
    try:
        return max(0.0, float(text))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return THROTTLED_PAUSE
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
