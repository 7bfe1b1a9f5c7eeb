"""The observations of course runs as rows: what was seen when, one row for each run and sweep."""

from __future__ import annotations

import pyarrow as pa
from pyiceberg.catalog import Catalog

from include.contract import TableResult
from include.jobs.openedx.sweep.state import Sweep
from include.lake.catalog import ensure_table
from include.lake.names import TableRef
from include.lake.snapshots import state_of
from include.lake.writes import append_once

SCHEMA = pa.schema(
    [
        pa.field("course_id", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # new, changed, unchanged, returned, gone
        pa.field("published_version", pa.string()),  # the newest one known
        pa.field("previous_version", pa.string()),
        pa.field("published_at", pa.timestamp("us", tz="UTC")),
        pa.field("retrieved_at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("run_key", pa.string(), nullable=False),
    ]
)


def table_name(deployment: str) -> str:
    """The raw table of a deployment's observations."""
    return f"raw__{deployment}__openedx__sweep__observations"


def rows_of(sweep: Sweep) -> pa.Table:
    """A sweep's observations, oldest first."""
    ordered = sorted(sweep.observations, key=lambda observation: (observation.at, observation.course_id))
    columns = {
        "course_id": [one.course_id for one in ordered],
        "status": [one.status for one in ordered],
        "published_version": [one.version or None for one in ordered],
        "previous_version": [one.previous or None for one in ordered],
        "published_at": [one.published_at for one in ordered],
        "retrieved_at": [one.at for one in ordered],
        "run_key": [sweep.run_key] * len(ordered),
    }
    return pa.table(columns, schema=SCHEMA)


def append(catalog: Catalog, ref: TableRef, sweep: Sweep) -> TableResult:
    """Adds the observations once, however often a sweep is repeated under its run key; the table as it is afterwards."""
    table = ensure_table(catalog, ref, SCHEMA)
    append_once(table, rows_of(sweep), sweep.run_key)
    table.refresh()
    state = state_of(table)
    return TableResult(rows=state.rows, bytes=state.bytes, snapshot_id=state.snapshot_id, run_key=sweep.run_key, extra={"added": len(sweep.observations)})
