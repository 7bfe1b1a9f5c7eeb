"""Looks at every table's pointer, mends what can be mended, and fails with the list of what somebody must look at."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable
from datetime import UTC, datetime

from include.config.environments import current_environment
from include.config.load import load_pointers_unit
from include.contract import JobResult, PermanentError, TableResult
from include.lake.catalog import open_catalog
from include.lake.names import TableRef
from include.lake.objects import store_of
from include.lake.pointers import Finding, Repair, Rules, repair, scan

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    parser.add_argument("--dry-run", choices=("true", "false"), default="false", nargs="?", const="true", help="say what is wrong and change nothing")


def run(arguments: argparse.Namespace) -> JobResult:
    """One result for each mended table. Raises ``PermanentError`` that names every table which cannot be mended here."""
    environment = current_environment()
    unit = load_pointers_unit()
    catalog = open_catalog(environment)
    store = store_of(catalog)
    rules = Rules(unit.staging_branches, unit.aborted_after, datetime.now(UTC))
    findings = [finding for layer in unit.layers for finding in scan(catalog, store, environment.schema_for(layer), rules)]
    for finding in findings:
        log.warning("%s", finding)
    if arguments.dry_run == "true":
        log.info("%d findings; nothing was changed", len(findings))
        return JobResult(facts={"findings": [str(finding) for finding in findings], "dry_run": True})
    repairs = [repair(catalog, store, schema, table, rules) for schema, table in tables_of(findings)]
    refused = [f"{one.schema}.{one.table}: {one.refused}" for one in repairs if one.refused]
    mended = [one for one in repairs if one.location]
    log.info("%d findings, %d tables mended, %d not", len(findings), len(mended), len(refused))
    if refused:
        raise PermanentError(f"{len(refused)} tables were left as they are:\n" + "\n".join(refused))
    results = {str(TableRef(environment.lake.catalog, one.schema, one.table)): _result(one) for one in mended}
    return JobResult(tables=results, facts={"findings": [str(finding) for finding in findings], "dry_run": False})


def tables_of(findings: Iterable[Finding]) -> list[tuple[str, str]]:
    """The tables that findings speak of, each once."""
    return sorted({(finding.schema, finding.table) for finding in findings})


def _result(one: Repair) -> TableResult:
    return TableResult(extra={"mended": "; ".join(finding.ailment.value for finding in one.mended), "metadata_location": one.location})
