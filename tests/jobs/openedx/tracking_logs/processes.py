"""The job as a process of its own, as pods and the laptop start it, watched from outside."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from include.config.files import ROOT


@dataclass(frozen=True)
class Ended:
    """How a job ended: exit code, its log, the most memory that it and its processes had at once in bytes, and seconds."""

    code: int
    log: str
    memory: int
    seconds: float


def start(result: Path, flags: Sequence[str], variables: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "include.jobs", "tracking-logs", "--result", str(result), *flags]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def watch(process: subprocess.Popen[str], *, every: float = 0.05) -> Ended:
    """Waits for the end and samples memory: each page once, also those that several processes share."""
    begin, most = time.monotonic(), 0
    while process.poll() is None:
        most = max(most, memory_of(process.pid))
        time.sleep(every)
    log, _ = process.communicate()
    return Ended(process.returncode, log, most, time.monotonic() - begin)


def family(pid: int) -> list[psutil.Process]:
    """A process and all below it."""
    try:
        found = psutil.Process(pid)
        return [found, *found.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory_of(pid: int) -> int:
    """Bytes."""
    total = 0
    for process in family(pid):
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
        except (OSError, ProcessLookupError):
            continue
        total += next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)
    return total
