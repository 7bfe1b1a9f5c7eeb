"""Values and charts for the tests of ``helm/``; nothing here needs a cluster but what ``KUBECONFIG`` names."""

from __future__ import annotations

from typing import Any

import pytest

from tests.helm.charts import official_defaults, official_schema


@pytest.fixture(scope="session")
def schema() -> dict[str, Any]:
    """The official chart's schema of values."""
    return official_schema()


@pytest.fixture(scope="session")
def defaults() -> dict[str, Any]:
    """The official chart's default values: the list of what it knows."""
    return official_defaults()
