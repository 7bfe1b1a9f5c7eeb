from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from include.config.environments import current_environment
from include.jobs.openedx.webhooks.outbox import Outbox
from include.local.platform import Platform
from tests.jobs.openedx.webhooks.harness import World
from tests.local.services.learn_harness import Learn, running_learn

DELIVERIES = "--webhook-deliveries"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(DELIVERIES, type=int, default=None, help="events of the webhooks' storm (default: 600; in full: 10000)")


@pytest.fixture(scope="session")
def deliveries(request: pytest.FixtureRequest) -> int:
    """How many events the storm has; the option is unknown to a run of all tests."""
    return int(request.config.getoption(DELIVERIES, default=None) or 600)


@pytest.fixture(scope="session")
def outbox_database(postgres: Platform) -> str:
    """The address of an outbox for this session's tests."""
    with psycopg.connect(postgres.postgres_dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE webhooks_tests")
    dsn = postgres.postgres.dsn("webhooks_tests")
    Outbox(dsn).__exit__(None, None, None)
    return dsn


@pytest.fixture(scope="session")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Learn]:
    with running_learn(tmp_path_factory.mktemp("learn") / "state.sqlite") as learn:
        yield learn


@pytest.fixture
def world(outbox_database: str, receiver: Learn, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An empty outbox and a receiver that has forgotten everything; the jobs' variables name both."""
    receiver.fresh()
    found = World(outbox_database, receiver, monkeypatch)
    found.execute("TRUNCATE webhooks.events, webhooks.lanes")
    monkeypatch.setenv("OL_ENVIRONMENT", "local")
    monkeypatch.setenv("MIT_LEARN_BASE_URL", receiver.url)
    monkeypatch.setenv("WEBHOOK_OUTBOX_DSN", outbox_database)
    found.keys("old")
    current_environment.cache_clear()
    yield found
    current_environment.cache_clear()
