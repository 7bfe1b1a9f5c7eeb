"""What a round of the lane left behind: states and seconds, tables and rows, one report, and whether the reports are right."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, fields
from decimal import Decimal
from typing import Any, TextIO

import trino.dbapi

from include.config.environments import EnvironmentSettings
from include.config.vocabulary import Layer
from include.lake.names import table_in
from include.local.airflow_api import Run
from include.local.data import totals
from include.local.platform import Platform

LAYERS = (Layer.RAW, Layer.STAGING, Layer.INTERMEDIATE, Layer.DIMENSIONAL, Layer.MART, Layer.REPORTING)
REPORTS: dict[str, type] = {
    "enrollment_summary_report": totals.EnrollmentTotals,
    "revenue_summary_report": totals.RevenueTotals,
    "organization_administration_report": totals.OrganizationTotals,
}
SHOWN = "enrollment_summary_report"
READERS = 4


class Lake:
    """Asks Trino."""

    def __init__(self, platform: Platform, settings: EnvironmentSettings) -> None:
        address = platform.trino
        self.settings = settings
        self._connection = trino.dbapi.connect(
            host=address.host, port=address.port, user=address.user, catalog=settings.lake.catalog, http_scheme=address.http_scheme
        )

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        cursor = self._connection.cursor()
        cursor.execute(sql)
        return [tuple(row) for row in cursor.fetchall()]

    def report(self, name: str) -> list[tuple[Any, ...]]:
        """A report's rows, with the columns of its totals class, in order."""
        columns = ", ".join(column.name for column in fields(REPORTS[name]))
        return self.rows(f"SELECT {columns} FROM {table_in(self.settings, Layer.REPORTING, name).sql} ORDER BY {columns}")  # noqa: S608


def rows_by_schema(platform: Platform, settings: EnvironmentSettings) -> dict[str, list[int]]:
    """For each layer's schema the rows of every table, as their snapshots count them: asking Trino for 116 counts takes seconds."""
    from include.lake.catalog import open_catalog  # a second of imports, which nothing before the summary needs
    from include.lake.snapshots import state_of

    catalog = open_catalog(settings, platform.catalog_properties())

    def rows(table: tuple[str, ...]) -> int:
        return state_of(catalog.load_table(table)).rows or 0

    with ThreadPoolExecutor(READERS) as pool:
        return {schema: list(pool.map(rows, catalog.list_tables(schema))) for schema in map(settings.schema_for, LAYERS)}


def differences(platform: Platform, lake: Lake) -> dict[str, tuple[int, list[str]]]:
    """For each report: its number of rows, and how it differs from totals counted in the source databases by other code."""
    found: dict[str, tuple[int, list[str]]] = {}
    for name, expected in source_totals(platform).items():
        actual = lake.report(name)
        wanted = [_plain(astuple(row)) for row in expected]
        missing = sorted(set(wanted) - {_plain(row) for row in actual}, key=repr)
        extra = sorted({_plain(row) for row in actual} - set(wanted), key=repr)
        notes = [f"only in the source: {row}" for row in missing[:3]] + [f"only in the report: {row}" for row in extra[:3]]
        if not notes and len(actual) != len(wanted):
            notes = [f"{len(actual)} rows, expected {len(wanted)}"]
        found[name] = (len(actual), notes)
    return found


def _plain(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Numbers compared by value: 10, 10.00 and Decimal('10.000000000') are the same amount."""
    return tuple(value.normalize() + 0 if isinstance(value, Decimal) else value for value in row)


def source_totals(platform: Platform) -> dict[str, list[Any]]:
    """The expected rows of every report, from the source databases."""
    dsn = platform.postgres_dsn
    return {
        "enrollment_summary_report": list(totals.enrollment_totals(dsn)),
        "revenue_summary_report": list(totals.revenue_totals(dsn)),
        "organization_administration_report": list(totals.organization_totals(dsn)),
    }


def print_summary(platform: Platform, settings: EnvironmentSettings, runs: Sequence[Run], out: TextIO) -> bool:
    """Prints the summary; false when a report differs from its source."""
    lake = Lake(platform, settings)
    out.write("\nDAG runs\n")
    for run in runs:
        out.write(f"  {run.dag_id:<40} {run.state:<8} {run.seconds:6.1f} s\n")
    out.write("\nLake\n")
    for schema, counts in rows_by_schema(platform, settings).items():
        out.write(f"  {schema:<40} {len(counts):3} tables {sum(counts):>12,} rows\n")
    _print_report(lake, out)
    out.write("\nReports checked against the source databases\n")
    right = True
    for name, (rows, notes) in differences(platform, lake).items():
        right = right and not notes
        out.write(f"  {name:<40} {rows:>6} rows  {'equal' if not notes else 'DIFFERENT'}\n")
        out.writelines(f"      {note}\n" for note in notes)
    return right


def _print_report(lake: Lake, out: TextIO) -> None:
    names = [column.name for column in fields(REPORTS[SHOWN])]
    table = table_in(lake.settings, Layer.REPORTING, SHOWN).sql
    rows = lake.rows(f"SELECT {', '.join(names)} FROM {table} ORDER BY enrollment_count DESC, courserun_readable_id LIMIT 5")  # noqa: S608
    cells = [names, *([str(value) for value in row] for row in rows)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(names))]
    out.write(f"\n{SHOWN}, the largest five\n")
    for line in cells:
        out.write("  " + "  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True)) + "\n")
