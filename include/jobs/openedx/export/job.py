"""Exports one course run from Studio into the landing zone: all steps in one go, or one of them, so that waiting can be somebody else's business."""

from __future__ import annotations

import argparse
import asyncio
from datetime import timedelta
from typing import Any

from include.config.services import openedx_application
from include.contract import JobResult, PermanentError
from include.jobs.openedx.api.client import Client
from include.jobs.openedx.api.lms import Lms
from include.jobs.openedx.api.retries import Patience
from include.jobs.openedx.api.studio import EXPORT, Studio
from include.jobs.openedx.api.tokens import TYPES, Application
from include.jobs.openedx.export.record import ExportRecord, Phase, Records
from include.jobs.openedx.export.steps import LIMIT, Exporter

PATIENCE = Patience(attempts=6, first=0.5, longest=15.0)
MODES = ("run", "start", "poll", "fetch")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    parser.add_argument("--mode", choices=MODES, default="run", help="start: begin or join; poll: look once; fetch: download; run: all of it (default)")
    parser.add_argument("--deployment", required=True, help="the word in keys, for example mitxonline")
    parser.add_argument("--course", required=True, help="the course run's id")
    parser.add_argument("--lms", required=True, help="the LMS's address, where tokens and published versions come from")
    parser.add_argument("--studio", required=True, help="Studio's address")
    parser.add_argument("--authorization", choices=TYPES, default="JWT", help="of access tokens (default: %(default)s)")
    parser.add_argument("--state", required=True, help="folder or URL below which running exports are noted")
    parser.add_argument("--landing", default="", help="the landing zone, needed to fetch; for example s3://ol-data-lake-landing-zone-production")
    parser.add_argument("--run-key", required=True, help="names this export; a repetition under the same key joins it")
    parser.add_argument("--poll-seconds", type=float, default=20.0, help="pause between looks (default: %(default)s)")
    parser.add_argument("--limit-minutes", type=float, default=LIMIT.total_seconds() / 60, help="how long an export may take (default: %(default)s)")


def run(arguments: argparse.Namespace) -> JobResult:
    """The export's record as facts. Raises ``PermanentError`` and ``TransientError`` as the steps do."""
    if arguments.mode in ("run", "fetch") and not arguments.landing:
        raise PermanentError(f"--landing: found nothing; allowed: the landing zone's URL, which --mode {arguments.mode} needs")
    exporter = Exporter(arguments.deployment, Records(arguments.state, arguments.deployment), timedelta(minutes=arguments.limit_minutes))
    record = asyncio.run(_steps(exporter, arguments))
    links = {"archive": record.object} if record.object else {}
    return JobResult(facts=facts_of(record, arguments.studio), links=links)


def facts_of(record: ExportRecord, studio: str) -> dict[str, Any]:
    """What the next task needs to know, be it a trigger that looks at ``poll_url`` or the load of the archive."""
    return {
        "course": record.course_id,
        "published_version": record.published_version,
        "phase": record.phase.value,
        "state": record.state,
        "ended": record.phase in (Phase.SUCCEEDED, Phase.FETCHED),
        "task_id": record.task_id,
        "poll_url": f"{studio.rstrip('/')}{EXPORT}{record.course_id}/?task_id={record.task_id}",
        "starts": record.starts,
        "archive": record.object,
        "archive_sha256": record.sha256,
        "bytes": record.bytes,
        "retrieved_at": record.retrieved_at.isoformat() if record.retrieved_at else None,
    }


async def _steps(exporter: Exporter, arguments: argparse.Namespace) -> ExportRecord:
    application = Application(f"{arguments.lms.rstrip('/')}/oauth2/access_token", *openedx_application(), arguments.authorization)
    async with Client(arguments.lms, application, patience=PATIENCE) as lms, Client(arguments.studio, application, patience=PATIENCE) as client:
        studio = Studio(client)
        if arguments.mode in ("run", "start"):
            record = await exporter.start(Lms(lms), studio, arguments.course, arguments.run_key)
        else:
            record = _begun(exporter, arguments)
        if arguments.mode in ("run", "poll"):
            record = await exporter.look(studio, record)
            while arguments.mode == "run" and record.phase is Phase.RUNNING:
                await asyncio.sleep(arguments.poll_seconds)
                record = await exporter.look(studio, record)
        return await exporter.fetch(record, arguments.landing) if arguments.mode in ("run", "fetch") else record


def _begun(exporter: Exporter, arguments: argparse.Namespace) -> ExportRecord:
    record = exporter.records.read(arguments.course)
    if record is None or record.run_key != arguments.run_key:
        found = "none" if record is None else f"that of run {record.run_key}"
        raise PermanentError(f"{arguments.course}: export: found {found}; allowed: one that run {arguments.run_key} has started")
    if record.phase in (Phase.INTENDED, Phase.ENDED):
        raise PermanentError(
            f"{arguments.course}: found an export that is {record.phase} ({record.reason or 'no answer noted'}); allowed: start it again first"
        )
    return record
