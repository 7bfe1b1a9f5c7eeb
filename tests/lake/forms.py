"""Both forms of a lake: local files under PostgreSQL's pointers, and S3 under Glue's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from include.lake.catalog import open_catalog
from include.lake.objects import LocalStore, store_of
from include.lake.storage import SCHEME, local_path
from tests.lake.moto_server import moto
from tests.own_lake import process_in

FORMS = ("jdbc", "glue")
ON_EVERY_FORM = pytest.mark.parametrize("form", FORMS, indirect=True, scope="module")
"""For a module whose tests use the fixture ``new_table``."""


@dataclass(frozen=True)
class Form:
    """A catalog's name, everything that a process needs to open it without any variable, and the schema of its tests' tables."""

    name: str
    properties: dict[str, str]
    schema: str

    def open(self) -> Catalog:
        """A catalog of one's own."""
        return open_catalog(self.name, self.properties)


@contextmanager
def form_named(name: str, local: Form) -> Iterator[Form]:
    """One of :data:`FORMS` for the length of a block, in a process that may write it."""
    if name == "jdbc":
        yield local
        return
    with process_in("qa"), moto() as properties:
        yield Form("ol_data_lake_qa", properties, "ol_warehouse_qa_raw")


def files_of(catalog: Catalog, table: Table) -> set[str]:
    """The locations of all files in a table's folder, halves of files included."""
    store = store_of(catalog)
    if isinstance(store, LocalStore):
        paths = local_path(store.root, table.location()).rglob("*")
        return {f"{SCHEME}/{path.relative_to(store.root)}" for path in paths if path.is_file()}
    return {one.location for one in store.list(table.location())}


def data_files(catalog: Catalog, table: Table) -> set[str]:
    """Those of them that hold rows."""
    return {location for location in files_of(catalog, table) if location.endswith(".parquet")}
