"""What learners do, as the generator of tracking logs tells it, and how much of a video somebody has watched by doing so: the one definition of both.

**Watch time.** A player runs from a play until a pause, a stop or a load of the page; a seek lets it go on from where it went. A *stretch* of the timeline
was played when a player runs from an act that says where it is to the next one that does. Stretches of no length, backwards, or longer than twice the time
between the two acts (and two seconds) are none: an act between them is missing. *Played* is the sum of all stretches, *watched* every millisecond of the
timeline once, however often it was played. The players of one learner and video are told apart by the session.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

FASTEST, TOLERANCE_MS = 2, 2_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Kind = Literal["load", "play", "pause", "stop", "seek", "answer", "view", "next", "previous", "close"]
Place = Literal["payload", "module", "path", "page"]
"""Where an event says which block it is about; the first one that does counts."""
Stretch = tuple[int, int]
"""Of a video's timeline: from and to, in milliseconds."""


@dataclass(frozen=True)
class Loss:
    """What a line does not tell of its act: ``places`` that name the block, the session, and parts of its time below ``precision`` microseconds."""

    places: frozenset[Place] = frozenset()
    session: bool = False
    precision: int = 1


NOTHING = Loss()


@dataclass(frozen=True, slots=True)
class Act:
    """Something that a learner did with a block of a course run; ``moment`` is UTC.

    ``position`` is where the player was and ``target`` where a seek went, in milliseconds; both, and whether an answer was ``correct``, stand in the payload.
    """

    kind: Kind
    course_id: str
    username: str
    moment: datetime
    blocks: tuple[tuple[Place, str], ...]
    session: str = ""
    position: int | None = None
    target: int | None = None
    correct: bool = False

    @property
    def block(self) -> str:
        """The block as far as it is told; empty for an act that belongs to no row of a report."""
        return self.blocks[0][1] if self.blocks else ""

    def told(self, loss: Loss) -> Act:
        """What is left of the act in a line that does not tell everything."""
        if loss == NOTHING:
            return self
        hidden: dict[str, Any] = {"position": None, "target": None, "correct": False} if "payload" in loss.places else {}
        return replace(
            self,
            moment=self.moment - timedelta(microseconds=self.moment.microsecond % loss.precision),
            blocks=tuple((place, block) for place, block in self.blocks if place not in loss.places),
            session="" if loss.session else self.session,
            **hidden,
        )


def stretches(acts: Iterable[Act]) -> Iterator[Stretch]:
    """What one learner played of one video, from acts in the order of their time."""
    before: dict[str, Act] = {}
    running: dict[str, bool] = defaultdict(bool)
    for act in acts:
        last = before.get(act.session)
        if last is not None and running[act.session] and act.kind != "load":
            begin, end = last.target if last.kind == "seek" else last.position, act.position
            if begin is not None and end is not None and 0 < end - begin <= FASTEST * (_ms_since(act.moment) - _ms_since(last.moment)) + TOLERANCE_MS:
                yield begin, end
        if act.kind != "seek":
            running[act.session] = act.kind == "play"
        before[act.session] = act


def watched(found: Sequence[Stretch]) -> int:
    """Milliseconds of the timeline that lie in any stretch."""
    timeline = bytearray(max((end for _, end in found), default=0))
    for begin, end in found:
        timeline[begin:end] = b"\1" * (end - begin)
    return timeline.count(1)


def _ms_since(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(milliseconds=1)
