"""Starts programs in process groups of their own, watches them, and ends them with everything they started.

A program is known by its record (``<state>/run/<name>.json``: process id and the time the process began, so that a later process
with the same id is never mistaken for it) and by a mark in its environment, which its descendants inherit. The record finds the
program itself, the mark finds what is left of it, also after its supervisor was killed between start and record.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from include.local.paths import write_private
from include.local.programs import Record, Service, ServiceError, identity_of, tail
from include.local.signals import end_with_parent

MARK = "OL_PLATFORM_PROCESS"


class Processes:
    """The programs of one platform. ``attached`` programs end with this process, however it ends; others stay until :meth:`stop`."""

    def __init__(self, records: Path, logs: Path, mark: str) -> None:
        self._records, self._logs, self._mark = records, logs, mark
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    # --- what runs -------------------------------------------------------------------------------

    def records(self) -> list[Record]:
        """All records, also of programs that ended by themselves, in the order of starting."""
        found = []
        for path in sorted(self._records.glob("*.json")):
            with contextlib.suppress(FileNotFoundError):  # stopped meanwhile
                found.append(Record(**json.loads(path.read_text(encoding="utf-8"))))
        return sorted(found, key=lambda record: (record.stage, record.name))

    def running(self, name: str) -> Record | None:
        """The record of a program that runs, else ``None``."""
        return next((record for record in self.records() if record.name == name and record.alive), None)

    def began(self, name: str) -> float:
        """When a running program was started, in seconds since 1970; infinity when it does not run."""
        record = self.running(name)
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(record.pid).create_time() if record else math.inf
        return math.inf

    def owner(self) -> int | None:
        """The id of another foreground process that looks after some of the programs."""
        return next((record.owner_pid for record in self.records() if record.owned and record.owner_pid != os.getpid()), None)

    def check(self) -> None:
        """Raise ``ServiceError`` for the first program that was started and has ended by itself."""
        for record in self.records():
            if not record.alive:
                child = self._children.get(record.name)
                code = child.poll() if child else None
                how = f"with exit code {code}" if code is not None else "by itself"
                raise ServiceError(f"{record.name} ended {how}; last lines of {record.log}:\n{tail(Path(record.log))}")

    # --- start -----------------------------------------------------------------------------------

    def start(self, service: Service, *, attached: bool) -> Record:
        """Start a program without waiting for it. The same program, when it runs already, is left alone."""
        running = self.running(service.name)
        if running and running.fingerprint == service.fingerprint and not running.orphaned:
            return running
        self.end_leftovers(service.name)
        log = self._logs / f"{service.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists():
            log.replace(log.with_suffix(".previous.log"))
        with log.open("ab") as out:
            child = subprocess.Popen(
                service.command,
                cwd=service.directory,
                env=self._environment(service),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=service.user,
                group=None if service.user is None else _group_of(service.user),
                extra_groups=None if service.user is None else [],
                preexec_fn=end_with_parent(service.stop_signal) if attached else None,  # noqa: PLW1509 - no threads run while programs start
            )
        self._children[service.name] = child
        owner = os.getpid() if attached else 0
        record = Record(
            name=service.name,
            pid=child.pid,
            identity=identity_of(child.pid),
            owner_pid=owner,
            owner_identity=identity_of(owner) if owner else "",
            stop_signal=int(service.stop_signal),
            grace=service.grace,
            stage=service.stage,
            fingerprint=service.fingerprint,
            log=str(log),
        )
        write_private(self._path(service.name), json.dumps(record.__dict__, indent=1))
        return record

    def wait(self, services: Iterable[Service]) -> dict[str, float]:
        """Wait until all are ready; seconds waited for each. Raises ``ServiceError`` when one ends or its deadline passes."""
        begin, seconds = time.monotonic(), {}
        waiting = {service.name: service for service in services}
        while waiting:
            for service in list(waiting.values()):
                passed = time.monotonic() - begin
                if service.ready():
                    seconds[service.name] = passed
                    del waiting[service.name]
                    continue
                log = self._logs / f"{service.name}.log"
                if self.running(service.name) is None:
                    raise ServiceError(f"{service.name} ended while starting; last lines of {log}:\n{tail(log)}")
                if passed > service.deadline:
                    raise ServiceError(f"{service.name} did not answer within {service.deadline:.0f} s; last lines of {log}:\n{tail(log)}")
            if waiting:
                time.sleep(0.1)
        return seconds

    def finish(self, service: Service) -> None:
        """Wait for a program that ends by itself when its work is done. Raises ``ServiceError`` when it fails or its deadline passes."""
        log = self._logs / f"{service.name}.log"
        try:
            code = self._children[service.name].wait(service.deadline)
        except subprocess.TimeoutExpired:
            self.stop([service.name])
            raise ServiceError(f"{service.name} did not end within {service.deadline:.0f} s; last lines of {log}:\n{tail(log)}") from None
        self.end_leftovers(service.name)
        if code:
            raise ServiceError(f"{service.name} ended with exit code {code}; last lines of {log}:\n{tail(log)}")

    # --- stop ------------------------------------------------------------------------------------

    def stop(self, names: Iterable[str] | None = None) -> list[str]:
        """End programs with everything they started, later stages first; what was ended. Works from any process."""
        wanted = None if names is None else set(names)
        records = [record for record in self.records() if wanted is None or record.name in wanted]
        for stage in sorted({record.stage for record in records}, reverse=True):
            self._stop_together([record for record in records if record.stage == stage])
        if wanted is None:
            self._kill(self._marked())
        return [record.name for record in records]

    def end_leftovers(self, name: str | None = None) -> None:
        """End what earlier runs left behind: orphans of a killed supervisor, and marked processes that no record knows."""
        for record in self.records():
            if name in (None, record.name) and (name is not None or record.orphaned or not record.alive):
                self._stop_together([record])
        known = {record.name for record in self.records()}
        for process, service in self._marked().items():
            if (name is None and service not in known) or service == name:
                self._kill({process: service})

    def _stop_together(self, records: list[Record]) -> None:
        for record in records:
            if record.alive:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(record.pid, record.stop_signal)
        for record in records:
            deadline = time.monotonic() + record.grace
            while record.alive and time.monotonic() < deadline:
                self._reap(record.name)
                time.sleep(0.02)
            self._kill(self._group(record))
            self._reap(record.name)
            self._children.pop(record.name, None)
            self._path(record.name).unlink(missing_ok=True)

    def _group(self, record: Record) -> dict[int, str]:
        """The program itself and all that it started: same session, or same mark."""
        found = {pid: name for pid, name in self._marked().items() if name == record.name}
        if identity_of(record.pid) in ("", record.identity):  # else its id, and so its session's, belongs to somebody else by now
            found |= {process.pid: record.name for process in psutil.process_iter() if _session(process.pid) == record.pid}
        return found

    def _kill(self, processes: Mapping[int, str]) -> None:
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while any(identity_of(pid) for pid in processes) and time.monotonic() < deadline:
            for name in set(processes.values()):
                self._reap(name)
            time.sleep(0.01)

    def _reap(self, name: str) -> None:
        if child := self._children.get(name):
            child.poll()

    def _marked(self) -> dict[int, str]:
        """Process id and program's name of every process that carries this platform's mark, this process and its parents excepted."""
        own = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
        found = {}
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                mark = process.environ().get(MARK, "")
                if mark.startswith(f"{self._mark}/") and process.pid not in own and process.status() != psutil.STATUS_ZOMBIE:
                    found[process.pid] = mark.partition("/")[2]
        return found

    def _environment(self, service: Service) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
        # SPT_NOENV: programs that change their title (Airflow's) must not overwrite the environment that shows the mark
        return {**inherited, "SPT_NOENV": "1", "PYTHONUNBUFFERED": "1", **service.environment, MARK: f"{self._mark}/{service.name}"}

    def _path(self, name: str) -> Path:
        return self._records / f"{name}.json"


# bytecode is wanted: without it every start compiles Airflow again; a task's marks and ids are not its children's
_NOT_INHERITED = frozenset({"PYTHONDONTWRITEBYTECODE", "PYTHONSTARTUP", "PYTHONHOME", "MAKEFLAGS", "MAKELEVEL", "MFLAGS"})


def _group_of(user: int) -> int:
    import pwd

    return pwd.getpwuid(user).pw_gid


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return -1
