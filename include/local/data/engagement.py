"""What the engagement reports must say: every row of every report, counted from the acts of learners.

Acts come from the generator of tracking logs, which tells each one while it invents it, so nothing that reads logs has a part in what a report is held
against. :func:`engagement_totals` counts the same from acts that were read out of normalised lines: where that differs from the generator's, the fault lies
before the models.
"""

from __future__ import annotations

import gzip
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from include.local.data.acts import Act, Kind, Place, stretches, watched

VIDEO, PROBLEM, PAGE = REPORTS = ("video_engagement_report", "problem_engagement_report", "page_engagement_report")
LONGEST_MS = 4 * 3_600_000
KINDS: dict[Kind, str] = {
    **dict.fromkeys(("load", "play", "pause", "stop", "seek"), VIDEO),
    "answer": PROBLEM,
    **dict.fromkeys(("view", "next", "previous", "close"), PAGE),
}
MOVES: dict[str, Kind] = {"load_video": "load", "play_video": "play", "pause_video": "pause", "stop_video": "stop", "seek_video": "seek"}
STEPS: dict[str, Kind] = {"seq_next": "next", "seq_prev": "previous", "page_close": "close"}


# --- rows of the reports: fields are named as the reports' columns ------------------------------------


@dataclass(frozen=True)
class VideoRow:
    """A video that anybody did anything with."""

    courserun_readable_id: str
    video_block_id: str
    learner_count: int
    viewer_count: int
    play_count: int
    completion_count: int
    played_seconds: Decimal
    watched_seconds: Decimal
    first_activity_on: datetime
    last_activity_on: datetime


@dataclass(frozen=True)
class ProblemRow:
    """A problem that anybody answered. The generator's learners look at no answers and ask for no hints."""

    courserun_readable_id: str
    problem_block_id: str
    learner_count: int
    attempting_learner_count: int
    solving_learner_count: int
    attempt_count: int
    correct_attempt_count: int
    show_answer_count: int
    hint_count: int
    first_activity_on: datetime
    last_activity_on: datetime


@dataclass(frozen=True)
class PageRow:
    """A page that anybody opened or left."""

    courserun_readable_id: str
    page_block_id: str
    learner_count: int
    viewer_count: int
    event_count: int
    view_count: int
    close_count: int
    first_activity_on: datetime
    last_activity_on: datetime


Row = VideoRow | ProblemRow | PageRow
ROWS: dict[str, type[Row]] = {VIDEO: VideoRow, PROBLEM: ProblemRow, PAGE: PageRow}
Learners = Mapping[str, Sequence[Act]]
"""The acts of each learner on one block, in the order of their time."""


def report_rows(acts: Iterable[Act]) -> dict[str, dict[tuple[str, str], Row]]:
    """The rows of each report by course run and block; acts in any order, those of a block that is not told left out."""
    blocks: dict[str, dict[tuple[str, str], dict[str, list[Act]]]] = {report: defaultdict(lambda: defaultdict(list)) for report in REPORTS}
    for act in sorted(acts, key=lambda one: one.moment):
        if act.block:
            blocks[KINDS[act.kind]][act.course_id, act.block][act.username].append(act)
    makers: dict[str, Callable[[str, str, Learners], Row]] = {VIDEO: _video_row, PROBLEM: _problem_row, PAGE: _page_row}
    return {report: {key: makers[report](*key, learners) for key, learners in found.items()} for report, found in blocks.items()}


def _video_row(course_id: str, block: str, learners: Learners) -> VideoRow:
    played = {name: list(stretches(acts)) for name, acts in learners.items()}
    return VideoRow(
        *(course_id, block, len(learners)),
        viewer_count=sum(bool(found) for found in played.values()),
        play_count=_count(learners, "play"),
        completion_count=_count(learners, "stop"),
        played_seconds=_seconds(sum(end - begin for found in played.values() for begin, end in found)),
        watched_seconds=_seconds(sum(map(watched, played.values()))),
        **_span(learners),
    )


def _problem_row(course_id: str, block: str, learners: Learners) -> ProblemRow:
    correct = [sum(act.correct for act in acts) for acts in learners.values()]
    return ProblemRow(
        *(course_id, block, len(learners)),
        attempting_learner_count=len(learners),
        solving_learner_count=sum(count > 0 for count in correct),
        attempt_count=_count(learners, "answer"),
        correct_attempt_count=sum(correct),
        show_answer_count=0,
        hint_count=0,
        **_span(learners),
    )


def _page_row(course_id: str, block: str, learners: Learners) -> PageRow:
    closes = _count(learners, "close")
    events = sum(map(len, learners.values()))
    return PageRow(
        *(course_id, block, len(learners)),
        viewer_count=sum(any(act.kind != "close" for act in acts) for acts in learners.values()),
        event_count=events,
        view_count=events - closes,
        close_count=closes,
        **_span(learners),
    )


def _count(learners: Learners, kind: Kind) -> int:
    return sum(act.kind == kind for acts in learners.values() for act in acts)


def _seconds(milliseconds: int) -> Decimal:
    return Decimal(milliseconds) / 1000


def _span(learners: Learners) -> dict[str, Any]:
    moments = [act.moment.replace(tzinfo=None) for acts in learners.values() for act in acts]
    return {"first_activity_on": min(moments), "last_activity_on": max(moments)}


# --- totals, and acts read out of normalised lines ------------------------------------------------------


@dataclass(frozen=True)
class EngagementTotals:
    """Totals of one deployment's three reports.

    ``plays``, ``completions``, ``played_ms`` and ``watched_ms`` of videos, the last with every millisecond once for each learner; ``attempts`` and
    ``correct`` answers; ``views`` and ``closes`` of pages. Acts on no block belong to no row of a report.
    """

    plays: int = 0
    completions: int = 0
    played_ms: int = 0
    watched_ms: int = 0
    attempts: int = 0
    correct: int = 0
    views: int = 0
    closes: int = 0


def totals_of(rows: Mapping[str, Mapping[tuple[str, str], Row]]) -> EngagementTotals:
    """The sums over the rows of the reports."""

    def total(report: str, column: str) -> Any:
        return sum(getattr(row, column) for row in rows[report].values())

    return EngagementTotals(
        plays=total(VIDEO, "play_count"),
        completions=total(VIDEO, "completion_count"),
        played_ms=int(total(VIDEO, "played_seconds") * 1000),
        watched_ms=int(total(VIDEO, "watched_seconds") * 1000),
        attempts=total(PROBLEM, "attempt_count"),
        correct=total(PROBLEM, "correct_attempt_count"),
        views=total(PAGE, "view_count"),
        closes=total(PAGE, "close_count"),
    )


def engagement_totals(lines: Iterable[dict[str, Any]]) -> EngagementTotals:
    """The totals of these normalised events, each given once, in any order."""
    return totals_of(report_rows(act for line in lines if (act := act_of(line)) is not None))


def landed_events(landing: Path, deployment: str) -> list[dict[str, Any]]:
    """The events of all log files that were ever normalised into a landing zone on disk; those that stand in several files once."""
    found: set[bytes] = set()
    for path in (landing / deployment / "openedx" / "processed_data" / "tracking_logs").rglob("*.json.gz"):
        found.update(gzip.decompress(path.read_bytes()).splitlines())
    return [json.loads(line) for line in found]


def act_of(line: dict[str, Any]) -> Act | None:
    """The act that a normalised line tells of, for lines that may belong to a row of a report."""
    kind, event, context = line.get("event_type") or "", _object(line.get("event")), _object(line.get("context"))
    course_id = str(context.get("course_id") or "")
    found: list[tuple[Place, str]] = []
    if kind in MOVES:
        act: Kind = MOVES[kind]
        found.append(("payload", _block(course_id, "video", event.get("id"))))
    elif kind == "problem_check" and line.get("event_source") == "server":
        act = "answer"
        found += [("payload", event.get("problem_id") or ""), ("module", _object(context.get("module")).get("usage_key") or "")]
    elif kind.startswith("/courses/") and "/courseware/" in kind:
        act = "view"
        found.append(("path", _block(course_id, "chapter", kind.partition("/courseware/")[2].partition("/")[0])))
    elif kind in STEPS:
        act = STEPS[kind]
        found += [("payload", str(event.get("id") or "")), ("page", (line.get("page") or "").partition("/xblock/")[2])]
        found = [(place, block) for place, block in found if block.startswith("block-v1:")]
    else:
        return None
    session = line.get("session")
    return Act(
        act,
        course_id,
        str(line["username"]),
        datetime.fromisoformat(line["time"]),
        tuple((place, block) for place, block in found if block),
        session=session if isinstance(session, str) else "",  # a number is no session
        position=_ms(event.get("old_time") if kind == "seek_video" else event.get("currentTime")),
        target=_ms(event.get("new_time")),
        correct=event.get("success") == "correct",
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _block(course_id: str, kind: str, name: str | None) -> str:
    return f"{course_id.replace('course-v1:', 'block-v1:')}+type@{kind}+block@{name}" if name else ""


def _ms(value: Any) -> int | None:
    """A position on the timeline, in milliseconds; nothing for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 <= value * 1000 <= LONGEST_MS:
        return None
    milliseconds: int = round(value * 1000)
    return milliseconds
