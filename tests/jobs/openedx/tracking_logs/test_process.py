"""The job in its own process: killed at any moment, fed with what should burst it."""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path

import psutil
import pytest
from isal import igzip

from include.contract import PERMANENT_EXIT, JobResult
from include.jobs.openedx.tracking_logs.workers import Workers
from include.local.data.openedx_awkward import large

from .conftest import DAY, KILLS, MEGABYTES, Deployment, asked, event
from .processes import family, start, watch

MEMORY = 600 << 20
LINES = b"".join(event(number, page="p" * 400) for number in range(2_000))


def test_killed_at_any_moment_and_tried_again(deployment: Deployment, logs_variables: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """``kill -9`` of the job or of one of its processes, then the same run again: each event once, nothing left running."""
    for number in range(4):
        deployment.put(f"2026-03-02-{number}.log.gz", LINES)
        deployment.put(f"2026-03-02-{number}-end.log.gz", event(5_000 + number))
    begin = time.monotonic()
    whole = watch(start(tmp_path / "first.json", deployment.flags("run:first"), logs_variables))
    assert whole.code == 0, whole.log
    seconds = time.monotonic() - begin
    content = deployment.content()
    assert len(content) == 2_004, "four equal files count once"
    dice = random.Random(5)
    for kill in range(asked(request.config, KILLS, 3)):
        deployment.put("2026-03-02-late.log.gz", event(9_000 + kill))
        process = start(tmp_path / "killed.json", deployment.flags(f"run:{kill}"), logs_variables)
        time.sleep(dice.uniform(0.1, 1.1) * seconds)
        members = family(process.pid)
        victim = dice.choice(members) if kill % 3 == 2 and members else process
        with contextlib.suppress(ProcessLookupError):  # one of its processes that has just ended
            os.kill(victim.pid, signal.SIGKILL) if process.poll() is None else None
        process.communicate(timeout=600)
        psutil.wait_procs(members, timeout=120)
        assert [member for member in members if member.is_running() and member.status() != psutil.STATUS_ZOMBIE] == []
        again = watch(start(tmp_path / "again.json", deployment.flags(f"run:{kill}"), logs_variables))
        assert again.code == 0, again.log
        found = deployment.content()
        assert [row for row in found if row["source_object"] != "2026-03-02-late.log.gz"] == content
        assert [row["username"] for row in found if row["source_object"] == "2026-03-02-late.log.gz"] == [f"user_{9_000 + kill}"]
    keys = [snapshot.summary.additional_properties["run-key"] for snapshot in deployment.catalog.load_table(deployment.identifier).snapshots()]
    assert len(keys) == len(set(keys))


@pytest.mark.parametrize("commits", [1, 2, 3])
def test_killed_while_it_takes_in_late_files(deployment: Deployment, logs_variables: dict[str, str], tmp_path: Path, commits: int) -> None:
    """``kill -9`` after the run's own day, after one late day, after all: the next attempt does the rest, and every day is written once."""
    days = [DAY - timedelta(days=number) for number in (3, 2, 1)]
    for day in days:
        deployment.put(f"{day}-a.log.gz", LINES)
        deployment.run(f"run:{day}", day=day)
    untouched = [row for row in deployment.rows() if row["log_day"] == days[1]]
    for day in (days[0], days[2]):
        deployment.put(f"late/{day}-b.log.gz", LINES + event(9_000))
    deployment.put(f"{DAY}-a.log.gz", LINES)
    flags = deployment.flags("run:daily", "--look-back-days", "7")
    process = start(tmp_path / "killed.json", flags, logs_variables)
    while process.poll() is None and deployment.commits < len(days) + commits:
        time.sleep(0.01)
    members = family(process.pid)
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    process.communicate(timeout=600)
    psutil.wait_procs(members, timeout=120)
    again = watch(start(tmp_path / "again.json", flags, logs_variables))
    assert again.code == 0, again.log
    late = JobResult.from_json((tmp_path / "again.json").read_text(encoding="utf-8")).facts["late"]
    assert {day: facts["events"] for day, facts in late.items()} == {str(days[0]): 4_001, str(days[2]): 4_001}
    rows = deployment.rows("log_day", "source_object", "source_offset")
    assert Counter(row["log_day"] for row in rows) == {days[0]: 4_001, days[1]: 2_000, days[2]: 4_001, DAY: 2_000}
    assert len({tuple(row.values()) for row in rows}) == len(rows), "no event twice"
    assert [row for row in deployment.rows() if row["log_day"] == days[1]] == untouched
    assert deployment.commits == len(days) + 3, "the day itself and two days before it, each once"


def test_a_process_that_does_not_answer_holds_up_no_end() -> None:
    """As one does that was killed with the lock of the queue."""
    workers = Workers(2)
    with workers:
        frozen = list(workers._pool._processes)
        for number in frozen:
            os.kill(number, signal.SIGSTOP)
    assert [number for number in frozen if psutil.pid_exists(number)] == []


def write_lines(path: Path, megabytes: int) -> int:
    """A log file of so many MB of text, an event of 10 MB in it; the number of its events."""
    pieces = [b"".join(event(100 * piece + number, page=f"{random.Random(number).getrandbits(4000):x}") for number in range(600)) for piece in range(8)]
    events = 0
    path.parent.mkdir(exist_ok=True)
    with igzip.open(path, "wb", compresslevel=1) as stream:
        for number in range((megabytes << 20) // len(pieces[0])):
            stream.write(pieces[number % len(pieces)])
            events += 600
            if number == 10:
                stream.write(large({"time": f"{DAY}T10:00:00.000000+00:00", "event": {}, "agent": ""}) + b"\n")
                events += 1
    return events


@pytest.mark.parametrize("files", [1, 2])
def test_memory_does_not_grow_with_the_input(
    deployment: Deployment, logs_variables: dict[str, str], tmp_path: Path, files: int, request: pytest.FixtureRequest
) -> None:
    """P5: at most 600 MB, all processes together, whatever the size, also with an event of 10 MB."""
    megabytes = asked(request.config, MEGABYTES, 240)
    events = sum(write_lines(deployment.source / f"2026-03-02-{number}.log.gz", megabytes // files + number) for number in range(files))
    ended = watch(start(tmp_path / "result.json", deployment.flags("run:1"), logs_variables))
    assert ended.code == 0, ended.log
    result = JobResult.from_json((tmp_path / "result.json").read_text(encoding="utf-8"))
    print(f"{megabytes} MB of text in {files} files: {ended.memory / 1e6:.0f} MB of memory, {ended.seconds:.1f} s")
    assert result.facts["events"] == events
    assert ended.memory <= MEMORY


def test_bombs_are_refused_early(deployment: Deployment, logs_variables: dict[str, str], tmp_path: Path) -> None:
    """S-18: 10 GB of zeros, and a line of 1 GB without an end in a plain file, next to a good file: refused, nothing written, in little memory."""
    zeros = igzip.compress(bytes(64 << 20), 3)
    deployment.put("2026-03-02-bomb.log.gz", zeros * 160, packed=False)
    deployment.put("2026-03-02-good.log.gz", event(1))
    line = deployment.put("2026-03-02-line.log", b"")
    with line.open("wb") as stream:
        stream.truncate(1 << 30)
    ended = watch(start(tmp_path / "result.json", deployment.flags("run:1"), logs_variables))
    assert ended.code == PERMANENT_EXIT, ended.log
    assert "2 log files cannot be read" in ended.log
    assert "2026-03-02-bomb.log.gz: inflates to more than 250 times its size" in ended.log
    assert "2026-03-02-line.log: the object ends within a line" in ended.log
    assert deployment.commits == 0
    assert ended.memory < 350 << 20
    print(f"{ended.memory / 1e6:.0f} MB of memory, {ended.seconds:.1f} s")


@pytest.mark.parametrize(
    "flags",
    [("--deployment", "MITx"), ("--deployment", "a;b"), ("--day", "yesterday"), ("--settle", "soon")],
    ids=" ".join,
)
def test_wrong_flags_are_permanent(deployment: Deployment, tmp_path: Path, flags: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", "include.jobs", "tracking-logs", "--result", str(tmp_path / "r"), *deployment.flags("run:1"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == PERMANENT_EXIT
    assert "found" in done.stderr or "invalid" in done.stderr


def test_gz_and_plain_copies_are_not_equal_bytes(deployment: Deployment) -> None:
    """What is compared is the object as it was delivered: a log beside its own packed form is two objects."""
    deployment.put("2026-03-02-a.log", event(1))
    deployment.put("2026-03-02-a.log.gz", gzip.compress(event(1)), packed=False)
    assert deployment.run("run:1").facts["events"] == 2
