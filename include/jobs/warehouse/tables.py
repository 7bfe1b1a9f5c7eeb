"""What a build left in the lake: rows, bytes and snapshot of every table it wrote, for the tables' asset events."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from pyiceberg.exceptions import NoSuchTableError

from include.config.environments import EnvironmentSettings
from include.contract import TableResult
from include.jobs.warehouse.progress import ProgressDocument
from include.lake.catalog import open_catalog
from include.lake.manifest import Model
from include.lake.snapshots import state_of

READERS = 4


def table_results(environment: EnvironmentSettings, models: Sequence[Model], document: ProgressDocument, run_key: str) -> dict[str, TableResult]:
    """One entry per model, keyed ``catalog.schema.table``; views have neither bytes nor a snapshot."""
    catalog = open_catalog(environment) if any(model.materialized != "view" for model in models) else None

    def one(model: Model) -> tuple[str, TableResult]:
        state = document.nodes[model.unique_id]
        table = model.table(environment)
        plain = TableResult(rows=state.rows, seconds=state.seconds, run_key=run_key)
        if catalog is None or model.materialized == "view":
            return str(table), plain
        try:
            found = state_of(catalog.load_table(table.identifier))
        except NoSuchTableError:
            return str(table), plain
        return str(table), TableResult(rows=found.rows, bytes=found.bytes, snapshot_id=found.snapshot_id, seconds=state.seconds, run_key=run_key)

    with ThreadPoolExecutor(READERS) as pool:
        return dict(pool.map(one, models))
