"""What the engagement reports must say: rows of acts that are counted by hand, and the generator's acts against what it knows otherwise."""

from __future__ import annotations

import json
import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from include.local.data.acts import Act, Kind, Loss, stretches, watched
from include.local.data.engagement import PAGE, PROBLEM, VIDEO, EngagementTotals, PageRow, ProblemRow, VideoRow, act_of, report_rows, totals_of
from include.local.data.openedx_awkward import SHAPES, large
from include.local.data.openedx_events import Enrolment, Happening, Sitting
from include.local.data.openedx_logs import LOSSES, DayLogs, LogTotals, invented_roster, write_day

RUN = "course-v1:MITxT+14.310x+1T2026"
CLIP, TASK, UNIT, PART = (f"block-v1:MITxT+14.310x+1T2026+type@{kind}+block@a" for kind in ("video", "problem", "vertical", "sequential"))
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = date(2026, 3, 2)


def act(kind: Kind, second: float, block: str, who: str = "ada", **fields: Any) -> Act:
    return Act(kind, RUN, who, NOON + timedelta(seconds=second), (("payload", block),) if block else (), **fields)


def at(second: float) -> datetime:
    return (NOON + timedelta(seconds=second)).replace(tzinfo=None)


# Ada plays 10–40 s, goes back to 20 s by a seek and on to 50 s, where she pauses; later she plays the last stretch to its end. Bo only loads the page.
WATCHING = [
    act("load", 0, CLIP),
    act("play", 1, CLIP, position=10_000),
    act("seek", 31, CLIP, position=40_000, target=20_000),
    act("pause", 61, CLIP, position=50_000),
    act("play", 90, CLIP, position=590_000),
    act("stop", 100, CLIP, position=600_000),
    act("load", 7, CLIP, "bo"),
]


def test_videos_by_hand() -> None:
    """Played are 30 + 30 + 10 s; watched are 10–50 s and 590–600 s."""
    rows = report_rows(WATCHING)
    assert rows[VIDEO] == {(RUN, CLIP): VideoRow(RUN, CLIP, 2, 1, 2, 1, Decimal(70), Decimal(50), at(0), at(100))}
    assert rows[PROBLEM] == rows[PAGE] == {}
    assert report_rows(reversed(WATCHING)) == rows, "whatever the order"
    assert totals_of(rows) == EngagementTotals(plays=2, completions=1, played_ms=70_000, watched_ms=50_000)


def test_problems_by_hand() -> None:
    answers = [
        act("answer", 1, TASK),
        act("answer", 2, TASK, correct=True),
        act("answer", 3, TASK, correct=True),
        act("answer", 4, TASK, "bo"),
        act("answer", 5, "", "bo", correct=True),
    ]
    rows = report_rows(answers)
    assert rows[PROBLEM] == {(RUN, TASK): ProblemRow(RUN, TASK, 2, 2, 1, 4, 2, 0, 0, at(1), at(4))}
    assert totals_of(rows) == EngagementTotals(attempts=4, correct=2)


def test_pages_by_hand() -> None:
    moves = [act("next", 1, PART), act("previous", 2, PART), act("close", 3, UNIT), act("view", 4, PART, "bo"), act("close", 5, PART, "cy")]
    rows = report_rows(moves)
    assert rows[PAGE] == {(RUN, PART): PageRow(RUN, PART, 3, 2, 4, 3, 1, at(1), at(5)), (RUN, UNIT): PageRow(RUN, UNIT, 1, 0, 1, 0, 1, at(3), at(3))}
    assert totals_of(rows) == EngagementTotals(views=3, closes=2)


@pytest.mark.parametrize(
    ("acts", "found"),
    [
        ([act("play", 0, CLIP, position=5_000), act("pause", 10, CLIP, position=15_000)], [(5_000, 15_000)]),
        ([act("play", 0, CLIP, position=5_000), act("load", 10, CLIP, position=15_000)], []),
        ([act("pause", 0, CLIP, position=5_000), act("pause", 10, CLIP, position=15_000)], []),
        ([act("play", 0, CLIP, position=5_000), act("play", 10, CLIP, position=15_000)], [(5_000, 15_000)]),
        ([act("play", 0, CLIP, position=5_000), act("pause", 10, CLIP, position=5_000)], []),
        ([act("play", 0, CLIP, position=5_000), act("pause", 10, CLIP)], []),
        ([act("play", 0, CLIP, position=0), act("pause", 10, CLIP, position=22_000)], [(0, 22_000)]),
        ([act("play", 0, CLIP, position=0), act("pause", 10, CLIP, position=22_001)], []),
        ([act("play", 0, CLIP, position=0, session="a"), act("pause", 10, CLIP, position=9_000, session="b")], []),
        ([act("play", 0, CLIP, position=0), act("seek", 5, CLIP, position=5_000, target=90_000), act("pause", 9, CLIP, position=94_000)],
         [(0, 5_000), (90_000, 94_000)]),
        ([act("seek", 5, CLIP, position=5_000, target=90_000), act("pause", 9, CLIP, position=94_000)], []),
    ],
    ids=("to a pause", "a load ends nothing", "no player runs", "play once more", "no length", "no position", "twice as fast", "too far", "two sessions",
         "over a seek", "a seek starts nothing"),
)  # fmt: skip
def test_stretches_by_hand(acts: list[Act], found: list[tuple[int, int]]) -> None:
    assert list(stretches(acts)) == found


def test_watched_counts_every_millisecond_once() -> None:
    assert watched([(10, 20), (15, 30), (30, 31), (50, 60), (52, 53)]) == 31
    assert watched([]) == 0


# --- the generator ---------------------------------------------------------------------------------


def written(folder: Path, *, awkward: float, events: int = 3_000) -> DayLogs:
    return write_day(folder, invented_roster("mitx", seed=5, learners=60), DAY, seed=5, events=events, awkward=awkward)


def test_acts_give_the_stretches_that_the_generator_had_in_mind(tmp_path: Path) -> None:
    """It knows them before there is any event; the definition finds them again from what the events tell, where none is odd."""
    totals = written(tmp_path, awkward=0).totals
    acts: dict[tuple[str, str, str], list[Act]] = {}
    for one in sorted(totals.acts, key=lambda act: act.moment):
        acts.setdefault((one.course_id, one.username, one.block), []).append(one)
    assert {key: found for key, one in acts.items() if (found := list(stretches(one)))} == totals.stretches
    rows = report_rows(totals.acts)
    assert sum(row.played_seconds for row in rows[VIDEO].values()) * 1000 == totals.watched.total() > 0
    assert sum(row.watched_seconds for row in rows[VIDEO].values()) * 1000 == sum(map(watched, totals.stretches.values())) < totals.watched.total()


def test_every_total_is_that_of_the_events_of_its_kind(tmp_path: Path) -> None:
    """Where no shape is odd: an event belongs to a row unless it names no block, as screens of the app and forums do."""
    totals = written(tmp_path, awkward=0).totals
    events: dict[str, int] = {}
    for (_, kind, _, _), count in totals.events.items():
        events[kind] = events.get(kind, 0) + count
    asked = sum(count for kind, count in events.items() if kind.startswith("/courses/"))
    found = totals_of(report_rows(totals.acts))
    assert (found.plays, found.completions) == (events["play_video"], events["stop_video"])
    assert (found.views, found.closes) == (asked + events["seq_next"] + events["seq_prev"], events["page_close"])
    assert (found.attempts, found.correct) == (totals.attempts.total(), totals.correct.total())
    kinds = {kind: sum(act.kind == kind for act in totals.acts) for kind in ("load", "pause", "seek")}
    assert kinds == {kind: events[f"{kind}_video"] for kind in kinds}
    assert min(*kinds.values(), found.completions, found.correct) > 0


def test_odd_shapes_take_away_what_they_hide(tmp_path: Path) -> None:
    plain, odd = written(tmp_path / "plain", awkward=0), written(tmp_path / "odd", awkward=0.3)
    assert set(odd.awkward) == set(SHAPES)
    told = totals_of(report_rows(odd.totals.acts))
    assert told.attempts == odd.totals.attempts.total(), "the module names the problem"
    assert told.correct < odd.totals.correct.total()
    assert told.played_ms < odd.totals.watched.total()
    assert totals_of(report_rows(plain.totals.acts)).played_ms == plain.totals.watched.total()


def test_a_sitting_by_hand() -> None:
    """The first video of a sitting with a known seed, event by event beside its acts."""
    happenings = list(Sitting(random.Random(4), Enrolment(1, "ada", RUN), "lms.example.org", NOON).events(60))
    begin = next(place for place, one in enumerate(happenings) if one.event_type == "load_video")
    end = next(place for place, one in enumerate(happenings) if place > begin and not one.event_type.endswith("_video"))
    logged, totals = happenings[begin:end], LogTotals()
    played = 0
    for one in logged:
        totals.add(one)
        event = json.loads(one.fields["event"]) if isinstance(one.fields["event"], str) else one.fields["event"]
        if one.event_type == "play_video":
            started = event["currentTime"]
        elif one.event_type != "load_video":
            played += round((event.get("old_time", event.get("currentTime")) - started) * 1000)
    (row,) = report_rows(totals.acts)[VIDEO].values()
    assert row.play_count == sum(one.event_type == "play_video" for one in logged) >= 1
    assert row.played_seconds * 1000 == played == totals.watched.total() > 0
    assert (row.first_activity_on, row.last_activity_on) == (logged[0].time.replace(tzinfo=None), logged[-1].time.replace(tzinfo=None))


# --- what lines of odd shapes tell, found by a plain reading of them ------------------------------------


def happening(kind: str, *, mobile: bool = False) -> Happening:
    for seed in range(500):
        sitting = Sitting(random.Random(seed), Enrolment(1, "ada", RUN), "lms.example.org", NOON + timedelta(microseconds=123_456))
        found = next((one for one in sitting.events(30) if one.event_type == kind and one.act is not None), None)
        if found and sitting.mobile is mobile:
            return found
    raise AssertionError(kind)


def plainly(line: bytes) -> dict[str, Any]:
    """The line as it says it; objects in strings are objects, times ISO texts, as far as two looks go."""
    fields: dict[str, Any] = json.loads(line)
    for name in ("event", "context"):
        for _ in range(3):
            if isinstance(fields[name], str) and fields[name].strip()[:1] in ('"', "{"):
                fields[name] = json.loads(fields[name])
    time = fields["time"]
    if isinstance(time, int | float) or time.isdigit():
        number = float(time)
        fields["time"] = datetime.fromtimestamp(number / (1_000 if number > 4e9 else 1), UTC).isoformat()
    elif not time.endswith(("Z", "+00:00", "+05:45")):
        fields["time"] = f"{time}+00:00"
    return fields


@pytest.mark.parametrize("kind", ["load_video", "play_video", "seek_video", "problem_check", "seq_next", "page_close"])
@pytest.mark.parametrize("shape", [*SHAPES, "10 MB"])
def test_what_an_odd_shape_hides_is_told_before(shape: str, kind: str) -> None:
    told = happening(kind)
    assert told.act is not None
    line = large(told.fields) if shape == "10 MB" else SHAPES[shape](told.fields, random.Random(1))
    expected, found = told.act.told(LOSSES.get(shape, Loss())), act_of(plainly(line))
    assert found is not None
    assert abs(found.moment - expected.moment) < timedelta(microseconds=2), "a float's own"
    assert (found.block, found.session, found.position, found.target, found.correct) == (
        expected.block,
        expected.session,
        expected.position,
        expected.target,
        expected.correct,
    )
