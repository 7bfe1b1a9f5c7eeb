"""Makes a developer's or a pull request's own schemas: ``python -m include.lake schema create`` as a job."""

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


def run(arguments: argparse.Namespace) -> JobResult:
    """Facts: the schemas. Raises ``PermanentError`` when they may not be made."""
    with told():
        schemas, text = schema.created(arguments)
    log.info(text)
    return JobResult(facts={"schemas": schemas})
