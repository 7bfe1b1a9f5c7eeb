"""Makes dead letters pending again; the next ``webhook-deliver`` sends them under the same idempotency key, before later events of their course."""

from __future__ import annotations

import argparse
import logging
from uuid import UUID

from include.config.services import outbox_dsn
from include.contract import JobResult, PermanentError
from include.jobs.openedx.webhooks.outbox import Outbox

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--id", type=UUID, action="append", help="a dead letter, see webhook-dead-letters; may be given several times")
    which.add_argument("--all", action="store_true", help="every dead letter that is not superseded")
    parser.add_argument("--even-if-superseded", action="store_true", help="also where a later event was delivered: MIT Learn goes back to the older state")


def run(arguments: argparse.Namespace) -> JobResult:
    """Facts: ids of the replayed letters, and of those left because they are superseded.

    Raises ``PermanentError`` for an id that is no dead letter, and when one that was asked for by its id is superseded.
    """
    with Outbox(outbox_dsn()) as outbox:
        replayed, left = outbox.replay(None if arguments.all else arguments.id, even_if_superseded=arguments.even_if_superseded)
    for letter in replayed:
        log.info("%s %s: pending again", letter.id, letter.lane)
    for letter in left:
        log.warning("%s %s: left, a later event of the course has been delivered", letter.id, letter.lane)
    if left and not arguments.all:
        told = ", ".join(str(letter.id) for letter in left)
        raise PermanentError(f"replay: found {told}, superseded by later deliveries; allowed: others, or --even-if-superseded")
    return JobResult(facts={"replayed": [str(letter.id) for letter in replayed], "superseded": [str(letter.id) for letter in left]})
