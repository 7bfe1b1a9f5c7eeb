"""Tables with a past, a run over them, and a look at every file."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from include.config.environments import current_environment, lake_connection
from include.lake.catalog import ensure_schema, ensure_table, open_catalog
from include.lake.maintenance.model import Known, Outcome, Policy
from include.lake.maintenance.run import Lake, Run, Work
from include.lake.maintenance.statements import Action, TrinoEngine
from include.lake.names import TableRef
from include.lake.objects import ObjectStore, store_of
from include.local.platform import Platform
from tests.lake.conftest import ROWS, root_of
from tests.lake.forms import FORMS, Form, form_named

NOW = datetime.now(UTC)
POLICY = Policy(True, timedelta(days=7), timedelta(days=3), 32_000_000, 1000, 1000, 1000, 50)
LATER = NOW + timedelta(days=30)
KILLS, AWAY = "--maintenance-kills", "--store-away-seconds"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(KILLS, type=int, default=None, help="kills of the maintenance job at random moments of its life (default: 6)")
    parser.addoption(AWAY, type=float, default=None, help="seconds for which a store answers 503 in the midst of work (default: 10; the issue: 60)")


@dataclass
class NoEngine:
    """Counts what it is asked for."""

    asked: list[tuple[Action, str]] = field(default_factory=list)

    def run(self, action: Action, table: TableRef, file_size: int = 0) -> None:
        self.asked.append((action, table.table))


@dataclass
class Night:
    """Runs over one schema; ``known`` goes from one to the next as in the DAG."""

    catalog: Catalog
    schema: str
    policy: Policy = POLICY
    engine: NoEngine = field(default_factory=NoEngine)
    store: ObjectStore | None = None
    known: dict[str, Known] = field(default_factory=dict)

    def run(self, now: datetime = LATER, *, dry_run: bool = False, only: str = "") -> Run:
        lake = Lake(self.catalog, self.engine, "ol_warehouse", store=self.store)
        tables = lake.tables([self.schema])
        work = [Work(one, self.policy) for one in tables[self.schema] if only in ("", one.table)]
        found = lake.maintain(tables, work, self.known, now, dry_run=dry_run)
        if not dry_run:
            self.known = dict(found.known)
        return found

    def one(self, table: str, now: datetime = LATER, *, dry_run: bool = False) -> Outcome:
        """The one outcome, without an error."""
        found = self.run(now, dry_run=dry_run, only=table).outcomes
        assert [one.error for one in found] == [""], found
        return found[0]


@pytest.fixture(scope="module", params=FORMS)
def lake_of(request: pytest.FixtureRequest, local_form: Form) -> Iterator[Catalog]:
    """Local files under PostgreSQL's pointers, S3 under Glue's."""
    with form_named(request.param, local_form) as form:
        yield form.open()


@pytest.fixture
def night(lake_of: Catalog) -> Iterator[Night]:
    schema = f"ol_warehouse_{'local' if lake_of.name.endswith('local') else 'qa'}_raw"
    yield Night(lake_of, schema)
    for table in lake_of.list_tables(schema):
        lake_of.drop_table(table)


@pytest.fixture
def trino_night(lake: Platform) -> Iterator[Night]:
    """A schema of its own in the platform's lake, with a real engine."""
    catalog, name = open_catalog(current_environment()), f"tests_{secrets.token_hex(4)}"
    ensure_schema(catalog, name)
    yield Night(catalog, name, engine=TrinoEngine(lake_connection))  # type: ignore[arg-type]
    for table in catalog.list_tables(name):
        catalog.drop_table(table)
    catalog.drop_namespace(name)


@pytest.fixture
def new(night: Night) -> Callable[..., Table]:
    """Makes a table of so many one-row appends."""

    def make(appends: int = 5, schema: str = "", **options) -> Table:
        table = ensure_table(night.catalog, TableRef(night.catalog.name, schema or night.schema, f"t_{secrets.token_hex(4)}"), ROWS, **options)
        for number in range(appends):
            table.append(rows(number))
        return table

    return make


def rows(number: int, count: int = 1) -> pa.Table:
    return pa.table([pa.array([number] * count, pa.int64()), pa.array(range(count), pa.int64()), pa.array([f"row {number}"] * count)], schema=ROWS)


def bytes_of(night: Night) -> dict[str, str]:
    """Every file of the warehouse with a digest of its content."""
    store = night.store or store_of(night.catalog)
    return {one.location: hashlib.sha256(store.read(one.location)).hexdigest() for one in store.list(night.catalog.properties["warehouse"])}


def content(table: Table, snapshot: int | None = None) -> list[int]:
    return sorted(table.scan(snapshot_id=snapshot).to_arrow()["batch"].to_pylist())


def files_of(night: Night, table: Table) -> list[str]:
    return sorted(one.location for one in store_of(night.catalog).list(table.location()))


def with_policy(**changes) -> Policy:
    return replace(POLICY, **changes)


__all__ = ["LATER", "NOW", "POLICY", "Night", "NoEngine", "Path", "bytes_of", "content", "files_of", "root_of", "rows", "with_policy"]
