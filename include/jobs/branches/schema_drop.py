"""Removes a developer's own schemas and the tables in them: ``python -m include.lake schema drop`` as a job."""

from __future__ import annotations

import argparse
import logging

from include.contract import JobResult
from include.jobs.branches.failures import told
from include.lake.commands import schema

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    schema.add_suffix(parser)
    schema.add_dry_run(parser)


def run(arguments: argparse.Namespace) -> JobResult:
    """Facts: how much was, or would be, removed. Raises ``PermanentError`` when it may not be."""
    with told():
        removal, text = schema.dropped(arguments)
    log.info(text)
    return JobResult(facts=removal.facts())
