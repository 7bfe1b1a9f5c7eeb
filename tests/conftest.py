"""The real platform for tests: started once a session, in a folder of its own, and gone afterwards however the session ends.

``postgres``  PostgreSQL alone (0.6 s)
``lake``      PostgreSQL and Trino; with ``TRINO_HOST`` set, that Trino
``mongodb``   PostgreSQL and MongoDB
``platform``  everything, a running Airflow included

Each gives the same :class:`include.local.platform.Platform`, and sets the variables that clients of its parts read.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from include.local.paths import Paths
from include.local.platform import ALL, Part, Platform


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Python before 3.11.8 cannot show a failure's source while another thread parses code, too (gh-106905): a plain traceback, not the session's end."""
    try:
        return (yield)
    except SystemError:
        item.config.option.tbstyle = "native"
        return pytest.TestReport.from_item_and_call(item, call)


@pytest.fixture(scope="session")
def platform_paths(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Paths]:
    """The folders of the session's platform."""
    paths = Paths(state=tmp_path_factory.mktemp("platform"))
    yield paths
    Platform(paths).clean()


def started(paths: Paths, parts: tuple[Part, ...]) -> Iterator[Platform]:
    """Starts what of the parts does not run, for the rest of the session, and sets its variables for as long as the fixture lives."""
    platform = Platform(paths, parts)
    platform.start(attached=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in platform.environment().items():
            patch.setenv(name, value)
        yield platform
    platform.check()  # a server that died under the tests is a failure of its own


@pytest.fixture(scope="session")
def postgres(platform_paths: Paths) -> Iterator[Platform]:
    """PostgreSQL: ``postgres.postgres_dsn``, or ``postgres.postgres.dsn(database)``."""
    yield from started(platform_paths, ())


@pytest.fixture(scope="session")
def lake(postgres: Platform, platform_paths: Paths) -> Iterator[Platform]:
    """Trino and the catalog: ``lake.trino``; pyiceberg's variables are set."""
    yield from started(platform_paths, ("lake",))


@pytest.fixture(scope="session")
def mongodb(postgres: Platform, platform_paths: Paths) -> Iterator[Platform]:
    """MongoDB: ``mongodb.mongodb_url``."""
    yield from started(platform_paths, ("forum",))


@pytest.fixture(scope="session")
def platform(lake: Platform, platform_paths: Paths) -> Iterator[Platform]:
    """Everything: ``platform.airflow_url``, ``platform.airflow_login``, ``platform.airbyte_url``."""
    yield from started(platform_paths, ALL)
