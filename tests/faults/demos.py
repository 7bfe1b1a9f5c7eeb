"""The demo as its user starts it, in a folder of its own, and a hand that ends one of its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from include.config.files import ROOT
from include.local.paths import Paths
from include.local.processes import MARK
from tests.variables import without_platform

SCALE = "0.02"
SERVICES = ("postgres", "trino", "airbyte", "airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
VICTIMS = (*SERVICES, "task", "job", "demo")
TOO_LONG = 900.0  # seconds; a demo that takes longer hangs


@dataclass
class Demo:
    """One run. Nothing of this process's own platform reaches it."""

    state: Path
    log: Path
    child: subprocess.Popen[bytes] | None = None

    def start(self) -> Demo:
        command = [sys.executable, "-m", "include.local", "--state", str(self.state), "demo", "--scale", SCALE]
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(command, cwd=ROOT, env=without_platform(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self.child is not None
        return self.child

    @property
    def text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def finish(self, seconds: float = TOO_LONG) -> int:
        """Waits for the end; the exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"the demo hangs:\n{self.text[-4000:]}") from None

    def wait_for(self, found: Callable[[], object], seconds: float = TOO_LONG) -> bool:
        """Waits until something is found; false when the demo ended before."""
        deadline = time.monotonic() + seconds
        while not found():
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < deadline, self.text[-4000:]
            time.sleep(0.05)
        return True

    # --- its processes ------------------------------------------------------------------------------

    def processes(self) -> list[tuple[str, psutil.Process]]:
        """Every living process of the platform, with the program it belongs to."""
        if not self.state.exists():
            return []
        mark = f"{Paths(state=self.state).identity}/"
        found = []
        for process in psutil.process_iter():
            try:
                value = process.environ().get(MARK, "")
                if value.startswith(mark) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append((value.removeprefix(mark), process))
            except (psutil.Error, OSError):
                continue
        return found

    def victim(self, kind: str) -> psutil.Process | None:
        """A process of a kind that lives at present: a program, a task's process, a job, or the demo itself."""
        if kind == "demo":
            return psutil.Process(self.process.pid) if self.process.poll() is None else None
        for program, process in self.processes():
            try:
                line = " ".join(process.cmdline())
                if kind == "job" and "include.jobs" in line:
                    return process
                if kind == "task" and program == "airflow-scheduler" and any("include.jobs" in " ".join(child.cmdline()) for child in process.children()):
                    return process
                if program == kind and os.getsid(process.pid) == process.pid and "include.jobs" not in line:
                    return process
            except (psutil.Error, OSError):
                continue
        return None

    def kill(self, kind: str) -> str:
        """Ends a process of a kind with kill -9, once there is one; what was ended, or nothing when the demo was faster."""
        if not self.wait_for(lambda: self.victim(kind)):
            return ""
        victim = self.victim(kind)
        if victim is None:  # it has ended by itself in this very moment
            return ""
        line = " ".join(victim.cmdline())[:150]
        victim.send_signal(signal.SIGKILL)
        return f"{kind}: {line}"

    def nothing_left(self, seconds: float = 15.0) -> list[str]:
        """What still runs, after a short while for processes that are about to end."""
        deadline = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return [f"{program}: {process.pid} {' '.join(process.cmdline())[:120]}" for program, process in left if process.is_running()]
