"""A job to run in tests, registered beside the real ones: ``python -m tests.jobs.probe <what> --result PATH``.

It goes through the very entry point that real jobs go through; only the list of jobs is another.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from include.config.errors import ConfigError, Problem
from include.contract import JobResult, PermanentError, TableResult, TransientError
from include.jobs import __main__ as entry
from include.jobs.parent import end_on_term

log = logging.getLogger("probe")
TABLE = "ol_data_lake_local.ol_warehouse_local_raw.raw__demo__users"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """``--pids``: where the ids of the job and its grandchild are written once both run."""
    parser.add_argument("--pids", type=Path)
    parser.add_argument("--stubborn", action="store_true", help="ignore TERM, the grandchild too")
    parser.add_argument("--stubborn-child", action="store_true", help="only the grandchild ignores TERM")
    parser.add_argument("--what", default="done")


def run(arguments: argparse.Namespace) -> JobResult:
    """Does what the test asked for."""
    if arguments.pids:
        _wait_with_grandchild(arguments)
    log.info("rows: %d", 3)
    if arguments.what == "permanent":
        raise PermanentError("the file has no rows")
    if arguments.what == "config":
        raise ConfigError((Problem("a.yml", "owner", "nothing", "a team"),))
    if arguments.what == "transient":
        raise TransientError("the catalog is restarting")
    if arguments.what == "bug":
        raise ZeroDivisionError("nobody expected this")
    if arguments.what == "busy thread":
        threading.Thread(target=time.sleep, args=(600,)).start()
        print("up", flush=True)
        time.sleep(600)
    if arguments.what == "silent":
        os._exit(0)
    if arguments.what == "garbage":
        arguments.result.write_text('{"rows": 3}', encoding="utf-8")
        os._exit(0)
    if arguments.what == "noise":
        print("not JSON at all")
        print('{"half": ')
        print('{"level": "warning"}')
        log.warning("beware")
    return JobResult(tables={TABLE: TableResult(rows=3, bytes=100, snapshot_id=7, run_key="r")}, facts={"what": arguments.what})


def _wait_with_grandchild(arguments: argparse.Namespace) -> None:
    """Starts a process of its own and waits for ever."""
    ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
    heed = "import time; print('up', flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", ignore if arguments.stubborn or arguments.stubborn_child else heed], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    if arguments.stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    partial = arguments.pids.with_suffix(".partial")
    partial.write_text(f"{os.getpid()} {child.pid}", encoding="utf-8")
    partial.replace(arguments.pids)
    try:
        while True:
            time.sleep(1)
    finally:
        arguments.pids.with_suffix(".left").touch()


if __name__ == "__main__":
    end_on_term()
    entry.JOBS["probe"] = "tests.jobs.probe"
    sys.exit(entry.main(["probe", *sys.argv[1:]]))
