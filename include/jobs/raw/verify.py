"""Checks what a sync left behind: every table of the unit is there, its main branch shows the newest data, its contract columns exist."""

from __future__ import annotations

import argparse
import logging

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from include.config.environments import EnvironmentSettings, current_environment
from include.config.load import load_airbyte_unit
from include.config.units import AirbyteUnit, Stream
from include.config.vocabulary import Layer
from include.contract import JobResult, PermanentError, TableResult
from include.lake.catalog import open_catalog
from include.lake.names import table_in
from include.lake.snapshots import state_of

log = logging.getLogger(__name__)
METADATA_COLUMNS = ("_airbyte_raw_id", "_airbyte_extracted_at", "_airbyte_meta", "_airbyte_generation_id")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    parser.add_argument("--unit", required=True, help="the Airbyte unit whose tables are checked")
    parser.add_argument("--job-id", type=int, required=True, help="Airbyte's job, recorded with every table")


def run(arguments: argparse.Namespace) -> JobResult:
    """One :class:`TableResult` per stream. Raises ``PermanentError`` that lists every table found wanting."""
    environment = current_environment()
    unit = load_airbyte_unit(arguments.unit)
    catalog = open_catalog(environment)
    tables: dict[str, TableResult] = {}
    problems: list[str] = []
    for stream in unit.streams:
        ref = table_in(environment, Layer.RAW, unit.table_of(stream))
        checked = _check(catalog, environment, unit, stream, arguments.job_id)
        if isinstance(checked, str):
            problems.append(f"{ref}: {checked}")
        else:
            tables[str(ref)] = checked
    if problems:
        raise PermanentError(f"{len(problems)} of {len(unit.streams)} tables of {unit.id} are not as agreed:\n" + "\n".join(problems))
    log.info("%s: %d tables, %d rows", unit.id, len(tables), sum(table.rows or 0 for table in tables.values()))
    return JobResult(tables=tables, facts={"job_id": arguments.job_id})


def _check(catalog: Catalog, environment: EnvironmentSettings, unit: AirbyteUnit, stream: Stream, job_id: int) -> TableResult | str:
    ref = table_in(environment, Layer.RAW, unit.table_of(stream))
    try:
        table: Table = catalog.load_table(ref.identifier)
    except NoSuchTableError:
        return "found no table; the sync succeeded without writing it"
    present = {column.name for column in table.schema().fields}
    missing = [column for column in (*stream.columns, *METADATA_COLUMNS) if column not in present]
    if missing:
        return f"found columns {', '.join(sorted(present))}; the contract also names {', '.join(missing)}"
    state = state_of(table)
    if not state.main_is_newest:
        where = f"newer data on {', '.join(state.behind)}" if state.behind else "a newer snapshot that main was taken back from"
        return f"main shows snapshot {state.snapshot_id}, but there is {where}: the sync did not move main forward"
    return TableResult(rows=state.rows, bytes=state.bytes, snapshot_id=state.snapshot_id, run_key=state.run_key or "", extra={"airbyte_job_id": job_id})
