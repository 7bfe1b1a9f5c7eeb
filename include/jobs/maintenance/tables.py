"""Maintains the tables of one group: rewrites small files, expires snapshots, takes away what nobody can reach, joins manifests, analyses."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from include.config.environments import current_environment, lake_connection
from include.config.load import load_maintenance_unit
from include.config.maintenance import Changes, Group, MaintenanceUnit, Rules, Tables
from include.config.vocabulary import Layer
from include.contract import JobResult, PermanentError, TransientError
from include.jobs.maintenance.state import Night, Nights, totals
from include.lake.catalog import open_catalog
from include.lake.maintenance.model import Known, Outcome, Policy, report_text, too_many_failed
from include.lake.maintenance.run import Lake, Work
from include.lake.maintenance.statements import TrinoEngine
from include.lake.manifest import load_warehouse
from include.lake.metadata import Pointer

log = logging.getLogger(__name__)
LISTED = 200
"""Rows of a result's facts at most: those with something done or an error; all stand in the report."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    parser.add_argument("--group", required=True, help="a group of maintenance.yml, for example raw")
    parser.add_argument("--tables", action="append", default=[], metavar="PATTERN", help="only tables whose names match; may be given several times")
    parser.add_argument("--dry-run", choices=("true", "false"), default="false", nargs="?", const="true", help="say what would be done and change nothing")
    parser.add_argument("--state", required=True, help="folder or URL below which reports and what is known are kept")
    parser.add_argument("--known", default="", help="what to go on from: the object of the last run; every table is looked at when empty")
    parser.add_argument("--run-key", required=True, help="names this run")


def run(arguments: argparse.Namespace) -> JobResult:
    """The report's address and its rows. Raises ``TransientError`` or ``PermanentError`` that names the tables when too many failed."""
    environment, unit = current_environment(), load_maintenance_unit()
    group = unit.groups.get(arguments.group)
    if group is None:
        raise PermanentError(f"--group: found {arguments.group!r}; allowed: {', '.join(unit.groups)}")
    lake = Lake(open_catalog(environment), TrinoEngine(lake_connection, unit.statements_at_once), environment.lake.schema_prefix, at_once=unit.at_once)
    layers = {environment.schema_for(layer): layer for layer in group.layers}
    tables = lake.tables(list(layers))
    patterns = [pattern for pattern in arguments.tables if pattern != "*"]
    work = chosen(group, layers, tables, patterns)
    nights = Nights(arguments.state, arguments.group)
    known = nights.known(arguments.known)
    dry_run = arguments.dry_run == "true"
    found = lake.maintain(tables, work, known, datetime.now(UTC), dry_run=dry_run)
    log.info("%s%s\n%s", arguments.group, ", nothing was changed" if dry_run else "", report_text(found.outcomes))
    if found.loose_files:
        log.warning("%d files (%d bytes) lie in no table's folder: left alone", found.loose_files, found.loose_bytes)
    kept = known if dry_run else {**(known if patterns else {}), **found.known}
    try:
        state = nights.write(Night(arguments.group, arguments.run_key, _still_there(kept, tables), found.outcomes))
    except OSError:
        judge(found.outcomes, unit)  # what the tables lacked says more than that the report had no room either
        raise
    if not dry_run:
        old = nights.forget(datetime.now(UTC) - timedelta(days=unit.report_days), keep=state)
        log.info("%d reports were older than %d days", old, unit.report_days)
    judge(found.outcomes, unit)
    return _result(found.outcomes, state, dry_run=dry_run, loose=found.loose_files)


def chosen(group: Group, layers: Mapping[str, Layer], tables: Mapping[str, Sequence[Pointer]], patterns: Sequence[str]) -> list[Work]:
    """The tables to maintain with their rules. Raises ``ConfigError`` for a model whose ``meta`` is wrong, ``PermanentError`` for patterns of no table."""
    own = _models() if group.tables is Tables.DBT else None
    work = []
    for schema, found in tables.items():
        for one in found:
            if (own is not None and (layers[schema], one.table) not in own) or (patterns and not any(fnmatchcase(one.table, pattern) for pattern in patterns)):
                continue
            meta = own[layers[schema], one.table] if own is not None else None
            work.append(Work(one, policy_of(*group.rules_for(layers[schema], one.table, meta))))
    if patterns and not work:
        raise PermanentError(f"--tables: found {', '.join(patterns)}, which match none of {sum(map(len, tables.values()))} tables")
    return work


def _models() -> dict[tuple[Layer, str], Changes | None]:
    return {(model.layer, model.name): model.maintenance_rules() for model in load_warehouse().models if model.is_table}


def policy_of(enabled: bool, rules: Rules) -> Policy:
    """The unit's words as the lake's."""
    return Policy(
        enabled=enabled,
        retention=timedelta(days=rules.retention_days),
        orphan_age=timedelta(days=rules.orphan_days),
        small_file_bytes=round(rules.small_file_mb * 1e6),
        small_files=rules.small_files,
        analyze_after_commits=rules.analyze_after_commits,
        manifests=rules.manifests,
        metadata_files=rules.metadata_files,
    )


def judge(outcomes: Sequence[Outcome], unit: MaintenanceUnit) -> None:
    """Raises when too many tables failed: ``PermanentError`` where no retry can mend any of them."""
    for one in outcomes:
        if one.error:
            log.error("%s: %s", one.name, one.error)
    failed = too_many_failed(outcomes, unit.failure_share)
    if failed:
        names = "\n".join(f"{one.name}: {one.error}" for one in failed)
        kind = PermanentError if all(one.permanent for one in failed) else TransientError
        raise kind(f"{len(failed)} of {len(outcomes)} tables failed, more than {unit.failure_share:.0%}:\n{names}")


def _still_there(known: Mapping[str, Known], tables: Mapping[str, Sequence[Pointer]]) -> dict[str, Known]:
    names = {one.name for found in tables.values() for one in found}
    return {name: entry for name, entry in known.items() if name in names}


def _result(outcomes: tuple[Outcome, ...], state: str, *, dry_run: bool, loose: int) -> JobResult:
    rows = [one.to_json() for one in outcomes if one.done or one.error]
    facts = {"state": state, "dry_run": dry_run, "totals": totals(outcomes), "rows": rows[:LISTED], "rows_left_out": max(0, len(rows) - LISTED)}
    return JobResult(facts={**facts, "files_of_no_table": loose}, links={"report": state})
