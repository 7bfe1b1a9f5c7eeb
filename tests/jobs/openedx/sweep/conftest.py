"""The local Open edX, and the lake for jobs that run in this process or as programs: PostgreSQL's catalog and the variables that lead there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyiceberg.catalog import Catalog

from include.config.environments import current_environment
from include.jobs.openedx.export.record import Records
from include.jobs.openedx.export.steps import Exporter
from include.lake.catalog import open_catalog
from include.local.platform import Platform
from tests.openedx_service import QUICK, VARIABLES, Service, running
from tests.own_lake import new_lake
from tests.variables import variables

from .work import Work


@pytest.fixture(scope="module")
def openedx_lake(postgres: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    """A catalog of these tests' own, which jobs find by their environment."""
    with variables(new_lake(postgres, tmp_path_factory.mktemp("lake")) | VARIABLES):
        yield open_catalog(current_environment())


@pytest.fixture(scope="module")
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """Open edX with as many course runs as the module's ``RUNS`` says, or forty."""
    with running(getattr(request.module, "RUNS", 40)) as found:
        yield found


@pytest.fixture
def clean(service: Service) -> Iterator[None]:
    """No fault and no recorded request is left from another test; runs that a test takes away come back."""
    service.clear()
    yield
    service.change(restore=list(service.store._runs))


@pytest.fixture
def course(service: Service) -> Iterator[str]:
    """A run that no other test has exported."""
    service.clear()
    exported = {task["course"] for task in service.exports()}
    yield next(name for name in service.ids if name not in exported)
    service.clear()


@pytest.fixture
def course_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The credentials that jobs read."""
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def work(service: Service, tmp_path: Path) -> Work:
    """Exports with a state and a landing zone of the test's own."""
    return Work(service, tmp_path, Exporter("mitxonline", Records(str(tmp_path / "state"), "mitxonline"), downloads=QUICK))
