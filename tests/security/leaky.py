"""A job that gives away whatever it was told in confidence: ``python -m tests.security.leaky --what printed --result PATH``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings

from include.contract import JobResult, PermanentError, TableResult
from include.jobs import __main__ as entry

log = logging.getLogger("leaky")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--what``: the way out."""
    parser.add_argument("--what", required=True)


def run(arguments: argparse.Namespace) -> JobResult:
    """Tries one way out."""
    told = [value for name, value in os.environ.items() if name.startswith("LEAKY_")]
    if arguments.what == "printed":
        print("\n".join(told), flush=True)
        print(dict(os.environ))
        sys.stderr.write("".join(told))
    if arguments.what == "logged":
        log.warning("connecting with %s", told)
    if arguments.what == "raised":
        try:
            raise KeyError(told[0])
        except KeyError as error:
            raise RuntimeError(f"cannot open {told}") from error
    if arguments.what == "permanent":
        raise PermanentError(f"nobody is called {told}")
    if arguments.what == "by_a_library":
        warnings.warn("\n".join(told), stacklevel=1)
    log.info("reached the end")
    return JobResult(tables={"a.b.c": TableResult(extra={"told": told[0]})}, facts={"told": told}, links={told[1]: "\n".join(told)})


if __name__ == "__main__":
    entry.JOBS["leaky"] = "tests.security.leaky"
    sys.exit(entry.main(["leaky", *sys.argv[1:]]))
