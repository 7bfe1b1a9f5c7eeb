"""Parts of tests in which Airflow's own backfill runs on a platform of the test's own, and is killed."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import date

import psutil

from include.local.airflow_api import AirflowApi
from include.local.platform import Platform
from tests.variables import without_platform

STATES = ("queued", "running", "success", "failed")


def ask_for(platform: Platform, dag_id: str, first: date, end: date) -> None:
    """The one command; ``end`` is the day after the last."""
    command = [sys.executable, "-m", "airflow", "backfill", "create", "--dag-id", dag_id, "--from-date", str(first), "--to-date", str(end)]
    done = subprocess.run(
        command, cwd=platform.paths.root, env=without_platform(**platform.environment()), capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def kill(platform: Platform, *programs: str) -> int:
    """Ends programs of the platform with every process below them, as when a machine goes; how many processes were ended."""
    roots = [psutil.Process(record.pid) for record in platform.processes.records() if record.name in programs and record.alive]
    assert len(roots) == len(programs), f"not all of {', '.join(programs)} ran"
    found = [process for root in roots for process in (root, *root.children(recursive=True))]
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):  # what is below a root ends by itself when that is gone
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(roots, timeout=10)
    return len(found)


def states(api: AirflowApi, dag_id: str) -> dict[str, int]:
    """How many of the backfill's runs are in each state."""
    found = {state: api.call("GET", f"/dags/{dag_id}/dagRuns", limit=1, run_type="backfill", state=state)["total_entries"] for state in STATES}
    return {state: number for state, number in found.items() if number}


def wait_until(condition: Callable[[], bool], patience: float, every: float = 1.0) -> None:
    """Looks again and again, for so many seconds at most. Raises ``AssertionError``."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience:.0f} s"
        time.sleep(every)
