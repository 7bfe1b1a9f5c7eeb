"""What a scheduler says of those that ran before it on its host: only that the dead are dead."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest
from airflow.jobs.job import Job
from sqlalchemy import create_engine, update
from sqlalchemy.engine import Engine

from include.config.files import ROOT

# a component's process as far as its job goes; with a word more it forks, as LocalExecutor does, and lives until its input ends
CHILD = """
import os, sys
import airflow.models
from airflow.jobs.job import Job
kind, *forks = sys.argv[1:]
job = Job()
job.job_type = kind
job.prepare_for_execution()
pid = os.fork() if forks else -1
if pid != 0:
    print("job", job.id, pid, flush=True)
sys.stdin.read()
"""
Start = Callable[..., tuple[int, subprocess.Popen[str], int]]
JOBS = Job.__table__


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Engine]:
    """Airflow's table of jobs, empty."""
    engine = create_engine(f"sqlite:///{tmp_path}/airflow.db")
    JOBS.create(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def start(tmp_path: Path, database: Engine) -> Iterator[Start]:
    """Starts a component's process: the job's id, the process, the pid of its fork."""
    (tmp_path / "tmp").mkdir()
    variables = {
        "AIRFLOW_HOME": str(tmp_path),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": str(database.url),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "TMPDIR": str(tmp_path / "tmp"),
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
    }
    with ExitStack() as stack:

        def started(kind: str = "SchedulerJob", *forks: str) -> tuple[int, subprocess.Popen[str], int]:
            command = [sys.executable, "-c", CHILD, kind, *forks]
            child = subprocess.Popen(
                command, cwd=tmp_path, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
            )
            stack.enter_context(child)
            stack.callback(end, child, signal.SIGKILL)
            assert child.stdout
            told = next((line.split() for line in child.stdout if line.startswith("job ")), None)  # after what Airflow logs
            assert told, child.communicate()[1][-2000:]
            return int(told[1]), child, int(told[2])

        yield started


def end(child: subprocess.Popen[str], signum: int) -> None:
    """Ends the process and all that it forked."""
    if child.poll() is None:
        os.killpg(child.pid, signum)
        child.wait()


def states(database: Engine) -> dict[int, str]:
    with database.connect() as connection:
        return {row.id: row.state for row in connection.execute(JOBS.select())}


def test_one_that_was_killed_has_failed_and_one_that_lives_has_not(start: Start, database: Engine) -> None:
    killed, process, _ = start()
    lives, *_ = start()
    assert states(database) == {killed: "running", lives: "running"}
    end(process, signal.SIGKILL)
    third, *_ = start()
    assert states(database) == {killed: "failed", lives: "running", third: "running"}
    fourth, *_ = start()
    assert states(database) == {killed: "failed", lives: "running", third: "running", fourth: "running"}


def test_what_was_not_written_is_said_again(start: Start, database: Engine) -> None:
    """The database may go before the next scheduler's row is kept: the one after it says the same."""
    killed, process, _ = start()
    end(process, signal.SIGKILL)
    _, second, _ = start()
    with database.begin() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == killed).values(state="running"))
    start()
    assert states(database)[killed] == "failed"
    end(second, signal.SIGKILL)


def test_ids_of_a_database_that_was_made_anew_are_others(start: Start, database: Engine) -> None:
    first, process, _ = start()
    end(process, signal.SIGKILL)
    with database.begin() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == first).values(start_date=datetime(2026, 1, 1, tzinfo=UTC)))  # another one with its id
    start()
    assert states(database)[first] == "running"


def test_one_whose_tasks_still_run_has_not_failed(start: Start, database: Engine) -> None:
    killed, process, task = start("SchedulerJob", "forks")
    process.kill()
    process.wait()
    start()
    assert states(database)[killed] == "running"
    pidfd = os.pidfd_open(task)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    wait_for_end(pidfd)
    start()
    assert states(database)[killed] == "failed"


def wait_for_end(pidfd: int) -> None:
    """Waits for a process that is no child."""
    assert select.select([pidfd], [], [], 60)[0]
    os.close(pidfd)


def test_jobs_of_other_hosts_and_other_components_are_left_alone(start: Start, database: Engine) -> None:
    elsewhere, first, _ = start()
    triggerer, second, _ = start("TriggererJob")
    with database.begin() as connection:
        connection.execute(update(JOBS).where(JOBS.c.id == elsewhere).values(hostname="elsewhere"))
    for process in (first, second):
        end(process, signal.SIGKILL)
    own, *_ = start()
    assert states(database) == dict.fromkeys((elsewhere, triggerer, own), "running")


def test_a_host_whose_folder_cannot_be_written_starts_as_ever(start: Start, database: Engine, tmp_path: Path) -> None:
    killed, process, _ = start()
    end(process, signal.SIGKILL)
    (folder,) = (tmp_path / "tmp").glob("airflow-schedulers-*")
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    folder.write_text("in the way", encoding="utf-8")
    own, *_ = start()
    assert states(database) == {killed: "running", own: "running"}
