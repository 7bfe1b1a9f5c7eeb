"""Trino's statements on clones in the catalog of QA: none of them takes anything of the base there either."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
import trino
from pyiceberg.catalog import Catalog
from trino.dbapi import Connection

from include.config.environments import current_environment
from include.lake.catalog import ensure_schema
from include.lake.clones.create import create_clone
from include.lake.clones.drop import plan_clone_drop, remove
from include.lake.clones.names import Lake
from include.lake.clones.registry import clones_of
from tests.lake.test_trino_on_glue import connection, glue, properties  # noqa: F401 - fixtures
from tests.lake.test_with_trino import rows

from .tables import PR, clone_name, clone_of, content, new_table, rows_of, seen, tags_of
from .test_with_trino import WRITES, quoted

pytestmark = pytest.mark.lake


@pytest.fixture
def qa(glue: Catalog) -> Iterator[Lake]:  # noqa: F811 - the fixture above
    lake = Lake(current_environment(), glue)
    lake.store.client.create_bucket(Bucket="ol-data-lake-branch")  # where the clones of pull requests lie
    for schema in lake.base_schemas.values():
        ensure_schema(glue, schema)
    yield lake
    for clone in clones_of(lake):
        remove(lake, plan_clone_drop(lake, clone.pull_request))


@pytest.mark.parametrize("written", WRITES)
def test_no_statement_of_trino_takes_files_of_the_base(qa: Lake, connection: Connection, written: str) -> None:  # noqa: F811
    base = new_table(qa, f"orders_{written}")
    create_clone(qa, PR)
    before = seen(qa, base)
    sql = quoted(clone_name(qa, base.name()[1]))
    clone_of(qa, base.name()[1]).append(rows_of(200, 1, "pyiceberg"))
    rows(connection, WRITES[written].format(sql))
    for statement in (f"ALTER TABLE {sql} EXECUTE {what}(retention_threshold => '0s')" for what in ("expire_snapshots", "optimize", "remove_orphan_files")):
        with suppress(trino.exceptions.TrinoQueryError):
            rows(connection, statement.replace("(retention_threshold => '0s')", "") if "optimize" in statement else statement)
        assert seen(qa, base) == before
    rows(connection, f"DROP TABLE {sql}")
    assert seen(qa, base) == before
    assert len(content(base)) == 6
    remove(qa, plan_clone_drop(qa, PR))
    assert (seen(qa, base), tags_of(qa, base)) == (before, {})
