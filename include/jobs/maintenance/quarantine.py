"""Lists, brings back or purges what maintenance took away. ``purge`` removes what has been in quarantine for as long as the unit says, or ``--days``."""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime

from pyiceberg.catalog import Catalog

from include.config.environments import current_environment
from include.config.load import load_maintenance_unit
from include.contract import JobResult, PermanentError
from include.lake.catalog import open_catalog
from include.lake.maintenance.folders import folder_of
from include.lake.maintenance.quarantine import Quarantined, chosen, purge_date, quarantine_of
from include.lake.metadata import pointer

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    parser.add_argument("action", choices=("list", "restore", "purge"))
    parser.add_argument("--table", default="", help="only files of this table, as schema.table")
    parser.add_argument("--since", type=date.fromisoformat, help="only files taken away on this day or later, for example 2026-11-20")
    shorter = "with purge: files that have been there for so many whole days, not the unit's quarantine_days; 0 are all of them; for a disk that is full"
    parser.add_argument("--days", type=_days, metavar="DAYS", help=shorter)
    parser.add_argument("--dry-run", choices=("true", "false"), default="false", nargs="?", const="true", help="say what would be done and change nothing")


def run(arguments: argparse.Namespace) -> JobResult:
    """Numbers of files and bytes by day. A restored file that is still unreachable goes into quarantine again with the next maintenance."""
    environment, unit = current_environment(), load_maintenance_unit()
    catalog = open_catalog(environment)
    quarantine = quarantine_of(catalog)
    below = _folder(catalog, arguments.table) if arguments.table else ""
    if arguments.action == "restore" and not (arguments.table or arguments.since):
        raise PermanentError("restore: found neither --table nor --since; allowed: at least one of them, for example --table ol_warehouse_local_raw.users")
    if arguments.action != "purge" and arguments.days is not None:
        raise PermanentError(f"{arguments.action}: found --days {arguments.days}; allowed: --days with purge, --since with list and restore")
    days = unit.quarantine_days if arguments.days is None else arguments.days
    before = purge_date(datetime.now(UTC), days) if arguments.action == "purge" and days else None
    files = chosen(quarantine.files(), below=below, since=arguments.since, before=before)
    for day, count in sorted(Counter(one.since for one in files).items()):
        log.info("%s: %d files, %d bytes", day, count, sum(one.size for one in files if one.since == day))
    done = 0
    if arguments.dry_run != "true" and arguments.action != "list":
        done = quarantine.restore(files) if arguments.action == "restore" else quarantine.purge(files)
        log.info("%s: %d of %d files", arguments.action, done, len(files))
    return JobResult(facts={"action": arguments.action, "files": len(files), "bytes": _bytes(files), "done": done})


def _days(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: a number of whole days, 0 or more; for example: 2")
    return int(text)


def _folder(catalog: Catalog, name: str) -> str:
    schema, dot, table = name.partition(".")
    if not dot:
        raise PermanentError(f"--table: found {name!r}; allowed: schema.table")
    return folder_of(pointer(catalog, schema, table))


def _bytes(files: Sequence[Quarantined]) -> int:
    return sum(one.size for one in files)
