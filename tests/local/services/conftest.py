from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from airbyte_harness import CATALOG, STATE, Service, Shop
from pyiceberg.catalog import Catalog

from include.lake.catalog import create_catalog_tables, open_catalog
from include.local.platform import Platform


@pytest.fixture(scope="session")
def database(postgres: Platform) -> Platform:
    """The session's PostgreSQL with the lake's catalog."""
    with psycopg.connect(postgres.postgres_dsn, autocommit=True) as connection:
        if connection.execute("SELECT FROM pg_database WHERE datname = 'iceberg'").fetchone() is None:
            connection.execute("CREATE DATABASE iceberg")
    create_catalog_tables(postgres.postgres.dsn("iceberg"))
    return postgres


@pytest.fixture(scope="session")
def catalog(database: Platform) -> Catalog:
    properties = {"uri": database.postgres.dsn("iceberg", driver="psycopg2"), "local.root": str(database.paths.lake), "warehouse": "local:///warehouse"}
    return open_catalog(CATALOG, properties)


@pytest.fixture(scope="session")
def service(database: Platform, catalog: Catalog) -> Iterator[Service]:
    with Service.running(database, catalog, state=STATE) as running:
        yield running


@pytest.fixture
def shop(service: Service) -> Iterator[Shop]:
    """A connection of the test's own; no fault and no recorded request is left from another test."""
    service.client.clear()
    yield service.shop()
    service.settle()
