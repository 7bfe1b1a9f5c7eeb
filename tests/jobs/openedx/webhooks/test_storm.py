"""R-8: deliveries through everything that can go wrong at once; in full with ``--webhook-deliveries 10000``."""

from __future__ import annotations

import itertools
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from include.jobs.openedx.webhooks.events import Event
from include.jobs.openedx.webhooks.outbox import Outbox
from include.local.services.learn.store import Receipt
from tests.jobs.openedx.webhooks.harness import World, course, event, per_course, start_job
from tests.local.services.learn_harness import KEYS, Learn, LearnProcess, hexmac, secrets_of, variable

VERSIONS = 5
TOGETHER = 10  # courses
AHEAD = 0.08  # share of the events that may wait in the outbox
SEED = 20261121
WINDOW = 300
RULES: tuple[dict[str, Any], ...] = (
    {"status": 500, "share": 0.10, "seed": 1},
    {"hang": 2.0, "share": 0.05, "seed": 2},
    {"twice": True, "share": 0.05, "seed": 3},
    {"status": 429, "retry_after": 0, "share": 0.01, "seed": 4},
    {"status": 408, "share": 0.01, "seed": 5},
    {"status": 503, "after_work": True, "share": 0.01, "seed": 6},
    {"drop_answer": True, "share": 0.01, "seed": 7},
    {"half_body": True, "share": 0.01, "seed": 8},
)
FLAGS = ("--first-wait", "0.05", "--longest-wait", "0.5", "--timeout", "0.8", "--seconds", "60", "--attempts", "500")


@dataclass
class Sender:
    """A place where senders run one after the other: its clock's error, its keys, and the one that runs now."""

    folder: Path
    ahead: int
    keys: tuple[str, ...]
    child: subprocess.Popen[bytes] | None = None
    codes: Counter[int] = field(default_factory=Counter)

    def keep_running(self) -> None:
        if self.child is not None and (code := self.child.poll()) is not None:
            self.codes[code] += 1
            self.child = None
        if self.child is None:
            os.environ["MIT_LEARN_WEBHOOK_KEYS"] = variable(*self.keys)
            self.child = start_job(self.folder, "webhook-deliver", *FLAGS, entry=("tests.jobs.openedx.webhooks.children", str(self.ahead), "0"))

    def kill(self) -> None:
        if self.child is not None:
            self.child.kill()
            self.child.wait()


@dataclass
class Storm:
    """The whole of it. ``turns`` happen when that share of the events is delivered."""

    world: World
    events: int
    process: LearnProcess
    learn: Learn
    senders: list[Sender]
    chance: random.Random
    attacks: Counter[str] = field(default_factory=Counter)
    kills: int = 0

    @property
    def courses(self) -> int:
        return self.events // VERSIONS

    def news(self) -> Iterator[Event]:
        """Every event, one in twenty twice; all versions of a few courses come close to each other."""
        for first in range(0, self.courses, TOGETHER):
            for version, number in itertools.product(range(VERSIONS), range(first, min(first + TOGETHER, self.courses))):
                yield from [event(number, version)] * (2 if self.chance.random() < 0.05 else 1)

    def turns(self) -> Iterator[tuple[float, Callable[[], None]]]:
        yield 0.15, lambda: self.learn.settings(skew=600)
        yield 0.30, lambda: self.learn.settings(keys=secrets_of("old", "new"))
        yield 0.40, self.restart_receiver
        yield 0.50, self.attack
        yield 0.55, lambda: self.learn.settings(keys=secrets_of("new"))
        yield 0.65, self.rotate_the_last
        yield 0.75, lambda: self.learn.settings(skew=-600)
        yield 0.90, self.attack

    def restart_receiver(self) -> None:
        self.process.kill()
        self.learn = self.process.start()
        self.misbehave()

    def misbehave(self) -> None:
        self.learn.faults(*({"count": None, **rule} for rule in RULES))

    def rotate_the_last(self) -> None:
        """Until now one sender knew the old key alone, which the receiver has dropped."""
        self.senders[0].keys = ("new",)

    def attack(self) -> None:
        """Somebody has recorded requests and sends them again: as they are, and with one header renewed."""
        self.learn.http.delete("/_faults")
        believed = [receipt for receipt in self.learn.receipts() if receipt.outcome in ("applied", "known")]
        for receipt in self.chance.sample(believed, min(60, len(believed))):
            headers = {name: text for name, text in receipt.headers.items() if name.startswith(("x-mitlearn", "idempotency"))}
            for change in ({}, {"x-mitlearn-timestamp": str(int(time.time()))}, {"idempotency-key": f"stolen-{self.attacks.total()}"}):
                answer = self.learn.http.post(receipt.path, content=receipt.body, headers={**headers, **change, "x-attack": "1"})
                self.attacks[f"{' '.join(change) or 'as it is'} {answer.status_code}"] += 1
        self.misbehave()

    def until_the_next_kill(self) -> float:
        """In deliveries, not in seconds: on a slow machine senders would die before they have done anything."""
        return self.chance.uniform(0.5, 1.5) * max(50, self.events / 40)

    def run(self, seconds: float) -> None:
        turns, news, deadline, next_kill = list(self.turns()), self.news(), time.monotonic() + seconds, self.until_the_next_kill()
        written = delivered = 0
        try:
            with Outbox(self.world.dsn) as outbox:
                while delivered < self.events or turns:
                    assert time.monotonic() < deadline, (
                        f"{delivered} of {self.events} delivered in {seconds} s; exit codes {[sender.codes for sender in self.senders]}"
                    )
                    # a little at a time: senders that are fast would leave turns behind
                    while written < delivered + AHEAD * self.events and (one := next(news, None)):
                        written += outbox.enqueue(one)
                    while turns and delivered >= turns[0][0] * self.events:
                        turns.pop(0)[1]()
                    if delivered >= next_kill:
                        self.chance.choice(self.senders).kill()
                        self.kills, next_kill = self.kills + 1, delivered + self.until_the_next_kill()
                    for sender in self.senders if delivered else self.senders[1:2]:  # first the one with a key that the receiver does not know yet
                        sender.keep_running()
                    time.sleep(0.1)
                    delivered = outbox.figures().delivered
        finally:
            for sender in self.senders:
                sender.kill()


@pytest.fixture
def storm(world: World, deliveries: int, tmp_path: Path) -> Iterator[Storm]:
    process = LearnProcess(tmp_path / "learn.sqlite", tmp_path / "learn.log")
    senders = [Sender(tmp_path / name, ahead, keys) for name, ahead, keys in (("a", -600, ("old",)), ("b", 0, ("new", "old")), ("c", 600, ("old", "new")))]
    for sender in senders:
        sender.folder.mkdir()
    try:
        learn = process.start()
        world.patch.setenv("MIT_LEARN_BASE_URL", learn.url)
        found = Storm(world, deliveries, process, learn, senders, random.Random(SEED))
        found.misbehave()
        yield found
    finally:
        process.kill()


def signed_rightly(receipt: Receipt) -> bool:
    """By the test's own computation: both signatures, and a moment within five minutes of the receiver's clock."""
    headers = receipt.headers
    timestamp, key_id, idempotency_key = (headers[name] for name in ("x-mitlearn-timestamp", "x-mitlearn-key-id", "idempotency-key"))
    secret = KEYS[key_id].replace(" ", "_")
    signed = f"v2\n{timestamp}\n{key_id}\n{idempotency_key}\n{receipt.path}\n".encode() + receipt.body
    right = (hexmac(secret, receipt.body), hexmac(secret, signed)) == (headers["x-mitlearn-signature"], headers["x-mitlearn-signature-v2"])
    return right and abs(receipt.at - int(timestamp)) <= WINDOW + 2  # the receipt is written a moment after the decision


def test_every_event_is_applied_exactly_once_in_its_course_s_order(storm: Storm) -> None:
    storm.run(seconds=300 + storm.events / 4)
    applied, receipts = storm.learn.applied(), storm.learn.receipts()
    outcomes = Counter(receipt.outcome for receipt in receipts)
    print(f"\n{storm.events} events, {len(receipts)} requests, {storm.kills} kills of senders, outcomes {dict(outcomes)}, attacks {dict(storm.attacks)}")

    assert per_course(applied) == {course(number): list(range(VERSIONS)) for number in range(storm.courses)}
    assert len({item.idempotency_key for item in applied}) == len(applied) == storm.events
    assert storm.world.rows("SELECT state, count(*) AS n FROM webhooks.events GROUP BY state") == [{"state": "delivered", "n": storm.events}]

    believed = [receipt for receipt in receipts if receipt.outcome in ("applied", "known")]
    assert [receipt.number for receipt in believed if not signed_rightly(receipt)] == []
    attacked = [receipt.outcome for receipt in receipts if "x-attack" in receipt.headers]
    assert len(attacked) >= 100
    assert "applied" not in attacked
    assert not any(status.endswith("200") for status in storm.attacks if not status.startswith("as it is"))

    # it was a storm
    assert outcomes["fault"] > 0.06 * storm.events
    assert outcomes["known"] > 0.05 * storm.events
    assert outcomes["timestamp"] > 0, "clocks differed"
    refused = {receipt.headers["x-mitlearn-key-id"] for receipt in receipts if receipt.outcome == "key"}
    assert refused == {"old", "new"}, "keys were used before they were known, and after they were dropped"
    assert storm.kills >= 2
