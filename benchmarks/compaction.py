"""P10's other half: tables of dbt's with a dozen small files each, and one large table, rewritten by a real Trino.

Ours is the night's run: it looks at the metadata first, and has two statements at work. The peer sends ``OPTIMIZE`` to the same Trino for one table after
the other, as the system this one replaces does. The limit reads the same files and writes one for each table with pyarrow in two processes, and commits
nothing. Equal: every table has the rows it had, in one file. ``OL_P10_DBT_TABLES`` and ``OL_P10_LARGE_FILES`` set the sizes.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from benchmarks.many_tables import COPYABLE, NAMED, multiply
from benchmarks.results import Case, Goal, Series, alternate, timed
from include.config.environments import current_environment, lake_connection
from include.config.load import load_maintenance_unit
from include.config.vocabulary import Layer
from include.lake.catalog import ensure_schema, ensure_table, open_catalog
from include.lake.maintenance.model import Policy
from include.lake.maintenance.run import Lake, Work
from include.lake.maintenance.statements import Action, TrinoEngine
from include.lake.names import TableRef, table_in
from include.lake.storage import local_path
from include.local.paths import Paths
from include.local.platform import running_platform
from tests.variables import variables

TABLES, FILES, ROWS = 63, 12, 1000  # the warehouse has ten times as many
LARGE_FILES, LARGE_ROWS = 48, 500_000
SMALL_TABLES_A_SECOND, BYTES_A_SECOND = 40, 250e6
POLICY = Policy(True, timedelta(days=7), timedelta(days=3), 32_000_000, 8, 1000, 1000, 50)
SEED = 7
TAKERS = (Layer.MART, Layer.DIMENSIONAL, Layer.REPORTING)
"""A schema for each of ours, the peer and the limit, with the same tables."""


@dataclass(frozen=True)
class Group:
    """So many equal tables in every taker's schema: the bytes of one schema's data files, and the rows of one table."""

    catalog: Catalog
    tables: int
    bytes: int
    rows: int

    def names(self, layer: Layer) -> list[TableRef]:
        """A taker's tables."""
        return [table_in(current_environment(), layer, NAMED.format(number)) for number in range(self.tables)]

    def each(self, layer: Layer) -> list[Table]:
        """The same, as they are now."""
        return [self.catalog.load_table(name.identifier) for name in self.names(layer)]

    def drop(self) -> None:
        """Out of the catalog; the files stay until the lake goes."""
        for layer in TAKERS:
            for name in self.names(layer):
                self.catalog.drop_table(name.identifier)


def cases(folder: Path) -> tuple[Case, ...]:
    """Small tables, then the large one."""
    tables, files = int(os.environ.get("OL_P10_DBT_TABLES", TABLES)), int(os.environ.get("OL_P10_LARGE_FILES", LARGE_FILES))
    with running_platform(Paths(state=folder / "platform"), ("lake",)) as platform, variables(platform.environment()):
        catalog = open_catalog(current_environment())
        _take(_group(catalog, 2, FILES, ROWS))  # Trino's first statements are slow
        small = _group(catalog, tables, FILES, ROWS)
        goal = Goal(seconds=tables / SMALL_TABLES_A_SECOND)
        first = _case("dbt", _take(small), goal, f"{tables} tables of {FILES} files and {small.bytes / tables / 1000:.0f} kB", small)
        large = _group(catalog, 1, files, LARGE_ROWS)
        goal = Goal(seconds=large.bytes / BYTES_A_SECOND)
        return first, _case("large", _take(large), goal, f"one table of {files} files and {large.bytes / 1e6:.0f} MB", large)


def _case(name: str, series: dict[str, tuple[float, ...]], goal: Goal, what: str, group: Group) -> Case:
    ours = Series(series["ours"])
    rate = f"{group.tables / ours.median:.1f} tables/s" if group.tables > 1 else f"{group.bytes / ours.median / 1e6:.0f} MB/s"
    peer, limit = Series(series["peer"], "OPTIMIZE, one table after the other"), Series(series["limit"], "the same files by pyarrow, two processes")
    return Case(ours, peer, limit, goal, name, (what, rate))


def _take(group: Group) -> dict[str, tuple[float, ...]]:
    """Seconds of each. Raises ``AssertionError`` when a table has other rows than before, or more than one file."""
    takers = {"limit": _limit, "peer": _peer, "ours": _ours}
    series = alternate(1, {name: timed(partial(taker, group)) for name, taker in takers.items()})
    for layer in TAKERS[:2]:
        for table in group.each(layer):
            found = [task.file.record_count for task in table.scan().plan_files()]
            assert found == [group.rows], f"{table.name()}: files of {found} rows, not one of {group.rows}"
    group.drop()
    return series


def _ours(group: Group) -> None:
    unit = load_maintenance_unit()
    lake = Lake(group.catalog, TrinoEngine(lake_connection, unit.statements_at_once), current_environment().lake.schema_prefix, at_once=unit.at_once)
    tables = lake.tables([current_environment().schema_for(TAKERS[0])])
    found = lake.maintain(tables, [Work(one, POLICY) for some in tables.values() for one in some], {}, datetime.now(UTC))
    if wrong := [one for one in found.outcomes if one.error or "optimise" not in one.done]:
        raise AssertionError(wrong[:3])


def _peer(group: Group) -> None:
    engine = TrinoEngine(lake_connection, 1)
    for name in group.names(TAKERS[1]):
        engine.run(Action.OPTIMIZE, name, POLICY.small_file_bytes)


def _limit(group: Group) -> None:
    root = group.catalog.properties["local.root"]
    folders = [local_path(root, table.location()) / "data" for table in group.each(TAKERS[2])]
    with ProcessPoolExecutor(2) as workers:
        list(workers.map(_rewrite, folders, chunksize=8))


def _rewrite(folder: Path) -> None:
    files = sorted(folder.rglob("*.parquet"))
    with pq.ParquetWriter(folder / "all.parquet", pq.read_schema(files[0]), compression="zstd") as target:
        for file in files:
            target.write_table(pq.read_table(file))


def _group(catalog: Catalog, tables: int, files: int, rows: int) -> Group:
    for layer in TAKERS:
        name = table_in(current_environment(), layer, NAMED.format(0))
        ensure_schema(catalog, name.schema)
        draw = np.random.default_rng(SEED)
        table = ensure_table(catalog, name, _rows(draw, 0, 1).schema, properties=COPYABLE)
        for number in range(files):
            table.append(_rows(draw, number * rows, rows))
        template = local_path(catalog.properties["local.root"], table.location())
        multiply(catalog, name.schema, template, tables)
    size = sum(file.stat().st_size for file in template.rglob("*.parquet"))
    return Group(catalog, tables, tables * size, files * rows)


def _rows(draw: np.random.Generator, first: int, count: int) -> pa.Table:
    """As a fact's: keys, amounts, a time, and words of which there are few."""
    words = np.array([f"status {number}" for number in range(20)])
    columns = {
        "id": pa.array(np.arange(first, first + count)),
        "user_id": pa.array(draw.integers(0, 1 << 40, count)),
        "amount": pa.array(draw.normal(100, 30, count)),
        "at": pa.array(draw.integers(0, 1 << 50, count), pa.timestamp("us")),
        "status": pa.array(words[draw.integers(0, len(words), count)]),
    }
    return pa.table(columns)
