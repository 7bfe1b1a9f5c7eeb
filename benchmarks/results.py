"""What a workload found: repeats of ours, of the peer and of the limit, and the line that sums them up."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

WIDE_SPREAD = 0.3
"""A series whose slowest and fastest repeat lie further apart than this share of the median is called noisy."""


@dataclass(frozen=True)
class Series:
    """Repeats of one thing, in seconds, in the order they were taken.

    ``note`` says what was measured; ``details`` are figures beside the seconds. ``unfinished`` tells how far a peer came that was
    stopped: its seconds are then a lower bound.
    """

    seconds: tuple[float, ...]
    note: str = ""
    unfinished: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """(slowest − fastest) / median; 0 for a single repeat."""
        return (max(self.seconds) - min(self.seconds)) / self.median if self.median else 0.0

    @property
    def text(self) -> str:
        """As it stands in a line."""
        return f"{'>' if self.unfinished else ''}{seconds_text(self.median)}"

    def to_json(self) -> dict[str, Any]:
        """For the result file."""
        figures = {"median": self.median, "min": min(self.seconds), "max": max(self.seconds), "repeats": list(self.seconds)}
        return {**figures, "note": self.note, **({"unfinished": self.unfinished} if self.unfinished else {}), **self.details}


@dataclass(frozen=True)
class Goal:
    """What ours should not exceed: ``seconds``, or ``times`` the limit; and at least ``ratio`` times the peer's speed where that is asked for."""

    seconds: float | None = None
    times: float | None = None
    ratio: float | None = None

    def met(self, ours: Series, limit: Series | None, peer: Series | None = None) -> bool:
        """Whether the median keeps within the goal."""
        if self.ratio is not None and (peer is None or peer.median < self.ratio * ours.median):
            return False
        if self.seconds is not None:
            return ours.median <= self.seconds
        if self.times is None or limit is None:
            raise ValueError("goal: found neither seconds nor a limit to compare with; allowed: seconds, or times beside a measured limit")
        return ours.median <= self.times * limit.median

    @property
    def text(self) -> str:
        """As it stands in a line."""
        seconds = "" if self.seconds is None else f"{self.seconds:.1f}s" if self.seconds >= 1 else seconds_text(self.seconds)
        bound = seconds or f"{self.times:.2f}×limit"
        return bound if self.ratio is None else f"{bound},{self.ratio:g}×peer"


@dataclass(frozen=True)
class Case:
    """One measured size or variant. ``name`` is empty for the one that the goal speaks of."""

    ours: Series
    peer: Series | None = None
    limit: Series | None = None
    goal: Goal | None = None
    name: str = ""
    notes: tuple[str, ...] = ()

    @property
    def ratio(self) -> float | None:
        """How many times as long as ours the peer takes; a lower bound when the peer was stopped."""
        return self.peer.median / self.ours.median if self.peer else None

    def line(self, workload: str, noise: str = "") -> str:
        """One line, for example ``P1 ours=1.6s peer=2.9s limit=0.4s ratio=1.8 goal=2.0s met=yes``."""
        parts = [f"{workload}{'/' if self.name else ''}{self.name}", f"ours={self.ours.text}"]
        parts += [f"peer={self.peer.text}"] if self.peer else []
        parts += [f"limit={self.limit.text}"] if self.limit else []
        parts += [f"ratio={'>' if self.peer and self.peer.unfinished else ''}{self.ratio:.1f}"] if self.ratio is not None else []
        parts += [f"goal={self.goal.text}", f"met={'yes' if self.goal.met(self.ours, self.limit, self.peer) else 'no'}"] if self.goal else []
        notes = [*self.notes, *([f"peer: {self.peer.unfinished}"] if self.peer and self.peer.unfinished else []), *([noise] if noise else [])]
        return " ".join(parts) + (f" ({'; '.join(notes)})" if notes else "")

    def to_json(self) -> dict[str, Any]:
        """For the result file."""
        return {
            "name": self.name,
            "ours": self.ours.to_json(),
            "peer": self.peer.to_json() if self.peer else None,
            "limit": self.limit.to_json() if self.limit else None,
            "ratio": self.ratio,
            "goal": self.goal.text if self.goal else None,
            "met": self.goal.met(self.ours, self.limit, self.peer) if self.goal else None,
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class Outcome:
    """A workload's cases, the one with the goal first, and what its input was made from."""

    cases: tuple[Case, ...]
    inputs: dict[str, Any] = field(default_factory=dict)

    @property
    def spread(self) -> float:
        """The widest spread of ours and the limit in the cases with a goal."""
        series = [one for case in self.cases if case.goal for one in (case.ours, case.limit) if one]
        return max((one.spread for one in series), default=0.0)


def alternate(repeats: int, variants: dict[str, Callable[[], float]]) -> dict[str, tuple[float, ...]]:
    """Runs every variant ``repeats`` times, each round in the opposite order of the one before; seconds by variant.

    So no variant always runs first, and a slow minute of the machine hits all of them.
    """
    found: dict[str, list[float]] = {name: [] for name in variants}
    for number in range(repeats):
        order: Sequence[str] = list(variants) if number % 2 == 0 else list(reversed(list(variants)))
        for name in order:
            found[name].append(variants[name]())
    return {name: tuple(seconds) for name, seconds in found.items()}


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> Callable[[], float]:
    """A variant for :func:`alternate`: does the work and returns the seconds it took by that clock."""

    def take() -> float:
        begin = clock()
        work()
        return clock() - begin

    return take


def seconds_text(seconds: float) -> str:
    """Three figures at most: ``0.042s``, ``1.63s``, ``38.1s``, ``612s``."""
    return f"{seconds:.3f}s" if seconds < 0.1 else f"{seconds:.2f}s" if seconds < 10 else f"{seconds:.1f}s" if seconds < 100 else f"{seconds:.0f}s"
