from __future__ import annotations

import pytest

ROUNDS, DAYS = "--fault-rounds", "--backfill-days"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(ROUNDS, type=int, default=None, help="kills of each kind (default: one or two; make test-faults: 20)")
    parser.addoption(DAYS, type=int, default=None, help="days of the backfill that is killed (default: 12, with one kill; make test-faults: 365, with two)")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """``@pytest.mark.rounds(few, share)``: the test runs for seeds 0, 1, …: ``few`` times, or ``share`` of the rounds asked for."""
    mark = metafunc.definition.get_closest_marker("rounds")
    if mark is not None:
        few, share = mark.args
        asked = metafunc.config.getoption(ROUNDS, default=None)  # the option is unknown to a run of all tests
        metafunc.parametrize("seed", range(few if asked is None else max(1, round(asked * share))))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "rounds(few, share): a fault test, run for several seeds")
