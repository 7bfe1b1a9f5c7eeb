"""One step of the generator: which database is brought to which day, with its own clock and its own random numbers."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from include.local.data.frames import Arrays, take

EPOCH = np.datetime64("2026-03-02T00:00:00", "us")  # the Monday that is day 0; nothing here reads the real clock
HISTORY = np.timedelta64(730, "D")
DAY = np.timedelta64(1, "D")
DAILY = 0.005  # what a day adds or changes, as a share of the first day's size

Stamps = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Step:
    """``day`` 0 makes two years of history up to and with that day; day N makes the rows that day N adds, changes and deletes."""

    seed: int
    scale: float
    day: int
    database: str

    @property
    def start(self) -> np.datetime64:
        """The first moment of what the step makes."""
        return EPOCH - HISTORY if self.day == 0 else EPOCH + self.day * DAY

    @property
    def end(self) -> np.datetime64:
        """The first moment that is no longer in the day."""
        return EPOCH + (self.day + 1) * DAY

    def rng(self, topic: str) -> np.random.Generator:
        """Random numbers of one topic: the same for equal seed, day, database and topic, whatever else has been drawn."""
        return np.random.default_rng([self.seed, self.day, zlib.crc32(f"{self.database}/{topic}".encode())])

    def size(self, at_scale_one: float, least: int = 1) -> int:
        """How many rows the step makes of a kind that has ``at_scale_one`` rows at scale factor 1: all on day 0, a day's share later."""
        share = 1.0 if self.day == 0 else DAILY
        return max(least, round(at_scale_one * self.scale * share))

    def moments(self, rng: np.random.Generator, count: int) -> Stamps:
        """``count`` moments of the step's time, ascending."""
        drawn: Stamps = np.sort(between(rng, np.full(count, self.start), np.full(count, self.end)))
        return drawn


def between(rng: np.random.Generator, low: Stamps, high: Stamps) -> Stamps:
    """A moment in ``[low, high)`` for every row; ``low`` where that is empty. Microseconds."""
    span = np.maximum((high - low).astype("timedelta64[us]").astype(np.int64), 1)
    moments: Stamps = low.astype("datetime64[us]") + (rng.random(len(span)) * span).astype(np.int64).astype("timedelta64[us]")
    return moments


def pick(rng: np.random.Generator, frame: Arrays, count: int) -> Arrays:
    """At most ``count`` different rows of ``frame``, in its order."""
    rows = len(next(iter(frame.values())))
    return take(frame, np.sort(rng.choice(rows, size=min(count, rows), replace=False)))


def choice(rng: np.random.Generator, values: tuple[Any, ...], count: int, weights: tuple[float, ...] | None = None) -> np.ndarray[Any, Any]:
    """``count`` draws from ``values`` as an object array, so that ``None`` may be among them."""
    pool = np.empty(len(values), dtype=object)
    pool[:] = values
    return pool[rng.choice(len(values), size=count, p=np.array(weights) / sum(weights) if weights else None)]


def maybe(rng: np.random.Generator, values: np.ndarray[Any, Any], share: float) -> np.ndarray[Any, Any]:
    """``values`` with about ``share`` of them missing."""
    missing = rng.random(len(values)) < share
    if values.dtype.kind == "M":
        return np.where(missing, np.datetime64("NaT"), values)
    column = values.astype(object)
    column[missing] = None
    return column


def where(mask: np.ndarray[Any, Any], yes: Any, no: Any) -> np.ndarray[Any, Any]:
    """``np.where`` for values among which ``None`` may be."""
    return np.where(mask, np.asarray(yes, dtype=object), np.asarray(no, dtype=object))


def uuids(rng: np.random.Generator, count: int) -> list[str]:
    """Random UUIDs of version 4 as text."""
    digits = [block.tobytes().hex() for block in rng.integers(0, 256, size=(count, 16), dtype=np.uint8)]
    return [f"{d[:8]}-{d[8:12]}-4{d[13:16]}-{'89ab'[int(d[16], 16) % 4]}{d[17:20]}-{d[20:]}" for d in digits]
