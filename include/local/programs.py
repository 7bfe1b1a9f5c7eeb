"""A program of the platform: what is started, the record of one that was, and how to tell it from every other process."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

LOG_LINES = 25


class ServiceError(RuntimeError):
    """A program of the platform did not start, ended by itself or does not answer; the text ends with its last log lines."""


@dataclass(frozen=True)
class Service:
    """A program to run.

    ``environment`` is added to the inherited one. ``ready`` is asked until it says true, for at most ``deadline`` seconds.
    ``stop_signal`` asks the program to end; after ``grace`` seconds its group is killed. ``stage`` orders the stop: higher first.
    ``user`` is a user id for programs that refuse to run as root. ``inputs`` are texts (settings files) that the program reads:
    when they differ from those of a running program, it is started again.
    """

    name: str
    command: tuple[str, ...]
    ready: Callable[[], bool]
    environment: Mapping[str, str] = field(default_factory=dict)
    directory: Path = Path("/")
    deadline: float = 90.0
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 10.0
    stage: int = 1
    user: int | None = None
    inputs: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        """What this program is started with, in one word."""
        text = json.dumps([self.command, sorted(self.environment.items()), self.inputs, str(self.directory)])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Record:
    """A program that was started. ``owner`` is the identity of the foreground process that ends it, empty in the background."""

    name: str
    pid: int
    identity: str
    owner_pid: int
    owner_identity: str
    stop_signal: int
    grace: float
    stage: int
    fingerprint: str
    log: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return _runs(self.pid, self.identity)

    @property
    def owned(self) -> bool:
        """Whether a living foreground process looks after it."""
        return _runs(self.owner_pid, self.owner_identity)

    @property
    def orphaned(self) -> bool:
        """Whether the foreground process that should have ended it is gone."""
        return bool(self.owner_pid) and not self.owned


def _runs(pid: int, identity: str) -> bool:
    """Whether the process with this identity is there. One that had ended before it was recorded has none, and neither has nobody."""
    return bool(identity) and identity_of(pid) == identity


def identity_of(pid: int) -> str:
    """What tells this process from every other that has or had its id: when it began. Empty when there is no such process."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        if sys.platform == "linux":  # clock ticks since boot: unlike a date, not moved by setting the clock
            boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
            ticks = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[19]
            return f"{boot}:{ticks}"
        return str(process.create_time())
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return ""


def tail(path: Path, lines: int = LOG_LINES) -> str:
    """The last lines of a log, indented, for an error message; at most 64 kB are read."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - 65_536))
            text = handle.read().decode(errors="replace")
    except FileNotFoundError:
        return "    (no log)"
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:]) or "    (the log is empty)"
