"""Asks for the outlines of many course runs at once, until all have been asked for or the budget is used up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from include.contract import PermanentError, TransientError
from include.jobs.openedx.api.client import NotFoundError
from include.jobs.openedx.api.lms import Lms
from include.jobs.openedx.api.retries import BudgetSpentError

GRACE_SECONDS = 2.0
"""How long requests that are under way at the deadline may still take."""
Outcome = Literal["observed", "without_outline", "gone", "failed"]


@dataclass(frozen=True)
class Attempt:
    """What came of asking for one run: version and time of an observed one, the problem of a failed one, and whether that is ``permanent``."""

    course_id: str
    at: datetime
    outcome: Outcome
    version: str = ""
    published_at: datetime | None = None
    problem: str = ""
    permanent: bool = False


async def observe(lms: Lms, order: Sequence[str], listed: Iterable[str]) -> list[Attempt]:
    """An attempt for every run of ``order``, from its front, as far as the client's budget goes.

    A run whose outline is missing is looked up once more when it is not among the ``listed`` ones: only then can it be gone. What is under way at the deadline
    has been attempted, even when nothing comes of it: the next sweep begins with the others, or a few hanging answers would hold it up for ever.
    """
    attempts: list[Attempt] = []
    started: dict[str, datetime] = {}
    work = _Work(lms, iter(order), frozenset(listed), attempts, started)
    tasks = [asyncio.create_task(work.run()) for _ in range(lms.client.concurrency)]
    try:
        await asyncio.wait(tasks, timeout=min(lms.client.budget.left + GRACE_SECONDS, threading.TIMEOUT_MAX))
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for error in (one for one in ended if isinstance(one, Exception)):
        raise error
    known = {attempt.course_id for attempt in attempts}
    attempts += [Attempt(name, at, "failed", problem=f"{name}: no answer before the deadline") for name, at in started.items() if name not in known]
    return attempts


@dataclass(frozen=True)
class _Work:
    lms: Lms
    queue: Iterator[str]
    listed: frozenset[str]
    attempts: list[Attempt]
    started: dict[str, datetime]

    async def run(self) -> None:
        """Takes runs from the queue until it or the budget is empty."""
        for course_id in self.queue:
            if self.lms.client.budget.spent:
                return
            self.started[course_id] = datetime.now(UTC)
            try:
                self.attempts.append(await self._attempt(course_id, self.started[course_id]))
            except BudgetSpentError:  # its request was not made: the next sweep begins with it
                del self.started[course_id]
                return

    async def _attempt(self, course_id: str, at: datetime) -> Attempt:
        try:
            found = await self.lms.outline(course_id)
        except NotFoundError:
            return await self._look_up(course_id, at)
        except BudgetSpentError:
            raise
        except (PermanentError, TransientError) as error:
            return Attempt(course_id, at, "failed", problem=str(error), permanent=isinstance(error, PermanentError))
        return Attempt(course_id, at, "observed", found.published_version, found.published_at)

    async def _look_up(self, course_id: str, at: datetime) -> Attempt:
        """Why there is no outline: the run has none, or is gone."""
        if course_id in self.listed:
            return Attempt(course_id, at, "without_outline")
        try:
            gone = await self.lms.detail(course_id) is None
        except BudgetSpentError:
            raise
        except (PermanentError, TransientError) as error:
            return Attempt(course_id, at, "failed", problem=str(error), permanent=isinstance(error, PermanentError))
        return Attempt(course_id, at, "gone" if gone else "without_outline")
