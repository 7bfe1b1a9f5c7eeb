"""A catalog of its own, and processes that write to it.

It is in the session's PostgreSQL with files on this disk. A module that asks for every form of a lake (``pytestmark = ON_EVERY_FORM``) runs each of its
tests again with Glue's pointers and files on S3, against moto.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from include.config.environments import ROOT
from include.lake.catalog import create_catalog_tables, ensure_table
from include.lake.names import TableRef
from include.local.platform import Platform
from tests.lake.forms import Form, form_named

CATALOG = "ol_data_lake_local"
ROWS = pa.schema([pa.field("batch", pa.int64()), pa.field("number", pa.int64()), pa.field("text", pa.string())])


@pytest.fixture(scope="session")
def local_form(postgres: Platform, tmp_path_factory: pytest.TempPathFactory) -> Form:
    """Local files under PostgreSQL's pointers."""
    with psycopg.connect(postgres.postgres_dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE lake_tests")
    address = postgres.postgres.dsn("lake_tests", driver="psycopg2")
    create_catalog_tables(address)
    return Form(CATALOG, {"uri": address, "local.root": str(tmp_path_factory.mktemp("lake")), "warehouse": "local:///warehouse"}, "raw")


@pytest.fixture(scope="module")
def form(request: pytest.FixtureRequest, local_form: Form) -> Iterator[Form]:
    """The lake of the tests of a module: the local one, or what its parameter says."""
    with form_named(getattr(request, "param", "jdbc"), local_form) as found:
        yield found


@pytest.fixture(scope="module")
def catalog_properties(form: Form) -> dict[str, str]:
    """What opens the catalog once more."""
    return form.properties


@pytest.fixture(scope="module")
def catalog(form: Form) -> Catalog:
    return form.open()


@pytest.fixture
def new_table(catalog: Catalog, form: Form) -> Callable[..., Table]:
    """Makes a table with a name of its own."""

    def make(schema: pa.Schema = ROWS, **options) -> Table:
        return ensure_table(catalog, TableRef(form.name, form.schema, f"t_{secrets.token_hex(6)}"), schema, **options)

    return make


@pytest.fixture
def no_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers do not queue, as beside Trino or on Glue: conflicts happen."""
    monkeypatch.setattr("include.lake.commits.turn", lambda *_: nullcontext())


@pytest.fixture(scope="session")
def processes() -> ForkServerContext:
    """Starts processes in some 10 ms: forks of a process that has imported the lake and nothing else, with no thread and no connection."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["include.lake.catalog", "include.lake.writes", "pyiceberg.catalog.sql", "sqlalchemy.dialects.postgresql.psycopg2"])
    with pytest.MonkeyPatch.context() as patch:  # for the server alone: other tests start programs that must find another tree
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        for name in ("OL_ENVIRONMENT", "OL_IMAGE_TAG"):  # whichever environment's test is the first to ask
            patch.delenv(name, raising=False)
        forkserver.ensure_running()
    return context


def root_of(catalog: Catalog) -> Path:
    return Path(catalog.properties["local.root"])
