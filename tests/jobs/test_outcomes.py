"""From dbt's results of single nodes to the state of models: a model is good only when it is built and every test of it has passed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.config.vocabulary import Layer
from include.jobs.warehouse.outcomes import BUILT, NodeResult, Outcomes, is_transient
from include.lake.manifest import Model, Warehouse

AWAY = "HTTPConnectionPool(host='trino', port=8080): Max retries exceeded: Failed to establish a new connection: Connection refused"
STATUSES = ("success", "pass", "warn", "fail", "error", "runtime error", "partial success", "skipped")
MESSAGES = ("", "Got 3 results, configured to fail if != 0", AWAY)


def model(name: str, tests: int) -> Model:
    unique_id = f"model.open_learning.{name}"
    judged_by = tuple(f"test.open_learning.{name}_is_good.{number:04x}" for number in range(tests))
    return Model(unique_id, name, Layer.DIMENSIONAL, "core", "table", (), judged_by)


def result(unique_id: str, status: str = "success", message: str = "", seconds: float = 1.0, rows: int | None = None) -> NodeResult:
    return NodeResult(unique_id, status, seconds, rows, message, None)


ONE = model("dim_user", 2)
OTHER = model("dim_course", 0)
WAREHOUSE = Warehouse((ONE, OTHER), {})
EVERYTHING = frozenset({ONE.unique_id, *ONE.tests, OTHER.unique_id})


def judged(*results: NodeResult, expected: frozenset[str] = EVERYTHING) -> tuple[str, ...]:
    """The model's state after each result."""
    outcomes = Outcomes(WAREHOUSE, expected)
    states = []
    for one in results:
        found = outcomes.add(one)
        assert found is not None
        assert found[0] == ONE.unique_id
        states.append(found[1].state)
    return tuple(states)


BUILT_MODEL = result(ONE.unique_id, rows=20_010)
PASSES = [result(test, "pass") for test in ONE.tests]


def test_a_model_is_done_when_its_last_test_has_passed() -> None:
    assert judged(BUILT_MODEL, *PASSES) == ("running", "running", "success")


def test_a_warning_passes() -> None:
    assert judged(BUILT_MODEL, PASSES[0], result(ONE.tests[1], "warn", "Got 1 result")) == ("running", "running", "success")


def test_a_failing_test_fails_its_model_for_good() -> None:
    assert judged(BUILT_MODEL, result(ONE.tests[0], "fail", MESSAGES[1]), PASSES[1]) == ("running", "failed", "failed")


def test_a_model_that_cannot_be_built_fails() -> None:
    skipped = [result(test, "skipped") for test in ONE.tests]
    assert judged(result(ONE.unique_id, "error", "line 3:8: Column 'x' cannot be resolved"), *skipped) == ("failed", "failed", "failed")


@pytest.mark.parametrize("status", ["error", "runtime error", "fail"])
def test_a_service_that_was_away_is_worth_another_try(status: str) -> None:
    assert judged(result(ONE.unique_id, status, AWAY)) == ("retrying",)
    assert judged(BUILT_MODEL, result(ONE.tests[0], status, AWAY)) == ("running", "retrying")


def test_what_an_earlier_failure_stopped_is_skipped() -> None:
    assert judged(result(ONE.unique_id, "skipped")) == ("skipped",)


def test_tests_outside_the_selection_are_not_waited_for() -> None:
    assert judged(BUILT_MODEL, expected=frozenset({ONE.unique_id})) == ("success",)


def test_unit_tests_come_before_their_model() -> None:
    """dbt runs a model's unit tests first."""
    assert judged(PASSES[0], PASSES[1], BUILT_MODEL) == ("running", "running", "success")


def test_the_state_tells_time_rows_and_what_failed() -> None:
    outcomes = Outcomes(WAREHOUSE, EVERYTHING)
    outcomes.add(BUILT_MODEL)
    outcomes.add(result(ONE.tests[0], "fail", "Got 3 results", seconds=0.25))
    state = outcomes.judge(ONE.unique_id)
    assert (state.seconds, state.rows) == (1.25, 20_010)
    assert state.failures == ("dim_user_is_good",)
    assert state.message == "dim_user_is_good: Got 3 results"


def test_nodes_of_no_model_belong_to_nobody() -> None:
    assert Outcomes(WAREHOUSE, EVERYTHING).add(result("seed.open_learning.countries")) is None


def test_a_long_message_is_cut() -> None:
    outcomes = Outcomes(WAREHOUSE, EVERYTHING)
    outcomes.add(result(ONE.unique_id, "error", "x" * 10_000))
    assert len(outcomes.judge(ONE.unique_id).message) == 2000


@pytest.mark.parametrize(
    "message",
    [
        AWAY,
        "('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))",
        "HTTPConnectionPool(host='trino', port=8080): Read timed out. (read timeout=30)",
        "error 503: b'Service Unavailable'",
        "TrinoQueryError(type=INTERNAL_ERROR, name=SERVER_STARTING_UP, message='Trino server is still initializing')",
        "TrinoQueryError(type=EXTERNAL, name=ICEBERG_COMMIT_ERROR, message='Failed to commit the transaction during insert')",
        "TrinoQueryError(type=INSUFFICIENT_RESOURCES, name=NO_NODES_AVAILABLE, message='No nodes available to run query')",
        "TrinoQueryError(type=EXTERNAL, name=TRANSACTION_CONFLICT, message='…')",
    ],
)
def test_transient(message: str) -> None:
    assert is_transient(message)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "Got 3 results, configured to fail if != 0",
        "Got 502 results, configured to fail if != 0",
        "TrinoUserError(type=USER_ERROR, name=COLUMN_NOT_FOUND, message=\"line 3:8: Column 'x' cannot be resolved\")",
        "TrinoUserError(type=USER_ERROR, name=TABLE_NOT_FOUND, message='…')",
        "TrinoUserError(type=USER_ERROR, name=DIVISION_BY_ZERO, message='Division by zero')",
        "TrinoUserError(type=USER_ERROR, name=PERMISSION_DENIED, message='Access Denied')",
        "This model has an enforced contract that failed.",
        "MERGE_TARGET_ROW_MULTIPLE_MATCHES: One MERGE target table row matched more than one source row",
    ],
)
def test_permanent(message: str) -> None:
    assert not is_transient(message)


@dataclass(frozen=True)
class Run:
    """Results of one model's nodes in the order they came in; some may be missing, some may be outside the selection."""

    judged: Model
    expected: frozenset[str]
    results: tuple[NodeResult, ...]


@st.composite
def runs(draw: st.DrawFn) -> Run:
    judged_model = model("m", draw(st.integers(0, 4)))
    nodes = (judged_model.unique_id, *judged_model.tests)
    expected = frozenset({judged_model.unique_id} | draw(st.sets(st.sampled_from(nodes))))
    arrived = draw(st.permutations(sorted(expected)))[: draw(st.integers(0, len(expected)))]
    results = tuple(result(node, draw(st.sampled_from(STATUSES)), draw(st.sampled_from(MESSAGES))) for node in arrived)
    return Run(judged_model, expected, results)


def state_of(run: Run, results: tuple[NodeResult, ...]) -> str:
    outcomes = Outcomes(Warehouse((run.judged,), {}), run.expected)
    for one in results:
        outcomes.add(one)
    return outcomes.judge(run.judged.unique_id).state


@given(runs())
def test_success_means_built_and_every_expected_test_passed(run: Run) -> None:
    good = {one.unique_id for one in run.results if one.status in BUILT}
    assert (state_of(run, run.results) == "success") == (good == run.expected)


@given(runs(), st.randoms(use_true_random=False))
def test_the_order_of_results_does_not_matter(run: Run, random: object) -> None:
    shuffled = list(run.results)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert state_of(run, tuple(shuffled)) == state_of(run, run.results)


@given(runs())
def test_a_state_once_bad_never_becomes_good(run: Run) -> None:
    states = [state_of(run, run.results[:count]) for count in range(len(run.results) + 1)]
    for earlier, later in pairwise(states):
        if earlier in ("failed", "retrying", "skipped"):
            assert later not in ("success", "running")
        if earlier == "retrying":
            assert later == "retrying", "what is to be tried again must be tried again"
        assert earlier != "success", "a model is not called good before its last expected result"


@given(runs())
def test_a_failure_is_final_exactly_when_no_service_was_away(run: Run) -> None:
    bad = [one for one in run.results if one.status not in BUILT and one.status != "skipped"]
    expected = "retrying" if any(is_transient(one.message) for one in bad) else "failed"
    assert (state_of(run, run.results) in ("failed", "retrying")) == bool(bad)
    if bad:
        assert state_of(run, run.results) == expected
