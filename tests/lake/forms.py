"""Both forms of a lake: local files under PostgreSQL's pointers, and S3 under Glue's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyiceberg.catalog import Catalog

from include.lake.catalog import open_catalog
from tests.lake.test_glue import moto
from tests.own_lake import process_in

FORMS = ("jdbc", "glue")


def catalog_of(request: pytest.FixtureRequest) -> Iterator[Catalog]:
    """For a fixture with :data:`FORMS` as its parameters: a catalog, in a process that may write it."""
    if request.param == "jdbc":
        yield request.getfixturevalue("catalog")
        return
    with process_in("qa"), moto() as properties:
        yield open_catalog("ol_data_lake_qa", properties)
