"""Lists the events that were given up: what was to be told, why it was not, and since when."""

from __future__ import annotations

import argparse
import logging

from include.config.services import outbox_dsn
from include.contract import JobResult, PermanentError
from include.jobs.openedx.webhooks.outbox import Outbox

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    parser.add_argument("--limit", type=int, default=100, help="letters to list, oldest first")
    parser.add_argument("--fail-when-any", action="store_true", help="end as a permanent failure when there are any: red until somebody looks")


def run(arguments: argparse.Namespace) -> JobResult:
    """Facts: the number of dead letters and the oldest of them. Raises ``PermanentError`` with the same, when asked to."""
    with Outbox(outbox_dsn()) as outbox:
        figures, letters = outbox.figures(), outbox.dead_letters(arguments.limit)
    for letter in letters:
        superseded = "; superseded by a later delivery" if letter.superseded else ""
        log.warning("%s %s (%s): %s%s", letter.id, letter.lane, letter.endpoint, letter.reason, superseded)
    if letters and arguments.fail_when_any:
        told = "\n".join(f"{letter.id} {letter.lane}: {letter.reason}" for letter in letters[:20])
        raise PermanentError(f"{figures.dead} dead letters; see docs/howto/replay-a-dead-letter.md:\n{told}")
    return JobResult(facts={"dead_letters": figures.dead, "letters": [letter.told() for letter in letters]})
