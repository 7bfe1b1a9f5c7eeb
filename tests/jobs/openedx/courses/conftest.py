"""A catalog of its own for the job's tables, in the session's PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from include.local.platform import Platform
from tests.own_lake import new_lake
from tests.variables import variables

ROUNDS = "--course-rounds"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(ROUNDS, type=int, default=None, help="how often kills and shuffled deliveries of courses are tried (default: once, with few of each)")


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """0 when nothing was asked for; the option is unknown to a run of all tests."""
    return request.config.getoption(ROUNDS, default=None) or 0


@pytest.fixture(scope="module")
def course_lake(postgres: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The lake's folder; the variables that jobs read are set."""
    folder = tmp_path_factory.mktemp("course-lake")
    with variables(new_lake(postgres, folder)):
        yield folder
