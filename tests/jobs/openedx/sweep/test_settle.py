"""What a sweep makes of its attempts: nothing is lost and nothing is reported twice, wherever sweeps are cut and whatever fails in them."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.contract import PermanentError, TransientError
from include.jobs.openedx.sweep.observe import Attempt
from include.jobs.openedx.sweep.settle import check, order_of, settle
from include.jobs.openedx.sweep.state import Known

START = datetime(2026, 3, 2, tzinfo=UTC)
RUNS = [f"course-v1:a+b+r{number}" for number in range(8)]


def at(minute: int) -> datetime:
    return START + timedelta(minutes=minute)


def seen(course: str, version: str, minute: int = 0) -> Attempt:
    return Attempt(course, at(minute), "observed", version)


def failed(course: str, minute: int = 0, *, permanent: bool = False) -> Attempt:
    return Attempt(course, at(minute), "failed", problem=f"{course}: HTTP 500", permanent=permanent)


def test_the_first_sweep_reports_everything_once() -> None:
    first = settle({}, RUNS, [seen(run, "v1") for run in RUNS], most=100)
    assert first.changed == tuple(RUNS)
    assert Counter(one.status for one in first.observations) == {"new": 8}
    second = settle(first.courses, RUNS, [seen(run, "v1", 60) for run in RUNS], most=100)
    assert second.changed == ()
    assert Counter(one.status for one in second.observations) == {"unchanged": 8}


def test_only_a_new_version_is_a_change() -> None:
    before = {run: Known("v1", "v1", at(0), at(0)) for run in RUNS}
    found = settle(before, RUNS, [seen(RUNS[0], "v2", 5), seen(RUNS[1], "v1", 5), failed(RUNS[2], 5), Attempt(RUNS[3], at(5), "without_outline")], most=100)
    assert found.changed == (RUNS[0],)
    assert [(one.course_id, one.status, one.version, one.previous) for one in found.observations] == [
        (RUNS[0], "changed", "v2", "v1"),
        (RUNS[1], "unchanged", "v1", "v1"),
    ]
    assert found.courses[RUNS[2]] == Known("v1", "v1", at(0), at(5)), "a failure moves it to the back and changes nothing else"
    assert found.courses[RUNS[3]] == Known("v1", "v1", at(0), at(5)), "a 404 is not an observation"
    assert (found.counts.failed, found.counts.without_outline, found.counts.left) == (1, 1, 4)


def test_changes_beyond_the_limit_wait_and_the_oldest_come_first() -> None:
    known = {run: Known("v1", "v1", at(0), at(0)) for run in RUNS}
    reported = []
    for number in range(4):
        attempts = [seen(run, "v2" if index >= 4 or number else "v1", 10 * number + index) for index, run in enumerate(RUNS)]
        found = settle(known, RUNS, attempts, most=3)
        known = found.courses
        reported.append(found.changed)
    assert reported == [tuple(RUNS[4:7]), (RUNS[7], RUNS[0], RUNS[1]), (RUNS[2], RUNS[3]), ()]


def test_a_change_that_was_taken_back_before_it_was_reported_is_none() -> None:
    known = {RUNS[0]: Known("v1", "v1", at(0), at(0))}
    known = settle(known, RUNS[:1], [seen(RUNS[0], "v2", 1)], most=0).courses
    assert known[RUNS[0]].waiting_since == at(1)
    known = settle(known, RUNS[:1], [seen(RUNS[0], "v1", 2)], most=0).courses
    assert known[RUNS[0]].waiting_since is None


def test_a_run_that_disappears_is_recorded_and_stays_known() -> None:
    known = {run: Known("v1", "v1", at(0), at(0)) for run in RUNS[:2]}
    assert order_of(known, RUNS[:1]) == RUNS[:2], "known and not listed: only asking tells"
    found = settle(known, RUNS[:1], [seen(RUNS[0], "v1", 5), Attempt(RUNS[1], at(5), "gone")], most=10)
    assert found.courses[RUNS[1]] == Known("v1", "v1", at(0), at(5), None, at(5))
    assert [(one.course_id, one.status, one.version) for one in found.observations][1] == (RUNS[1], "gone", "v1")
    assert order_of(found.courses, RUNS[:1]) == RUNS[:1], "not asked for again"
    assert order_of(found.courses, RUNS[:2]) == RUNS[:2], "unless it is listed"
    back = settle(found.courses, RUNS[:2], [seen(RUNS[1], "v2", 9)], most=10)
    assert (back.observations[0].status, back.changed, back.courses[RUNS[1]].gone_since) == ("returned", (RUNS[1],), None)


def test_what_was_never_attempted_comes_first_then_the_longest_ago() -> None:
    known = {RUNS[0]: Known("v", "v", at(9), at(9)), RUNS[1]: Known("v", "v", at(1), at(3)), RUNS[2]: Known("v", "v", at(2), at(2))}
    assert order_of(known, RUNS[:4]) == [RUNS[3], RUNS[2], RUNS[1], RUNS[0]]


@pytest.mark.parametrize(
    ("attempts", "cut", "error", "message"),
    [
        ([failed(run) for run in RUNS], "", TransientError, "none of 8 course runs could be observed .* the first: .*r0: HTTP 500"),
        ([failed(run, permanent=True) for run in RUNS], "", PermanentError, "none of 8"),
        ([failed(RUNS[0], permanent=True), failed(RUNS[1])], "", TransientError, "none of 2"),
        ([Attempt(run, at(0), "without_outline") for run in RUNS], "", TransientError, "no run has an outline"),
        ([], "deadline", TransientError, "none of 8 course runs could be asked for: the deadline"),
        ([Attempt(RUNS[0], at(0), "without_outline")], "deadline", None, ""),
        ([failed(RUNS[0]), seen(RUNS[1], "v")], "", None, ""),
        ([failed(RUNS[0]), Attempt(RUNS[1], at(0), "gone")], "", None, ""),
    ],
    ids=["all failed", "all refused", "some refused", "no outline at all", "no attempt", "cut at a run without outline", "one seen", "one gone"],
)
def test_a_sweep_that_learned_nothing_is_a_failure(attempts: list[Attempt], cut: str, error: type[Exception] | None, message: str) -> None:
    settled = settle({}, RUNS, attempts, most=10)
    if error is None:
        check(settled, attempts, cut)
        return
    with pytest.raises(error, match=message):
        check(settled, attempts, cut)


OUTCOMES = st.sampled_from(["observed", "failed", "without_outline"])


@given(
    cuts=st.lists(st.integers(1, 8), min_size=1, max_size=12),
    published=st.lists(st.tuples(st.integers(0, 11), st.integers(0, 7)), max_size=15),
    outcomes=st.lists(OUTCOMES, min_size=96, max_size=96),
    most=st.integers(1, 8),
)
def test_nothing_is_lost_over_sweeps_that_are_cut(cuts: list[int], published: list[tuple[int, int]], outcomes: list[str], most: int) -> None:
    """Runs are published again at random, sweeps cut at random, requests fail at random: in the end the reported versions are the published ones."""
    truth = dict.fromkeys(RUNS, 0)
    known: dict[str, Known] = {}
    reports: list[tuple[str, str]] = []
    draw = iter(outcomes)
    minute = 0

    def sweep(size: int, *, works: bool) -> None:
        nonlocal known, minute
        attempts = []
        for run in order_of(known, RUNS)[:size]:
            minute += 1
            outcome = "observed" if works else next(draw)
            attempts.append(Attempt(run, at(minute), outcome, f"v{truth[run]}" if outcome == "observed" else ""))
        found = settle(known, RUNS, attempts, most=most)
        assert len(found.changed) <= most
        reports.extend((run, found.courses[run].version) for run in found.changed)
        known = found.courses

    for number, size in enumerate(cuts):
        for moment, index in published:
            truth[RUNS[index]] += moment == number
        sweep(size, works=False)
    for _ in range(2 + len(RUNS)):  # once around, then until all that waits is reported
        sweep(len(RUNS), works=True)
    assert {run: entry.reported for run, entry in known.items()} == {run: f"v{version}" for run, version in truth.items()}
    assert all(entry.waiting_since is None for entry in known.values())
    assert max(Counter(reports).values()) == 1, "no version of a run was reported twice"


@given(budget=st.integers(1, 8), broken=st.sets(st.sampled_from(RUNS), max_size=7))
def test_every_run_has_its_turn_however_small_the_budget(budget: int, broken: set[str]) -> None:
    """Runs that fail every time do not keep the others from their turn: the order follows attempts, not successes."""
    known: dict[str, Known] = {}
    attempted: Counter[str] = Counter()
    rounds = 24
    for number in range(rounds):
        chosen = order_of(known, RUNS)[:budget]
        attempted.update(chosen)
        attempts = [failed(run, 10 * number + place) if run in broken else seen(run, "v", 10 * number + place) for place, run in enumerate(chosen)]
        known = settle(known, RUNS, attempts, most=8).courses
    assert max(attempted.values()) - min(attempted[run] for run in RUNS) <= 1
