"""Fetches a course run's detail and structure from the LMS into landing objects and raw tables; a run that is gone leaves nothing and is no failure."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from include.config.environments import current_environment
from include.config.services import openedx_application
from include.contract import JobResult, PermanentError, TableResult, TransientError
from include.jobs.openedx.api.client import Client
from include.jobs.openedx.api.keys import checked
from include.jobs.openedx.api.lms import Lms
from include.jobs.openedx.api.retries import Patience
from include.jobs.openedx.api.tokens import TYPES, Application
from include.jobs.openedx.courses.landing import Landing, lines
from include.jobs.openedx.courses.refusals import MalformedError, Quarantined
from include.jobs.openedx.courses.structure import StructureBlockRow, StructureRow, block_rows, structure_row
from include.jobs.openedx.documents.tables import BLOCKS, STRUCTURE, StructureTables
from include.lake.catalog import open_catalog
from include.lake.commits import CommitConflictError
from include.lake.snapshots import state_of

log = logging.getLogger(__name__)
PATIENCE = Patience(attempts=6, first=0.5, longest=15.0)


@dataclass(frozen=True)
class Documents:
    """What the LMS says of a run, and when it said so (UTC)."""

    detail: dict[str, Any]
    structure: bytes
    retrieved_at: datetime


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    parser.add_argument("--deployment", required=True, help="the word in keys and tables, for example mitxonline")
    parser.add_argument("--course", required=True, help="the course run's id")
    parser.add_argument("--lms", required=True, help="the LMS's address")
    parser.add_argument("--authorization", choices=TYPES, default="JWT", help="of access tokens (default: %(default)s)")
    parser.add_argument("--landing", required=True, help="the landing zone, for example s3://bucket")
    parser.add_argument("--run-key", required=True, help="names the run; with the course and its content the key of every write")


def run(arguments: argparse.Namespace) -> JobResult:
    """One :class:`TableResult` a table, none for a run that is gone. Raises ``PermanentError`` for a structure that is none, having kept the reason."""
    course_id = checked(arguments.course)
    found = asyncio.run(fetch(arguments, course_id))
    if found is None:
        log.warning("%s: the LMS has no such course run any more; nothing was written", course_id)
        return JobResult(facts={"course": course_id, "exists": False})
    landing = Landing(arguments.landing)
    structure, blocks = _rows(landing, arguments, course_id, found)
    links = _land(landing, arguments.deployment, structure, blocks)
    environment = current_environment()
    tables = StructureTables(open_catalog(environment), environment, arguments.deployment)
    try:
        written = tables.write(structure, blocks, arguments.run_key)
    except CommitConflictError as error:
        raise TransientError(str(error)) from error
    results = {}
    for part, name in tables.names.items():
        state = state_of(tables[part].refresh())
        extra: dict[str, str | int | float | bool | None] = {"course_rows": written[part].rows, "committed": written[part].committed}
        results[str(name)] = TableResult(rows=state.rows, bytes=state.bytes, snapshot_id=state.snapshot_id, run_key=arguments.run_key, extra=extra)
    facts = {"course": course_id, "exists": True, "content_hash": structure.content_hash, "blocks": len(blocks), "title": found.detail.get("name")}
    return JobResult(tables=results, facts=facts, links=links)


async def fetch(arguments: argparse.Namespace, course_id: str) -> Documents | None:
    """Both documents; nothing when one of them is not there (HTTP 404)."""
    application = Application(f"{arguments.lms.rstrip('/')}/oauth2/access_token", *openedx_application(), arguments.authorization)
    async with Client(arguments.lms, application, patience=PATIENCE) as client:
        lms = Lms(client)
        detail = await lms.detail(course_id)
        if detail is None:
            return None
        at = datetime.now(UTC)
        structure = await lms.structure(course_id)
        return None if structure is None else Documents(detail, structure, at)


def _rows(landing: Landing, arguments: argparse.Namespace, course_id: str, found: Documents) -> tuple[StructureRow, list[StructureBlockRow]]:
    document, moment = orjson.loads(found.structure), found.retrieved_at.isoformat()
    try:
        return structure_row(course_id, document, moment), block_rows(course_id, document, moment)
    except MalformedError as error:
        source = f"{arguments.lms.rstrip('/')}/api/course-structure/v0/{course_id}/"
        content = lines([Quarantined(source, "", 0, error.reason, error.found)])
        key = f"{arguments.deployment}/openedx/quarantine/course_structure/{course_id}/{hashlib.sha256(content).hexdigest()}.jsonl"
        landing.put_once(key, content)
        raise PermanentError(f"{source}: {error}; kept at {landing.address(key)}") from error


def _land(landing: Landing, deployment: str, structure: StructureRow, blocks: list[StructureBlockRow]) -> dict[str, str]:
    """The rows as JSON lines under the hash of the document, written once; their addresses."""
    addresses = {}
    for name, content in ((STRUCTURE, lines([structure])), (BLOCKS, lines(blocks))):
        key = f"{deployment}/openedx/processed_data/{name}/{structure.course_id}/{structure.content_hash}.json"
        landing.put_once(key, content)
        addresses[name] = landing.address(key)
    return addresses
