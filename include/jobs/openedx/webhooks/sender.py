"""One run of the sender: many lanes at once, each event after the one before it, until nothing is due any more or the run's bounds are reached."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from include.contract import PermanentError, TransientError
from include.jobs.openedx.webhooks.client import Client
from include.jobs.openedx.webhooks.lanes import Claim, Lanes
from include.jobs.openedx.webhooks.retries import Answer, Policy, Verdict

log = logging.getLogger(__name__)
REFUSALS_IN_A_ROW = 3
FAILURES_IN_A_ROW = 20
LONGEST_NAP = 1.0
PAUSING = (429, 503)


@dataclass(frozen=True)
class Bounds:
    """Of one run: attempts at most (``None``: any number), seconds after which no attempt begins, attempts at once."""

    attempts: int | None
    seconds: float
    at_once: int


@dataclass
class Tally:
    """What a run did. ``duplicates`` are deliveries of which the receiver said that it knew them: an earlier answer was lost."""

    counts: Counter[str] = field(default_factory=Counter)
    died: list[Claim] = field(default_factory=list)

    def __getitem__(self, name: str) -> int:
        return self.counts[name]


class Sender:
    """Sends what is due. A receiver that fails for everything, or refuses the sender itself, ends the run early: each event's tries are few."""

    def __init__(self, lanes: Lanes, client: Client, policy: Policy, bounds: Bounds, chance: random.Random | None = None) -> None:
        self._lanes, self._client, self._policy, self._bounds = lanes, client, policy, bounds
        self._chance = chance or random.Random()  # noqa: S311 - jitter, not secrets
        self._tally = Tally()
        self._ends = time.monotonic() + bounds.seconds
        self._resumes = 0.0  # no attempt before this moment: the receiver asked for a pause
        self._in_a_row: Counter[Verdict] = Counter()
        self._stop: PermanentError | TransientError | None = None

    async def run(self) -> Tally:
        """Sends until nothing is due within the bounds.

        Raises ``PermanentError`` when the receiver goes on refusing the sender or event after event, ``TransientError`` when it goes on failing: all
        events that are left keep their places.
        """
        tasks = [asyncio.create_task(self._work()) for _ in range(self._bounds.at_once)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._stop is not None:
            raise self._stop
        return self._tally

    async def _work(self) -> None:
        while await self._may_begin():
            self._tally.counts["attempts"] += 1
            async with self._lanes.claim() as claim:
                if claim is not None:
                    await self._send(claim)
                    continue
            self._tally.counts["attempts"] -= 1
            due = await self._lanes.next_due()
            if due is None or due > self._seconds_left:
                return
            # what is due now is being sent by somebody else, who may yet be killed
            await asyncio.sleep(min(max(due, 0.05), LONGEST_NAP))

    @property
    def _seconds_left(self) -> float:
        return self._ends - time.monotonic()

    async def _may_begin(self) -> bool:
        while (pause := self._resumes - time.monotonic()) > 0:
            if pause > self._seconds_left:
                return False
            await asyncio.sleep(min(pause, LONGEST_NAP))
        spent = self._bounds.attempts is not None and self._tally["attempts"] >= self._bounds.attempts
        return self._stop is None and self._seconds_left > 0 and not spent

    async def _send(self, claim: Claim) -> None:
        if claim.attempt > self._policy.attempts:
            await self._bury(claim, None, f"given up: {claim.attempt - 1} attempts, of the last of which nothing is known: its sender was killed")
            return
        answer = await self._client.attempt(claim)
        self._take_note(answer)
        if answer.verdict is Verdict.DELIVERED:
            await self._lanes.delivered(claim, answer.status or 200, answer.key_id)
            self._tally.counts.update(delivered=1, duplicates=int(answer.duplicate))
        elif answer.verdict is Verdict.PERMANENT:
            await self._bury(claim, answer.status, answer.reason)
        elif self._policy.spent(claim.attempt, claim.age):
            await self._bury(claim, answer.status, f"given up after {claim.attempt} attempts in {claim.age:.0f} s: {answer.reason}")
        else:
            wait = self._policy.wait(claim.attempt, self._chance, answer.retry_after)
            log.info("%s %s: attempt %d: %s; again in %.1f s", claim.lane, claim.id, claim.attempt, answer.reason, wait)
            await self._lanes.try_again(claim, answer.status, answer.reason, wait)
            self._tally.counts["retried"] += 1

    async def _bury(self, claim: Claim, status: int | None, reason: str) -> None:
        log.error("dead letter %s of %s: %s", claim.id, claim.lane, reason)
        await self._lanes.dead(claim, status, reason)
        self._tally.counts["died"] += 1
        self._tally.died.append(claim)

    def _take_note(self, answer: Answer) -> None:
        if answer.retry_after and answer.status in PAUSING:
            self._resumes = max(self._resumes, time.monotonic() + answer.retry_after)
        if answer.verdict is Verdict.DELIVERED:
            self._in_a_row.clear()
            return
        self._in_a_row[answer.verdict] += 1
        if self._in_a_row[Verdict.REFUSED] >= REFUSALS_IN_A_ROW:
            self._stop = PermanentError(f"MIT Learn refuses the sender: {answer.reason}; check MIT_LEARN_WEBHOOK_KEYS and clocks; the events keep their places")
        elif self._in_a_row[Verdict.PERMANENT] >= FAILURES_IN_A_ROW:
            # an address that is not MIT Learn's would make every event a dead letter
            self._stop = PermanentError(f"{FAILURES_IN_A_ROW} events in a row became dead letters, the last one: {answer.reason}; check MIT_LEARN_BASE_URL")
        elif self._in_a_row.total() >= FAILURES_IN_A_ROW:
            self._stop = TransientError(f"{FAILURES_IN_A_ROW} attempts in a row failed, the last one: {answer.reason}; the events keep their places")
