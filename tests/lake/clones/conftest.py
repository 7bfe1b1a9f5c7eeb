"""Bases to clone: one beside the session's Trino under a schema prefix of its own, and lakes of a test's own with pyiceberg alone."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import trino
from trino.dbapi import Connection

from include.config.environments import current_environment
from include.lake.catalog import open_catalog
from include.lake.clones.drop import plan_clone_drop, remove
from include.lake.clones.names import Lake
from include.lake.clones.registry import clones_of
from include.local.platform import Platform
from tests.own_lake import new_lake
from tests.variables import variables

SEQUENCES = "--clone-sequences"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(SEQUENCES, type=int, default=None, help="random sequences over a base and its clones (default: 20; the issue: 1000)")


@pytest.fixture
def beside_trino(lake: Platform) -> Iterator[Lake]:
    """The catalog that Trino has; the base's schemas begin with a word of the test's own."""
    environment = current_environment()
    own = environment.lake.model_copy(update={"schema_prefix": f"clones_{secrets.token_hex(4)}"})
    here = Lake(environment.model_copy(update={"lake": own}), open_catalog(environment))
    yield here
    for clone in clones_of(here):
        remove(here, plan_clone_drop(here, clone.pull_request))
    for schema in here.base_schemas.values():
        if (schema,) in here.catalog.list_namespaces():
            for table in here.catalog.list_tables(schema):
                here.catalog.drop_table(table)
            here.catalog.drop_namespace(schema)


@pytest.fixture
def connection(lake: Platform) -> Iterator[Connection]:
    address = lake.trino
    with trino.dbapi.connect(host=address.host, port=address.port, user=address.user, catalog=address.catalog, http_scheme=address.http_scheme) as opened:
        yield opened


@pytest.fixture
def own_variables(postgres: Platform, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A lake of the test's own, set for it and for the programs that it starts."""
    with variables(found := new_lake(postgres, tmp_path / "lake")):
        yield found


@pytest.fixture
def own(own_variables: dict[str, str]) -> Lake:
    return Lake.of(current_environment())
