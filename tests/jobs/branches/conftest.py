"""A GitHub on a socket, without pull requests or faults at the start of each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.github_service import Service, running


@pytest.fixture(scope="module")
def server() -> Iterator[Service]:
    with running() as found:
        yield found


@pytest.fixture
def service(server: Service) -> Iterator[Service]:
    yield server
    server.clear()
