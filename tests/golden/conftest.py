"""``make golden`` writes the golden files again."""

from __future__ import annotations

import pytest

from tests.golden.render import rendered, write


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write the golden files instead of comparing with them")


@pytest.fixture(scope="session", autouse=True)
def _written(request: pytest.FixtureRequest) -> None:
    """With ``--update-golden`` the files are written before they are compared."""
    if request.config.getoption("--update-golden", default=False):
        write(rendered())
