"""The catalog of production, against moto with AWS's optimistic lock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from multiprocessing.context import ForkServerContext

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from include.config.environments import read_environment
from include.lake.catalog import ensure_table, open_catalog
from include.lake.names import TableRef
from include.lake.writes import append_once, merge
from tests.own_lake import process_in

from . import children
from .children import ROWS_PER_BATCH, batch_of
from .conftest import ROWS
from .moto_server import moto

QA = read_environment({"OL_ENVIRONMENT": "qa", "OL_IMAGE_TAG": "2026.11.20"})


@pytest.fixture(scope="module", autouse=True)
def in_qa() -> Iterator[None]:
    """Only QA's own processes may write QA's tables."""
    with process_in("qa"):
        yield


@pytest.fixture(scope="module")
def glue_properties() -> Iterator[dict[str, str]]:
    with moto() as properties:
        yield properties


@pytest.fixture
def glue(glue_properties: dict[str, str]) -> Catalog:
    return open_catalog(QA, glue_properties)


def table_of(catalog: Catalog, name: str) -> Table:
    return ensure_table(catalog, TableRef(QA.lake.catalog, "ol_warehouse_qa_raw", name), ROWS)


def test_keyed_writes_work_as_on_the_laptop(glue: Catalog) -> None:
    table = table_of(glue, "users")
    assert table.location().startswith("s3://lake/warehouse/ol_warehouse_qa_raw/users-")
    assert append_once(table, batch_of(1), "run:1").committed
    assert not append_once(table, batch_of(1), "run:1").committed
    result = merge(table, batch_of(1, rows=60), ["batch", "number"], "run:2")
    assert (result.rows, result.replaced) == (10, 0)
    assert table.scan().count() == 60


def test_concurrent_appends_are_exact(glue: Catalog, glue_properties: dict[str, str], processes: ForkServerContext) -> None:
    table = table_of(glue, "events")
    acknowledged = run_writers(processes, glue_properties, table, writers=3, batches=6)
    table.refresh()
    assert sorted(table.scan().to_arrow().column("batch").unique().to_pylist()) == sorted(acknowledged)
    assert (table.scan().count(), len(acknowledged)) == (18 * ROWS_PER_BATCH, 18)


def run_writers(processes: ForkServerContext, properties: dict[str, str], table: Table, writers: int, batches: int) -> list[int]:
    """The batches that the writers' processes were told are stored."""
    started = []
    for writer in range(writers):
        answers, answer = processes.Pipe(duplex=False)
        arguments = (QA.lake.catalog, properties, table.name(), writer, batches, answer)
        process = processes.Process(target=children.append_many, args=arguments)
        process.start()
        answer.close()
        started.append((process, answers))
    acknowledged = []
    for process, answers in started:
        acknowledged += answers.recv()
        process.join(300)
        assert process.exitcode == 0
    return acknowledged


def commit_late(catalog: GlueCatalog, table: Table, monkeypatch: pytest.MonkeyPatch, between: Callable[[], object]) -> None:
    """Appends with another writer's commit between our look at the table's version and our update of it."""
    update = catalog._update_glue_table

    def late(**arguments: str) -> None:
        monkeypatch.setattr(catalog, "_update_glue_table", update)
        between()
        update(**arguments)

    monkeypatch.setattr(catalog, "_update_glue_table", late)
    table.append(batch_of(1).cast(table.schema().as_arrow()))


def test_the_server_refuses_an_update_of_an_old_version_as_aws_does(
    glue: GlueCatalog, glue_properties: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = table_of(glue, "locked")
    with table.transaction() as change:
        change.set_properties({"commit.retry.num-retries": "0"})
    other = open_catalog(QA, glue_properties).load_table(table.name())
    with pytest.raises(CommitFailedException, match="concurrent update"):
        commit_late(glue, table, monkeypatch, lambda: append_once(other, batch_of(2), "other:1"))
    table.refresh()
    assert table.scan().count() == ROWS_PER_BATCH


def test_without_the_lock_the_server_would_lose_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    with moto("--without-lock") as properties:
        catalog = open_catalog(QA, properties)
        table = table_of(catalog, "unlocked")
        other = open_catalog(QA, properties).load_table(table.name())
        commit_late(catalog, table, monkeypatch, lambda: append_once(other, batch_of(2), "other:1"))
        table.refresh()
        assert table.scan().to_arrow().column("batch").unique().to_pylist() == [1], "the other writer was told its rows are stored; they are gone"


def test_a_conflict_that_was_none(glue: GlueCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's transport repeats a request whose answer was lost; the second one finds the version changed, by itself."""
    table = table_of(glue, "repeated")
    update = glue._update_glue_table

    def twice(**arguments: str) -> None:
        update(**arguments)
        update(**arguments)

    monkeypatch.setattr(glue, "_update_glue_table", twice)
    result = append_once(table, batch_of(1), "run:1")
    monkeypatch.undo()
    table.refresh()
    assert (result.committed, result.snapshot_id) == (True, table.current_snapshot().snapshot_id)
    assert len(table.metadata.snapshots) == 1
    assert table.scan().to_arrow().column("batch").to_pylist() == [1] * ROWS_PER_BATCH
