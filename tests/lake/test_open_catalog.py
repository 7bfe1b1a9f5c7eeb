"""Catalogs are found by their names' own variables, and made once however many start at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError

from include.config.environments import read_environment
from include.config.errors import ConfigError
from include.lake.catalog import create_catalog_tables, ensure_schema, ensure_table, open_catalog, turn
from include.lake.names import TableRef

from .conftest import CATALOG, ROWS


@pytest.fixture
def no_variables(monkeypatch: pytest.MonkeyPatch, tmp_path) -> pytest.MonkeyPatch:
    for name in ("URI", "WAREHOUSE", "LOCAL__ROOT", "PY_IO_IMPL", "TYPE"):
        monkeypatch.delenv(f"PYICEBERG_CATALOG__OL_DATA_LAKE_LOCAL__{name}", raising=False)
    monkeypatch.setenv("PYICEBERG_HOME", str(tmp_path))
    return monkeypatch


def test_the_environment_says_what_and_variables_say_where(no_variables: pytest.MonkeyPatch, catalog_properties: dict[str, str]) -> None:
    prefix = "PYICEBERG_CATALOG__OL_DATA_LAKE_LOCAL__"
    no_variables.setenv(prefix + "URI", catalog_properties["uri"])
    no_variables.setenv(prefix + "LOCAL__ROOT", catalog_properties["local.root"])
    catalog = open_catalog(read_environment({}))
    assert catalog.name == CATALOG
    assert catalog.properties["warehouse"] == "local:///warehouse"
    table = ensure_table(catalog, TableRef(CATALOG, "raw", "from_variables"), ROWS)
    assert open_catalog(CATALOG, catalog_properties).load_table(table.name()).location() == table.location()


def test_a_missing_address_names_the_variable(no_variables: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="PYICEBERG_CATALOG__OL_DATA_LAKE_LOCAL__URI"):
        open_catalog(read_environment({}))


def test_glue_is_opened_without_asking_anybody() -> None:
    catalog = open_catalog(read_environment({"OL_ENVIRONMENT": "qa", "OL_IMAGE_TAG": "2026.11.20"}), {"glue.region": "us-east-1"})
    assert type(catalog).__name__ == "GlueCatalog"
    assert catalog.properties["warehouse"].startswith("s3://")


def test_catalog_tables_are_those_of_schema_version_1_however_many_make_them(postgres) -> None:
    with psycopg.connect(postgres.postgres_dsn, autocommit=True) as connection:
        connection.execute("CREATE DATABASE made_at_once")
    address = postgres.postgres.dsn("made_at_once", driver="psycopg2")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(create_catalog_tables, [address] * 16))
    with psycopg.connect(postgres.postgres.dsn("made_at_once")) as connection:
        columns = connection.execute("SELECT column_name FROM information_schema.columns WHERE table_name = 'iceberg_tables'").fetchall()
    assert ("iceberg_type",) in columns
    assert open_catalog("other", {"uri": address}).list_namespaces() == []


def test_a_table_is_made_once_and_never_shares_its_folder(catalog: Catalog) -> None:
    reference = TableRef(CATALOG, "raw", "made_once")
    with ThreadPoolExecutor(4) as pool:
        tables = list(pool.map(lambda _: ensure_table(catalog, reference, ROWS), range(4)))
    assert len({table.location() for table in tables}) == 1
    assert tables[0].location().startswith("local:///warehouse/raw/made_once-")
    catalog.rename_table(reference.identifier, ("raw", "renamed"))
    assert ensure_table(catalog, reference, ROWS).location() != tables[0].location()


def test_a_schema_that_two_make_at_once_is_made_once(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    exists, both = SqlCatalog.namespace_exists, threading.Barrier(2)

    def absent(found: SqlCatalog, name: str) -> bool:
        answer = exists(found, name)
        both.wait(60)  # neither has made it when the other looks
        return answer

    with monkeypatch.context() as patch, ThreadPoolExecutor(2) as pool:
        patch.setattr(SqlCatalog, "namespace_exists", absent)
        list(pool.map(lambda _: ensure_schema(catalog, "made_by_two"), range(2)))
    assert ("made_by_two",) in catalog.list_namespaces()


def test_an_existing_table_keeps_its_columns(catalog: Catalog) -> None:
    reference = TableRef(CATALOG, "raw", "kept")
    ensure_table(catalog, reference, ROWS)
    assert ensure_table(catalog, reference, pa.schema([("other", pa.int32())])).schema().column_names == ROWS.names


def test_what_is_not_there_is_not_invented(catalog: Catalog) -> None:
    with pytest.raises(NoSuchTableError):
        catalog.load_table(("raw", "never_made"))


def test_writers_take_turns(new_table, catalog: Catalog, catalog_properties: dict[str, str]) -> None:
    name = new_table().name()
    order: list[str] = []
    other = open_catalog(CATALOG, catalog_properties)

    def second() -> None:
        with turn(other, name, 30):
            order.append("second")

    with turn(catalog, name, 30):
        waiting = threading.Thread(target=second)
        waiting.start()
        with turn(other, ("raw", "another"), 30):
            order.append("another table does not wait")
        with turn(other, name, 0.2):
            order.append("whoever has waited long enough goes on")
        order.append("first")
    waiting.join(30)
    assert order == ["another table does not wait", "whoever has waited long enough goes on", "first", "second"]
