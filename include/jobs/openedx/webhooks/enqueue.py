"""Writes down that MIT Learn is to be told of a course run's new archive. Repeating it with the same run key writes nothing."""

from __future__ import annotations

import argparse
import logging

from include.config.services import outbox_dsn
from include.contract import JobResult
from include.jobs.openedx.webhooks.events import content_files_event
from include.jobs.openedx.webhooks.outbox import Outbox

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    parser.add_argument("--course-id", required=True, help="the course run, for example course-v1:MITxT+6.00x+1T2026")
    parser.add_argument("--content-path", required=True, help="key of its archive below the landing zone, without a leading slash")
    parser.add_argument("--source", required=True, help="the platform by MIT Learn's own name: mitxonline, xpro, mit_edx")
    parser.add_argument("--run-key", required=True, help="names the run that has something to tell, for example its published version")


def run(arguments: argparse.Namespace) -> JobResult:
    """Facts: the event's id, and whether this run of the job wrote it. Raises ``PermanentError`` for values that MIT Learn would not take."""
    event = content_files_event(course_id=arguments.course_id, content_path=arguments.content_path, source=arguments.source, run_key=arguments.run_key)
    with Outbox(outbox_dsn()) as outbox:
        written = outbox.enqueue(event)
    log.info("%s: %s %s", event.lane, "enqueued as" if written else "was enqueued before as", event.id)
    return JobResult(facts={"event_id": str(event.id), "enqueued": written})
