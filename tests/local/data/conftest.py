"""A PostgreSQL server of the tests' own, stopped and deleted afterwards."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from include.local.data.generate import generate
from include.local.paths import Paths
from include.local.postgres import Postgres
from include.local.processes import Processes
from tests.local.data.databases import checksums, drop, restore, save


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the server's maintenance database."""
    paths = Paths(state=tmp_path_factory.mktemp("platform"))
    paths.prepare()
    postgres = Postgres(paths)
    processes = Processes(paths.records, paths.logs, paths.identity)
    service = postgres.service(running=False)
    processes.start(service, attached=True)
    try:
        processes.wait([service])
        yield postgres.address.dsn()
    finally:
        processes.stop()
        postgres.remove()


SCALE, SEED = 0.05, 7


@pytest.fixture(scope="session")
def histories(server: str) -> dict[int, dict[str, str]]:
    """Checksums of days 0 and 1, whose databases are saved as ``day0`` and ``day1``."""
    found = {}
    drop(server)
    for day in (0, 1):
        generate(server, scale=SCALE, seed=SEED, day=day)
        found[day] = checksums(server)
        save(server, f"day{day}")
    return found


@pytest.fixture
def day_zero(server: str, histories: dict[int, dict[str, str]]) -> str:
    """The server, with all databases at day 0."""
    restore(server, "day0")
    return server


@pytest.fixture
def day_one(server: str, histories: dict[int, dict[str, str]]) -> str:
    """The server, with all databases at day 1."""
    restore(server, "day1")
    return server
