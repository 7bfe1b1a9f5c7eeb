"""Which answers settle an event, which are worth another try, and when.

================================ ==================================================================================================
2xx that says success            delivered
401, 403                         about the sender, not about the event: it keeps its place, and the run ends when this goes on
408, 429, 5xx, no whole answer   transient: tried again later
everything else, redirects too   permanent: a dead letter at once
================================ ==================================================================================================

Tries of one event are bounded in number and in time; the wait between them doubles, half of it is random, so that senders that failed
together do not come back together.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum


class Verdict(Enum):
    """What an answer means for the event."""

    DELIVERED = "delivered"
    REFUSED = "refused"
    TRANSIENT = "transient"
    PERMANENT = "permanent"


@dataclass(frozen=True)
class Answer:
    """How one attempt ended.

    ``status`` is absent when no answer came; ``retry_after`` are seconds that the receiver asked for; ``duplicate`` when it said that it
    had applied the event before; ``key_id`` names the key that signed.
    """

    verdict: Verdict
    status: int | None
    reason: str
    retry_after: float | None = None
    duplicate: bool = False
    key_id: str = ""


@dataclass(frozen=True)
class Policy:
    """Bounds of the tries of one event; all times in seconds. ``deadline`` counts from the moment it was enqueued or replayed."""

    attempts: int = 24
    deadline: float = 86_400.0
    first_wait: float = 2.0
    longest_wait: float = 3_600.0

    def wait(self, attempt: int, chance: random.Random, retry_after: float | None = None) -> float:
        """Seconds until the attempt after number ``attempt`` (1 is the first); never less than the receiver asked for."""
        whole = min(self.longest_wait, self.first_wait * 2.0 ** min(attempt - 1, 60))
        return max(chance.uniform(whole / 2, whole), min(retry_after or 0.0, self.deadline))

    def spent(self, attempt: int, age: float) -> bool:
        """Whether an event whose try number ``attempt`` has failed ``age`` seconds after it was queued is given up."""
        return attempt >= self.attempts or age >= self.deadline


def verdict_of(status: int) -> Verdict:
    """What a status alone says. A success still needs its body read: a proxy's page has status 200 as well."""
    if 200 <= status < 300:
        return Verdict.DELIVERED
    if status in (401, 403):
        return Verdict.REFUSED
    if status in (408, 429) or status >= 500:
        return Verdict.TRANSIENT
    return Verdict.PERMANENT


def seconds_to_wait(text: str | None, now: datetime) -> float | None:
    """``Retry-After`` as seconds, given as such or as a date that is compared with ``now``, the receiver's own; nothing when it says neither."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    moment = moment_of(text)
    return None if moment is None else max(0.0, (moment - now) / timedelta(seconds=1))


def moment_of(text: str | None) -> datetime | None:
    """A date of HTTP, or nothing when it is none."""
    try:
        moment = parsedate_to_datetime(text or "")
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
