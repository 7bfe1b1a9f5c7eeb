"""P16: which of 3,500 course runs were published again, at 20 ms an answer, with 1 % of them 5xx and 3 % of the runs changed.

Ours is the job's sweep: the course list, the outlines, what changed, the state read and written. The peer is a sensor of sixteen threads with a blocking
client, which has the course list already; the limit sends the same requests over sixteen plain sockets and looks at nothing but lengths.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from benchmarks.machine import cpu_seconds
from benchmarks.options import Options
from benchmarks.peers.threaded_sensor import Sensor
from benchmarks.results import Case, Goal, Outcome, Series, alternate, seconds_text
from include.config.files import ROOT
from include.jobs.openedx.api.retries import Budget
from include.jobs.openedx.api.tokens import Application
from include.jobs.openedx.sweep import job
from include.jobs.openedx.sweep.state import States, Sweep

COURSES, CHANGED, FAILING, LATENCY, CONCURRENCY, SEED = 3500, 105, 0.01, 0.02, 16, 7
GOAL = Goal(seconds=6.0)
REPEATS = 5
CLIENT = ("benchmark", secrets.token_hex(16))
DEPLOYMENT = "mitxonline"
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


def measure(options: Options) -> Outcome:
    """Ours, the peer and the limit, in turns, against one service in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="ol-bench-") as folder, _service(Path(folder)) as (root, service):
        stage = _Stage(root, Path(folder))
        stage.prepare()
        server = psutil.Process(service.pid)
        before = cpu_seconds([server])[service.pid]
        series = alternate(options.repeats or REPEATS, {"limit": stage.limit, "ours": stage.ours, "peer": stage.peer})
        serving = (cpu_seconds([server])[service.pid] - before) / (3 * len(series["ours"]))
    start = min(_start_of_the_job() for _ in range(3))
    notes = (
        f"{COURSES} runs, {CHANGED} changed, {FAILING:.0%} 5xx",
        f"{COURSES} × 20 ms / {CONCURRENCY} = {COURSES * LATENCY / CONCURRENCY:.1f}s",
        f"CPU of ours {seconds_text(min(stage.cpu['ours']))}, of the peer {seconds_text(min(stage.cpu['peer']))}, of the service {seconds_text(serving)}",
        f"start of the process {seconds_text(start)}",
    )
    details = {"requests": stage.requests, "cpu_seconds": stage.cpu["ours"], "start_of_the_process": start}
    ours = Series(series["ours"], "course list, outlines, changes, state; without the start of the process and the table's commit", details=details)
    peer = Series(series["peer"], "outlines and changes; the course list is known", details={"cpu_seconds": stage.cpu["peer"], "ticks": stage.ticks})
    case = Case(ours, peer, Series(series["limit"], "the outlines over plain sockets, unread"), GOAL, notes=notes)
    inputs = {"courses": COURSES, "changed": CHANGED, "failing": FAILING, "latency_seconds": LATENCY, "concurrency": CONCURRENCY, "seed": SEED}
    return Outcome((case,), inputs)


@dataclass
class _Stage:
    """What the variants share: the service, what was known the day before, and what was found."""

    root: str
    folder: Path
    known: dict[str, str] = field(default_factory=dict)
    state: str = ""
    truth: dict[str, str] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=lambda: {"ours": [], "peer": []})
    requests: list[int] = field(default_factory=list)
    ticks: list[int] = field(default_factory=list)

    @property
    def lms(self) -> str:
        return f"{self.root}/{DEPLOYMENT}/lms"

    def prepare(self) -> None:
        """The day before is known to both sides; then 105 runs are published again, and the service has built every outline once."""
        first = self._sweep("first", "")
        assert len(first.changed) == COURSES
        self.state = States(str(self.folder), DEPLOYMENT).write(first)
        self.known = {course: entry.version for course, entry in first.courses.items()}
        httpx.post(f"{self.root}/_courses/{DEPLOYMENT}", json={"day": 1}, trust_env=False).raise_for_status()
        warm = self._sweep("warm", self.state)
        self.truth = {course: warm.courses[course].version for course in warm.changed}
        assert len(self.truth) == CHANGED, f"changed runs: found {len(self.truth)}, not {CHANGED}"
        rule = {"match": {"path": "*/course_outline/*"}, "count": None, "share": FAILING, "status": 503}
        httpx.post(f"{self.root}/_faults", json=[rule], trust_env=False).raise_for_status()

    def ours(self) -> float:
        begin, cpu = time.perf_counter(), time.process_time()
        sweep = self._sweep(f"run {len(self.requests)}", self.state)
        States(str(self.folder), DEPLOYMENT).write(sweep)
        seconds = time.perf_counter() - begin
        self.cpu["ours"].append(time.process_time() - cpu)
        self.requests.append(sweep.requests)
        assert sweep.counts.observed == COURSES, sweep.counts
        assert {course: sweep.courses[course].version for course in sweep.changed} == self.truth, "ours found other changes"
        return seconds

    def peer(self) -> float:
        sensor = Sensor(self.lms, *CLIENT)
        begin, cpu = time.perf_counter(), time.process_time()
        changed, ticks = sensor.sweep(self.known)
        seconds = time.perf_counter() - begin
        self.cpu["peer"].append(time.process_time() - cpu)
        self.ticks.append(ticks)
        assert changed == self.truth, "the peer found other changes"
        return seconds

    def limit(self) -> float:
        return asyncio.run(_plain_sockets(self.lms, list(self.known), Sensor(self.lms, *CLIENT).session.headers["Authorization"]))

    def _sweep(self, run_key: str, known: str) -> Sweep:
        parser = argparse.ArgumentParser()
        job.add_arguments(parser)
        flags = {"deployment": DEPLOYMENT, "lms": self.lms, "state": self.folder, "run-key": run_key, "concurrency": CONCURRENCY, "max-changed": COURSES}
        arguments = parser.parse_args([f"--{name}={value}" for name, value in flags.items()])
        application = Application(f"{self.lms}/oauth2/access_token", *CLIENT)
        found = States(str(self.folder), DEPLOYMENT).known(known or "{}", datetime.now(UTC))
        return asyncio.run(job.sweep_once(arguments, application, Budget(180.0, 10_000), found))


async def _plain_sockets(lms: str, courses: list[str], authorization: Any) -> float:
    """All outlines over sixteen connections; the seconds."""
    address = urlsplit(lms)
    queue = iter(courses)

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        for course in queue:
            path = f"{address.path}/api/learning_sequences/v1/course_outline/{course}"
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nAuthorization: {authorization}\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            assert length is not None
            await reader.readexactly(int(length[1]))
        writer.close()

    begin = time.perf_counter()
    await asyncio.gather(*(connection() for _ in range(CONCURRENCY)))
    return time.perf_counter() - begin


@contextmanager
def _service(folder: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The local Open edX as a program; its address and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "include.local.services.openedx", "--port", str(port), "--courses", str(COURSES), "--small"]
    command += ["--seed", str(SEED), "--changed", str(CHANGED / COURSES), "--latency", str(LATENCY)]
    environment = {**os.environ, "OPENEDX_CLIENT_ID": CLIENT[0], "OPENEDX_CLIENT_SECRET": CLIENT[1]}
    log = folder / "service.log"
    with log.open("wb") as out, subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out) as service:
        try:
            _wait_for(f"http://127.0.0.1:{port}", service, log)
            yield f"http://127.0.0.1:{port}", service
        finally:
            service.terminate()


def _wait_for(root: str, service: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while service.poll() is None and time.monotonic() < deadline:
        with suppress(httpx.TransportError):
            httpx.get(f"{root}/health", trust_env=False).raise_for_status()
            return
        time.sleep(0.05)
    raise RuntimeError(f"the service did not start:\n{log.read_text(encoding='utf-8')[-3000:]}")


def _start_of_the_job() -> float:
    """Seconds until the job's process has imported what it needs."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "include.jobs", "openedx-sweep", "--help"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin
