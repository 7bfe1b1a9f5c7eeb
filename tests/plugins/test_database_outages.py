"""A round of the scheduler and what the triggerer asks and tells outlive a database that goes in the midst of a statement."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import database_outages
import psycopg
import pytest
from airflow_local_settings import create_metadata_engine
from database_outages import MOST, OF_TRIGGERER, outliving_outages
from sqlalchemy import text
from sqlalchemy.engine import Engine
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from include.config.files import ROOT
from include.local.paths import Paths
from include.local.platform import Platform, running_platform
from tests.backfills import wait_until

OF_SCHEDULER = {"_run_scheduler_loop", "adopt_or_reset_orphaned_tasks", "_process_executor_events"}


class Rounds:
    """Something that asks a database, and keeps what it was called with."""

    def __init__(self, engine: Engine, *statements: str) -> None:
        self.engine, self.statements, self.calls = engine, list(statements), 0

    def ask(self, name: str) -> str:
        self.calls += 1
        with self.engine.connect() as connection:
            connection.execute(text(self.statements.pop(0)))
        return name


@pytest.fixture
def own_postgres(tmp_path: Path) -> Any:
    with running_platform(Paths(state=tmp_path / "state"), ()) as platform:
        yield platform


def engine_of(platform: Platform) -> Engine:
    return create_metadata_engine(platform.postgres.dsn("postgres", driver="psycopg2"), engine_args={"pool_pre_ping": True}, connect_args={})


def sleeping(platform: Platform) -> list[int]:
    """The servers of the statements that sleep."""
    with psycopg.connect(platform.postgres_dsn) as connection:
        return [pid for (pid,) in connection.execute("SELECT pid FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)'")]


def test_a_round_begins_anew_when_its_database_starts_again(own_postgres: Platform) -> None:
    rounds, between = Rounds(engine_of(own_postgres), "SELECT pg_sleep(600)", "SELECT 1"), []
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(outliving_outages(Rounds.ask, between.append), rounds, "done")
        wait_until(lambda: sleeping(own_postgres), 60)
        own_postgres.stop()
        own_postgres.start(attached=True)
        assert answer.result(120) == "done"
    assert (rounds.calls, between) == (2, [rounds])


def test_each_outage_is_outlived(postgres: Platform) -> None:
    rounds = Rounds(engine_of(postgres), *["SELECT pg_sleep(600)"] * 2, "SELECT 1")
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(outliving_outages(Rounds.ask), rounds, "done")
        for _ in range(2):
            wait_until(lambda: sleeping(postgres), 60)
            with psycopg.connect(postgres.postgres_dsn) as connection:
                connection.execute("SELECT pg_terminate_backend(pid, 60000) FROM unnest(%s::int[]) AS pid", (sleeping(postgres),))  # and waits for its end
        assert answer.result(120) == "done"
    assert rounds.calls == 3


def test_an_error_that_always_comes_back_is_raised_in_the_end(postgres: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_outages, "PAUSE", 0.0)
    rounds = Rounds(engine_of(postgres), *["SELECT pg_terminate_backend(pg_backend_pid())"] * (MOST + 3))
    with pytest.raises(OperationalError, match=r"terminating connection|closed the connection"):
        outliving_outages(Rounds.ask)(rounds, "never")
    assert rounds.calls == MOST + 1


def test_an_outage_that_was_caught_on_the_way_is_one(postgres: Platform) -> None:
    """As Airflow's own repetitions do it: the second question to the session tells only that there was an error before."""

    class Careless(Rounds):
        def ask(self, name: str) -> str:
            self.calls += 1
            with Session(self.engine) as session:
                for _ in range(2):
                    with suppress(OperationalError):
                        session.execute(text(self.statements.pop(0)))
            return name

    rounds = Careless(engine_of(postgres), "SELECT pg_terminate_backend(pg_backend_pid())", "SELECT 1", "SELECT 2", "SELECT 3")
    assert outliving_outages(Careless.ask)(rounds, "done") == "done"
    assert rounds.calls == 2


def test_what_comes_before_a_round_that_begins_anew_is_repeated_too(postgres: Platform) -> None:
    rounds, before = Rounds(engine_of(postgres), "SELECT pg_terminate_backend(pg_backend_pid())", "SELECT 1"), []

    def anew(this: Rounds) -> None:
        before.append(this)
        if len(before) == 1:
            with this.engine.connect() as connection:
                connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    assert outliving_outages(Rounds.ask, anew)(rounds, "done") == "done"
    assert len(before) == 2


def test_other_errors_are_raised_at_once(postgres: Platform) -> None:
    wrong = Rounds(engine_of(postgres), "SELECT of_nobody")
    with pytest.raises(ProgrammingError, match="of_nobody"):
        outliving_outages(Rounds.ask)(wrong, "x")
    refused = create_metadata_engine(postgres.postgres.dsn("nobody_made_this", driver="psycopg2"), engine_args={}, connect_args={})
    with pytest.raises(OperationalError, match="does not exist"):
        outliving_outages(Rounds.ask)(Rounds(refused, "SELECT 1"), "x")
    assert wrong.calls == 1


def test_the_scheduler_and_the_triggerer_have_it_and_a_task_does_not(tmp_path: Path) -> None:
    child = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
from airflow.listeners.listener import get_listener_manager  # what a component's job and a task ask for when they start
get_listener_manager()
for name, owner in (("scheduler_job_runner", "SchedulerJobRunner"), ("triggerer_job_runner", "TriggerRunnerSupervisor")):
    module = sys.modules.get(f"airflow.jobs.{name}")
    for method, found in vars(getattr(module, owner, object)).items():
        if getattr(getattr(found, "__code__", None), "co_filename", "").endswith(("database_outages.py", "scheduler_rounds.py")):
            print("patient", method)
"""
    variables = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    modules = {"scheduler": ["airflow.jobs.scheduler_job_runner"], "triggerer": ["airflow.jobs.triggerer_job_runner"], "task": []}
    told = {}
    for process, names in modules.items():
        done = subprocess.run([sys.executable, "-c", child, *names], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        told[process] = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("patient ")}
    assert told == {"scheduler": OF_SCHEDULER, "triggerer": set(OF_TRIGGERER), "task": set()}
