"""A catalog of its own for the job's tables, in the session's PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from include.config.environments import current_environment
from include.lake.catalog import create_catalog_tables
from include.local.platform import Platform

ROUNDS = "--course-rounds"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(ROUNDS, type=int, default=None, help="how often kills and shuffled deliveries of courses are tried (default: once, with few of each)")


@pytest.fixture
def rounds(request: pytest.FixtureRequest) -> int:
    """0 when nothing was asked for; the option is unknown to a run of all tests."""
    return request.config.getoption(ROUNDS, default=None) or 0


@pytest.fixture(scope="session")
def course_lake(postgres: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The lake's folder; the variables that jobs read are set."""
    with psycopg.connect(postgres.postgres_dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE course_tests")
    address = postgres.postgres.dsn("course_tests", driver="psycopg2")
    create_catalog_tables(address)
    folder = tmp_path_factory.mktemp("course-lake")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYICEBERG_CATALOG__OL_DATA_LAKE_LOCAL__URI", address)
        patch.setenv("PYICEBERG_CATALOG__OL_DATA_LAKE_LOCAL__LOCAL__ROOT", str(folder))
        current_environment.cache_clear()
        yield folder
    current_environment.cache_clear()
