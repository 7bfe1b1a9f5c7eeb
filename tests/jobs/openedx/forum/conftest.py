"""A catalog of its own in the session's PostgreSQL, told to the jobs by the variables that pods have."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from pyiceberg.catalog import Catalog

from include.config.environments import current_environment
from include.contract import JobResult
from include.lake.catalog import open_catalog
from include.local.platform import Platform
from tests.own_lake import new_lake
from tests.variables import variables

ROUNDS = "--forum-rounds"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(ROUNDS, type=int, default=None, help="damaged dumps loaded by the whole job (default: 12)")


@pytest.fixture(scope="module")
def forum_lake(postgres: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """An empty lake for one module of tests."""
    with variables(new_lake(postgres, tmp_path_factory.mktemp("lake"))):
        yield open_catalog(current_environment())


Run = Callable[..., JobResult]


def run_in_process(module: ModuleType, *flags: str) -> JobResult:
    """The job without the two seconds that a process takes to start; its exit codes have tests of their own."""
    parser = ArgumentParser()
    module.add_arguments(parser)
    result: JobResult = module.run(parser.parse_args(flags))
    return result


def tree(folder: Path) -> dict[str, int]:
    """Files below a folder and their sizes."""
    return {str(path.relative_to(folder)): path.stat().st_size for path in folder.rglob("*") if path.is_file()} if folder.exists() else {}
