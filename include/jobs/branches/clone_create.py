"""Clones the base's tables for a pull request: ``python -m include.lake clone create`` as a job. With ``--select`` it needs the image dbt."""

from __future__ import annotations

import argparse
import logging
from collections import Counter

from include.contract import JobResult
from include.jobs.branches.failures import told
from include.lake.commands import clone

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    clone.add_create_flags(parser)


def run(arguments: argparse.Namespace) -> JobResult:
    """Facts: how many tables were cloned, there before, and skipped. Raises ``PermanentError`` or ``TransientError``."""
    with told():
        done, text = clone.created(arguments)
    log.info(text)
    return JobResult(facts={"pr": arguments.pr, **Counter(one.done.value for one in done)})
