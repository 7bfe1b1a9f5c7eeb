"""Loads a dump of the forum's MongoDB, in mongodump's layout, into landing objects and the raw tables.

All collections are converted first, on local disk; one that is cut or damaged refuses the whole dump, and nothing of it is written but a line in the
quarantine. Then the objects are put into the landing zone, and each collection's rows are merged into its table under the run key, so a job that is killed
goes on where it was.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from include.config.environments import EnvironmentSettings, current_environment
from include.config.openedx import deployment_id
from include.config.vocabulary import Layer
from include.contract import JobResult, PermanentError, TableResult
from include.jobs.openedx.forum.convert import ConvertedCollection, convert_collection
from include.jobs.openedx.forum.frames import CutFileError
from include.jobs.openedx.forum.landing import put_named, quarantine
from include.jobs.openedx.forum.layout import Collection, Dump, find_dump
from include.jobs.openedx.forum.names import table_suffix
from include.jobs.openedx.forum.tables import load_rows
from include.lake.catalog import open_catalog
from include.lake.names import TableRef, table_in
from include.lake.snapshots import state_of

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    parser.add_argument("--deployment", required=True, type=deployment, help="the word in table names, for example mitxonline")
    parser.add_argument("--source", required=True, help="the dump's prefix, above <database>/<collection>.bson: a local path or a URL (s3://…, gs://…)")
    parser.add_argument("--database", default="", help="which database of the dump; not needed when there is one")
    parser.add_argument("--dumped-at", type=_moment, help="when the dump was taken (ISO 8601 with zone); else dump.json says it, or the newest object's time")
    parser.add_argument("--landing", required=True, help="URL of the landing zone")
    parser.add_argument("--run-key", required=True, help="names this run in every table: a second run under it writes nothing")


def deployment(text: str) -> str:
    """The flag ``--deployment``. Raises ``argparse.ArgumentTypeError`` for what no unit file could be called."""
    try:
        return deployment_id(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"found {text!r}; allowed: a time with its zone; for example: 2026-11-20T06:00:00Z")
    return moment


def run(arguments: argparse.Namespace) -> JobResult:
    """One :class:`TableResult` for each collection. Raises ``PermanentError`` for a dump that is incomplete or damaged."""
    environment = current_environment()
    dump = find_dump(arguments.source, arguments.database, arguments.dumped_at)
    for name in dump.left_out:
        log.info("%s: %s is the server's own or a view; not loaded", dump.url, name)
    with tempfile.TemporaryDirectory(prefix="forum-load-") as folder:
        converted = _convert(dump, arguments, Path(folder))
        landed = {name: _land(name, found, arguments, Path(folder)) for name, found in converted.items()}
        tables = _load(environment, arguments, converted)
    facts: dict[str, Any] = {
        "database": dump.database,
        "dumped_at": dump.taken_at.isoformat(),
        "documents": {name: found.documents - len(found.refused) for name, found in converted.items()},
        "refused": {name: len(found.refused) for name, found in converted.items() if found.refused},
        "repeated": {name: found.repeated for name, found in converted.items() if found.repeated},
        "landed": landed,
        "left_out": list(dump.left_out),
    }
    return JobResult(tables=tables, facts=facts)


def table_of(environment: EnvironmentSettings, deployment: str, collection: str) -> TableRef:
    """The raw table of one collection."""
    return table_in(environment, Layer.RAW, f"raw__{deployment}__openedx__mongodb__forum__{table_suffix(collection)}")


def _convert(dump: Dump, arguments: argparse.Namespace, folder: Path) -> dict[str, ConvertedCollection]:
    converted: dict[str, ConvertedCollection] = {}
    cut: list[CutFileError] = []
    for number, collection in enumerate(dump.collections):
        spool = folder / f"{number:03}"
        spool.mkdir()
        try:
            with dump.open(collection) as stream:
                found = convert_collection(stream, collection.path, spool, dump.taken_at, gzipped=collection.gzipped)
            _check(collection, found)
        except CutFileError as error:
            cut.append(error)
            continue
        converted[collection.name] = found
        log.info("%s: %d documents, %d refused", collection.path, found.documents, len(found.refused))
        if found.repeated:
            log.warning("%s: %d documents have an _id that a later one has too; the last one counts in the table", collection.path, found.repeated)
    if cut:
        lines = [{"source": error.source, "offset": error.offset, "reason": error.reason} for error in cut]
        url = quarantine(arguments.landing, arguments.deployment, lines, folder)
        raise PermanentError(f"{len(cut)} of {len(dump.collections)} collections of {dump.url} are damaged, noted in {url}:\n" + "\n".join(map(str, cut)))
    return converted


def _check(collection: Collection, found: ConvertedCollection) -> None:
    """Compares with what the dump says of itself. Raises ``CutFileError``."""
    record = collection.record
    if record and (record.documents, record.bytes, record.sha256) != (found.documents, found.size, found.sha256):
        told = f"{record.documents} documents, {record.bytes} bytes, SHA-256 {record.sha256}"
        reason = f"found {found.documents} documents, {found.size} bytes, SHA-256 {found.sha256}; allowed, as dump.json says: {told}"
        raise CutFileError(collection.path, found.size, reason)


def _land(name: str, found: ConvertedCollection, arguments: argparse.Namespace, folder: Path) -> list[str]:
    base = f"{arguments.landing.rstrip('/')}/{arguments.deployment}/openedx/processed_data/forum/{table_suffix(name)}"
    landed = [put_named(found.lines, base, ".jsonl.gz")] if found.lines else []
    landed += [put_named(path, base, ".parquet") for path in found.parquet]
    if found.refused:
        landed.append(quarantine(arguments.landing, arguments.deployment, found.refused, folder))
        log.warning("%s: %d documents are in %s", name, len(found.refused), landed[-1])
    return landed


def _load(environment: EnvironmentSettings, arguments: argparse.Namespace, converted: dict[str, ConvertedCollection]) -> dict[str, TableResult]:
    catalog = open_catalog(environment)
    tables: dict[str, TableResult] = {}
    for name, found in converted.items():
        ref = table_of(environment, arguments.deployment, name)
        table, result = load_rows(catalog, ref, found.parquet, arguments.run_key)
        state = state_of(table.refresh())
        extra: dict[str, str | int | float | bool | None] = {
            "added": result.rows,
            "replaced": result.replaced,
            "committed": result.committed,
            "refused": len(found.refused),
        }
        tables[str(ref)] = TableResult(state.rows, state.bytes, state.snapshot_id, run_key=arguments.run_key, extra=extra)
    return tables
