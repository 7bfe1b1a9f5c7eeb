"""The arithmetic behind a workload's line."""

import json
import re

import pytest

from benchmarks.__main__ import WORKLOADS, noise_text
from benchmarks.machine import Neighbours
from benchmarks.results import Case, Goal, Outcome, Series, alternate, seconds_text
from include.config.files import ROOT

QUIET = Neighbours(cores=0.0, load=0.1)


def test_the_line_of_a_workload() -> None:
    case = Case(Series((1.9, 1.6, 1.5)), Series((2.9, 3.2, 2.8)), Series((0.4,)), Goal(seconds=2.0))
    assert case.line("P1") == "P1 ours=1.60s peer=2.90s limit=0.40s ratio=1.8 goal=2.0s met=yes"


def test_a_variant_is_named_and_notes_follow() -> None:
    case = Case(Series((0.05,)), name="40", notes=("40 connections",))
    assert case.line("P1", "noisy machine") == "P1/40 ours=0.050s (40 connections; noisy machine)"


def test_a_peer_that_was_stopped_gives_lower_bounds() -> None:
    case = Case(Series((40.0,)), Series((600.0,), unfinished="488 of 677 models' tasks after 600 s"), Series((39.0,)), Goal(times=1.05))
    assert case.line("P4") == "P4 ours=40.0s peer=>600s limit=39.0s ratio=>15.0 goal=1.05×limit met=yes (peer: 488 of 677 models' tasks after 600 s)"


@pytest.mark.parametrize(
    ("ours", "goal", "met"),
    [
        ((2.0, 2.0, 9.0), Goal(seconds=2.0), True),
        ((2.0, 2.1, 1.0), Goal(seconds=1.9), False),
        ((10.5,), Goal(times=1.05), True),
        ((10.6,), Goal(times=1.05), False),
    ],
)
def test_a_goal_is_met_by_the_median(ours: tuple[float, ...], goal: Goal, met: bool) -> None:
    case = Case(Series(ours), limit=Series((9.0, 10.0, 11.0)), goal=goal)
    assert case.to_json()["met"] is met
    assert f"met={'yes' if met else 'no'}" in case.line("P0")


def test_a_goal_may_also_ask_for_a_ratio_to_the_peer() -> None:
    goal = Goal(seconds=0.045, ratio=12)
    assert Case(Series((0.04,)), Series((0.5,)), goal=goal).line("P7") == "P7 ours=0.040s peer=0.50s ratio=12.5 goal=0.045s,12×peer met=yes"
    assert not goal.met(Series((0.04,)), None, Series((0.47,)))
    assert not goal.met(Series((0.05,)), None, Series((5.0,)))
    assert not goal.met(Series((0.04,)), None, None)


def test_a_goal_relative_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="neither seconds nor a limit"):
        Goal(times=1.05).met(Series((1.0,)), None)


def test_variants_take_turns_and_change_order() -> None:
    taken: list[str] = []

    def variant(name: str, seconds: float):
        def take() -> float:
            taken.append(name)
            return seconds

        return take

    found = alternate(3, {"a": variant("a", 1.0), "b": variant("b", 2.0)})
    assert taken == ["a", "b", "b", "a", "a", "b"]
    assert found == {"a": (1.0, 1.0, 1.0), "b": (2.0, 2.0, 2.0)}


def test_noise_is_told_by_neighbours_or_by_spread() -> None:
    calm = Outcome((Case(Series((1.0, 1.1)), limit=Series((1.0,)), goal=Goal(seconds=2.0)),))
    wild = Outcome((Case(Series((1.0, 2.0)), limit=Series((1.0,)), goal=Goal(seconds=2.0)),))
    assert noise_text(QUIET, QUIET, calm) == ""
    assert "repeats differ by 67%" in noise_text(QUIET, QUIET, wild)
    assert "1.5 cores taken by others" in noise_text(QUIET, Neighbours(cores=1.5, load=7.0), calm)


def test_results_can_be_written_as_json() -> None:
    case = Case(Series((1.0, 3.0, 2.0), "warm", details={"dags": 40}), Series((4.0,)), None, Goal(seconds=2.5), "40", ("a note",))
    data = json.loads(json.dumps(case.to_json()))
    assert data["ours"] == {"median": 2.0, "min": 1.0, "max": 3.0, "repeats": [1.0, 3.0, 2.0], "note": "warm", "dags": 40}
    assert (data["ratio"], data["met"], data["limit"]) == (2.0, True, None)


@pytest.mark.parametrize(("seconds", "text"), [(0.0421, "0.042s"), (1.634, "1.63s"), (38.14, "38.1s"), (611.6, "612s")])
def test_seconds_are_short(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


def test_every_workload_is_described() -> None:
    described = re.findall(r"^\*\*(P\d+), ", (ROOT / "docs/reference/benchmarks.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(described) == sorted(WORKLOADS)
