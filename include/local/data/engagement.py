"""What the engagement reports must say, counted from normalised events one by one: the other side of every check of the models.

Written from the rules that the reports state and not from their SQL: videos are played on a timeline of milliseconds, each marked when it was seen.
"""

from __future__ import annotations

import gzip
import json
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

FASTEST, TOLERANCE_MS = 2, 2_000
LONGEST_MS = 4 * 3_600_000
TURNS = ("seq_next", "seq_prev")
MOVES = ("load_video", "play_video", "pause_video", "stop_video", "seek_video")
Place = tuple[str, str, str]
"""Course run, learner, block."""


@dataclass
class EngagementTotals:
    """Totals of one deployment's three reports.

    ``plays``, ``completions``, ``played_ms`` and ``watched_ms`` of videos, the last with every millisecond once for each learner; ``attempts`` and
    ``correct`` answers; ``views`` and ``closes`` of pages. Events that name no video, problem or page belong to no row of a report.
    """

    plays: int = 0
    completions: int = 0
    played_ms: int = 0
    watched_ms: int = 0
    attempts: int = 0
    correct: int = 0
    views: int = 0
    closes: int = 0


@dataclass
class _Player:
    """A video that somebody has open: where and when it was last known to run from."""

    running: bool = False
    place: int | None = None
    moment: datetime = datetime.min


@dataclass
class _Count:
    totals: EngagementTotals = field(default_factory=EngagementTotals)
    seen: dict[Place, bytearray] = field(default_factory=lambda: defaultdict(bytearray))
    players: dict[tuple[str, ...], _Player] = field(default_factory=lambda: defaultdict(_Player))

    def add(self, line: dict[str, Any]) -> None:
        kind, context = line.get("event_type") or "", line.get("context")
        event = line.get("event")
        event, context = (found if isinstance(found, dict) else {} for found in (event, context))
        if kind in MOVES:
            self._video(kind, line, event, context)
        elif kind == "problem_check" and line.get("event_source") == "server":
            if event.get("problem_id") or context.get("module", {}).get("usage_key"):
                self.totals.attempts += 1
                self.totals.correct += event.get("success") == "correct"
        elif kind.startswith("/courses/") and "/courseware/" in kind:
            self.totals.views += 1
        elif kind in (*TURNS, "page_close") and (str(event.get("id") or "").startswith("block-v1:") or "/xblock/block-v1:" in (line.get("page") or "")):
            self.totals.views += kind in TURNS
            self.totals.closes += kind == "page_close"

    def _video(self, kind: str, line: dict[str, Any], event: dict[str, Any], context: dict[str, Any]) -> None:
        if not event.get("id"):
            return
        place = (str(context["course_id"]), str(line["username"]), str(event["id"]))
        session = line.get("session")
        player = self.players[*place, session if isinstance(session, str) else ""]  # a number is no session
        moment = datetime.fromisoformat(line["time"])
        here = _ms(event.get("old_time") if kind == "seek_video" else event.get("currentTime"))
        if player.running and kind != "load_video":
            self._mark(place, player, here, moment)
        self.totals.plays += kind == "play_video"
        self.totals.completions += kind == "stop_video"
        player.running = player.running if kind == "seek_video" else kind == "play_video"
        player.place = _ms(event.get("new_time")) if kind == "seek_video" else here
        player.moment = moment

    def _mark(self, place: Place, player: _Player, end: int | None, moment: datetime) -> None:
        begin, allowed = player.place, FASTEST * (moment - player.moment).total_seconds() * 1000 + TOLERANCE_MS
        if begin is None or end is None or not 0 < end - begin <= allowed:
            return
        self.totals.played_ms += end - begin
        marks = self.seen[place]
        marks.extend(bytes(max(0, end - len(marks))))
        marks[begin:end] = b"\1" * (end - begin)


def _ms(value: Any) -> int | None:
    """A position on the timeline, in milliseconds; nothing for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value * 1000 <= LONGEST_MS:
        return None
    milliseconds: int = round(value * 1000)
    return milliseconds


def engagement_totals(lines: Iterable[dict[str, Any]]) -> EngagementTotals:
    """The totals of these events, each given once, in any order."""
    count = _Count()
    for line in sorted(lines, key=lambda one: str(one["time"])):
        count.add(line)
    count.totals.watched_ms = sum(map(sum, count.seen.values()))
    return count.totals


def landed_events(landing: Path, deployment: str) -> list[dict[str, Any]]:
    """The events of all log files that were ever normalised into a landing zone on disk; those that stand in several files once."""
    found: set[bytes] = set()
    for path in (landing / deployment / "openedx" / "processed_data" / "tracking_logs").rglob("*.json.gz"):
        found.update(gzip.decompress(path.read_bytes()).splitlines())
    return [json.loads(line) for line in found]
