"""Random histories of writers, senders, deaths and replays, compared step by step with a model of the outbox.

Drawn with fixed weights and not by Hypothesis, whose histories were tried: nine in ten of their steps enqueued or replayed nothing, and
mutants of the fences against late outcomes survived them.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from include.jobs.openedx.webhooks.events import Event
from include.jobs.openedx.webhooks.lanes import Claim, Lanes
from include.jobs.openedx.webhooks.outbox import Outbox
from tests.jobs.openedx.webhooks.harness import World, event

COURSES = (1, 2, 3)
STEPS = 120
WEIGHTS = {"enqueue": 4, "claim": 6, "settle": 5, "die": 1, "lose_the_lock": 2, "replay": 2}


@dataclass
class Modelled:
    """What the outbox should hold of an event."""

    course: int
    version: int
    state: str = "pending"
    attempts: int = 0
    replays: int = 0

    @property
    def event(self) -> Event:
        return event(self.course, self.version)


@dataclass
class Held:
    """A sender in the middle of an attempt, with connections of its own; ``locked`` until its lock was lost."""

    lanes: Lanes
    context: Any
    claim: Claim
    modelled: Modelled
    pids: list[int]
    locked: bool = True


@dataclass
class History:
    """One history as far as it has come: the model, the senders in the middle of something, and what was done."""

    dsn: str
    chance: random.Random
    loop: asyncio.Runner
    connection: psycopg.Connection[dict[str, Any]]
    outbox: Outbox
    events: list[Modelled] = field(default_factory=list)
    held: list[Held] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def head(self, course: int) -> Modelled | None:
        return next((one for one in self.events if one.course == course and one.state == "pending"), None)

    def superseded(self, one: Modelled) -> bool:
        return any(later.course == one.course and later.state == "delivered" for later in self.events[self.events.index(one) + 1 :])

    def some(self, *, locked: bool = False) -> Held | None:
        found = [held for held in self.held if held.locked or not locked]
        return self.chance.choice(found) if found else None

    def backends(self) -> set[int]:
        return {row["pid"] for row in self.connection.execute("SELECT pid FROM pg_stat_activity WHERE application_name = 'webhook-outbox'")}

    def leave(self, held: Held) -> None:
        self.held.remove(held)
        with contextlib.nullcontext() if held.locked else pytest.raises(psycopg.OperationalError):
            self.loop.run(held.context.__aexit__(None, None, None))
        self.loop.run(held.lanes.__aexit__(None, None, None))

    # --- what can happen -------------------------------------------------------------------------

    def enqueue(self) -> None:
        course, version = self.chance.choice(COURSES), self.chance.randrange(12)
        known = any((one.course, one.version) == (course, version) for one in self.events)
        self.done.append(f"enqueue {course}@{version}")
        assert self.outbox.enqueue(event(course, version)) is not known
        if not known:
            self.events.append(Modelled(course, version))

    def claim(self) -> None:
        if len(self.held) >= 4:
            return
        taken = {held.modelled.course for held in self.held if held.locked}
        heads = [head for course in COURSES if course not in taken and (head := self.head(course))]
        expected = min(heads, key=self.events.index, default=None)
        self.done.append(f"claim {expected}")
        before, lanes = self.backends(), Lanes(self.dsn)
        self.loop.run(lanes.__aenter__())
        context = lanes.claim()
        claim = self.loop.run(context.__aenter__())
        if expected is None:
            assert claim is None
            self.loop.run(context.__aexit__(None, None, None))
            self.loop.run(lanes.__aexit__(None, None, None))
            return
        assert claim is not None
        expected.attempts += 1
        assert (claim.id, claim.attempt) == (expected.event.id, expected.attempts)
        self.held.append(Held(lanes, context, claim, expected, sorted(self.backends() - before)))

    def settle(self) -> None:
        if (held := self.some()) is None:
            return
        outcome = self.chance.choice(["delivered", "dead", "again"])
        one, newest = held.modelled, held.modelled.state == "pending" and held.claim.attempt == held.modelled.attempts
        self.done.append(f"settle {one}, attempt {held.claim.attempt}: {outcome}")
        if outcome == "delivered":
            self.loop.run(held.lanes.delivered(held.claim, 200, "k"))
            one.state = "delivered"
        elif outcome == "dead":
            self.loop.run(held.lanes.dead(held.claim, 400, "no"))
            one.state = "dead" if newest else one.state
        else:
            self.loop.run(held.lanes.try_again(held.claim, 500, "later", 0.0 if newest else 3600.0))
        self.leave(held)

    def die(self) -> None:
        """The sender is gone; its lane is free at once."""
        if held := self.some():
            self.done.append(f"die {held.modelled}")
            for pid in held.pids:
                self.connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
            held.locked = False
            self.leave(held)

    def lose_the_lock(self) -> None:
        """The sender lives on and does not know that another one takes the lane."""
        if held := self.some(locked=True):
            self.done.append(f"lose the lock {held.modelled}")
            statement = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE pid = ANY(%s) AND state = 'idle in transaction'"
            self.connection.execute(statement, [held.pids])
            held.locked = False
            self.claim()

    def replay(self) -> None:
        """With a sender in the lane it would wait, which is a test of its own."""
        busy = {held.modelled.course for held in self.held if held.locked}
        letters = [one for one in self.events if one.state == "dead" and one.course not in busy]
        if not letters:
            return
        self.done.append(f"replay {letters}")
        replayed, left = self.outbox.replay([one.event.id for one in letters])
        expected = {one.event.id: not self.superseded(one) for one in letters}
        assert {**{letter.id: True for letter in replayed}, **{letter.id: False for letter in left}} == expected
        for one in letters:
            if expected[one.event.id]:
                one.state, one.attempts, one.replays = "pending", 0, one.replays + 1

    def check(self) -> None:
        rows = self.connection.execute("SELECT id, state, attempts, replays, settled_at FROM webhooks.events ORDER BY sequence").fetchall()
        found = [(row["id"], row["state"], row["attempts"], row["replays"]) for row in rows]
        assert found == [(one.event.id, one.state, one.attempts, one.replays) for one in self.events]
        assert all((row["settled_at"] is None) == (row["state"] == "pending") for row in rows)


@pytest.mark.parametrize("seed", range(3))
def test_random_histories(world: World, seed: int) -> None:
    chance = random.Random(seed)
    with (
        asyncio.Runner() as loop,
        psycopg.connect(world.dsn, autocommit=True, row_factory=dict_row) as connection,
        Outbox(world.dsn) as outbox,
    ):
        history = History(world.dsn, chance, loop, connection, outbox)
        try:
            for what in chance.choices(list(WEIGHTS), list(WEIGHTS.values()), k=STEPS):
                getattr(history, what)()
                history.check()
        except AssertionError:
            print("\n".join(history.done))
            raise
        finally:
            for held in list(history.held):
                history.leave(held)
    told = " ".join(history.done)
    assert all(word in told for word in ("delivered", "dead", "again", "die", "lose", "replay")), "a history in which little happens shows little"


def test_a_delivery_is_a_fact(world: World) -> None:
    """A sender that lost its lock was told of success, after another one has given the event up: the event is delivered, and no dead letter."""
    world.enqueue(event())

    async def tell() -> None:
        async with Lanes(world.dsn) as late, Lanes(world.dsn) as other:
            async with late.claim() as first:
                assert first is not None
            async with other.claim() as second:
                assert second is not None
                await other.dead(second, 400, "no")
            await late.dead(first, 400, "late")
            await late.try_again(first, 500, "late", 1.0)
            assert world.row(event())["reason"] == "no"
            await late.delivered(first, 200, "k")

    asyncio.run(tell())
    assert (world.row(event())["state"], world.row(event())["reason"]) == ("delivered", "")
