"""A job as a child process of its task: its end is the task's, its lines are the task's log, and a kill reaches everything it started."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException

from include.config.files import ROOT
from include.contract import JobResult
from include.local.programs import identity_of
from include.pods import process
from include.pods.job import JobSpec
from include.pods.outcome import JobError
from include.pods.process import ProcessJob
from tests.jobs.probe import TABLE

PATIENCE = 60.0


class Probe(JobSpec):
    """A job that is started as real ones are, from another list of jobs."""

    def command(self, result: str, python: str = "python") -> list[str]:
        return [python, "-m", "tests.jobs.probe", "--result", result, *self.arguments]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[logging.Logger]:
    logger = logging.getLogger("tests.jobs.process")
    logger.propagate = False
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.DEBUG)
    yield logger
    logger.removeHandler(caplog.handler)


def job(log: logging.Logger, *arguments: str) -> ProcessJob:
    return ProcessJob(Probe("probe", arguments, domain="test"), log)


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended but was not waited for by its new parent does not."""
    return bool(identity_of(pid))


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:.0f} s"
        time.sleep(0.02)


def pids_in(path: Path) -> list[int]:
    until(path.exists, "the job says that it runs")
    return [int(pid) for pid in path.read_text(encoding="utf-8").split()]


def test_the_result_is_the_job_s(log: logging.Logger) -> None:
    result = job(log).run()
    assert (result.tables[TABLE].rows, result.facts) == (3, {"what": "done"})


def test_log_lines_keep_their_levels(log: logging.Logger, caplog: pytest.LogCaptureFixture) -> None:
    job(log, "--what", "noise").run()
    found = [(record.levelname, record.getMessage()) for record in caplog.records][1:]
    assert found == [("INFO", "rows: 3"), ("INFO", "not JSON at all"), ("INFO", '{"half": '), ("INFO", '{"level": "warning"}'), ("WARNING", "beware")]


def test_a_permanent_failure_spends_no_retry(log: logging.Logger) -> None:
    with pytest.raises(AirflowFailException, match="probe failed for good: permanent failure: the file has no rows"):
        job(log, "--what", "permanent").run()


def test_a_transient_failure_is_worth_another_try(log: logging.Logger) -> None:
    with pytest.raises(JobError, match="probe ended with exit code 75: transient failure: the catalog is restarting"):
        job(log, "--what", "transient").run()


def test_an_unexpected_end_shows_the_last_lines(log: logging.Logger) -> None:
    with pytest.raises(JobError, match=r"(?s)exit code 1: .*ZeroDivisionError: nobody expected this"):
        job(log, "--what", "bug").run()


def test_a_missing_result_is_worth_another_try(log: logging.Logger) -> None:
    with pytest.raises(JobError, match="ended with exit code 0 but left no result"):
        job(log, "--what", "silent").run()


def test_a_result_that_breaks_the_contract_is_permanent(log: logging.Logger) -> None:
    with pytest.raises(AirflowFailException, match="breaks the job contract"):
        job(log, "--what", "garbage").run()


def started(running: ProcessJob) -> tuple[threading.Thread, list[BaseException | JobResult]]:
    """Runs the job in a thread; the list gets how it ended."""
    ended: list[BaseException | JobResult] = []

    def run() -> None:
        try:
            ended.append(running.run())
        except (JobError, AirflowFailException) as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, ended


@pytest.mark.parametrize("manner", [(), ("--stubborn-child",), ("--stubborn",)], ids=["obedient", "stubborn grandchild", "stubborn job"])
def test_a_kill_reaches_grandchildren(manner: tuple[str, ...], tmp_path: Path, log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "GRACE_SECONDS", 1.0)
    running = job(log, "--pids", str(tmp_path / "pids"), *manner)
    thread, ended = started(running)
    pids = pids_in(tmp_path / "pids")
    assert all(alive(pid) for pid in pids)
    running.kill()
    assert [pid for pid in pids if alive(pid)] == []
    thread.join(PATIENCE)
    assert isinstance(ended[0], JobError), "the task fails, and may be tried again"
    expected = -signal.SIGKILL if "--stubborn" in manner else 128 + signal.SIGTERM
    assert f"exit code {int(expected)}" in str(ended[0])
    assert (tmp_path / "pids.left").exists() == ("--stubborn" not in manner), "an obedient job leaves in order"


def test_killing_what_has_ended_or_never_began_does_nothing(log: logging.Logger) -> None:
    finished = job(log)
    finished.kill()
    finished.run()
    finished.kill()


PARENT = """
import logging, sys
from tests.jobs.test_process import Probe
from include.pods.process import ProcessJob
ProcessJob(Probe("probe", ("--pids", sys.argv[1]), domain="test"), logging.getLogger()).run()
"""


def test_a_job_ends_when_its_task_is_killed(tmp_path: Path) -> None:
    """SIGKILL leaves the task no time to end its job; the next try must not meet it."""
    found = {**os.environ, "PYTHONPATH": str(ROOT / "plugins")}  # Airflow's settings name a module there
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(tmp_path / "pids")], cwd=ROOT, env=found)
    try:
        pids = pids_in(tmp_path / "pids")
    finally:
        parent.kill()
        parent.wait()
    until(lambda: not any(alive(pid) for pid in pids), "the job and what it started end")


def test_a_task_that_gives_up_waiting_ends_its_job(tmp_path: Path, log: logging.Logger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A timeout is an exception inside ``run``."""

    class GivingUpError(Exception):
        pass

    def give_up(*_: Any) -> str:
        pids_in(tmp_path / "pids")
        raise GivingUpError

    running = job(log, "--pids", str(tmp_path / "pids"))
    monkeypatch.setattr(running, "_stream", give_up)
    with pytest.raises(GivingUpError):
        running.run()
    pids = pids_in(tmp_path / "pids")
    until(lambda: not any(alive(pid) for pid in pids), "the job and what it started end")
