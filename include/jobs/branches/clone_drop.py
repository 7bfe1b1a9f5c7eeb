"""Removes a pull request's clone: ``python -m include.lake clone drop`` as a job."""

from __future__ import annotations

import argparse
import logging

from include.contract import JobResult
from include.jobs.branches.failures import told
from include.lake.commands import clone

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    clone.add_drop_flags(parser)


def run(arguments: argparse.Namespace) -> JobResult:
    """Facts: how much was, or would be, removed. Raises ``PermanentError`` when it may not be."""
    with told():
        removal, text = clone.dropped(arguments)
    log.info(text)
    return JobResult(facts={"pr": arguments.pr, **removal.facts()})
