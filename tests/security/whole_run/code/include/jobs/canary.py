"""A job that tells everything it was told."""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys

from include.contract import JobResult, TableResult

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--control``: what is no secret; ``--table``: whose event tells it."""
    parser.add_argument("--control", required=True)
    parser.add_argument("--table", required=True)


def run(arguments: argparse.Namespace) -> JobResult:
    """Everything out, by every way a job has."""
    plan = json.loads(os.environ["CANARY_PLAN"])
    told = [f"[{name}={os.environ[variable]}]" for name, variable in plan["environment"].items()]
    log.info("told %s %s", told, arguments.control)
    print(told, dict(os.environ), flush=True)
    sys.stderr.write("\n".join(told) + "\n")
    try:
        raise ValueError(*told)
    except ValueError:
        log.exception("no")
    result = TableResult(rows=1, extra={"told": " ".join(told) + arguments.control})
    return JobResult(tables={arguments.table: result}, facts={"told": told, "control": arguments.control}, links={"page": told[0]})
