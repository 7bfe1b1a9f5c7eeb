"""The job contract, through real processes: exit codes, the one result, log lines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from include.config.files import ROOT
from include.contract import PERMANENT_EXIT, TRANSIENT_EXIT, JobResult, TableResult, write_result
from include.jobs.__main__ import JOBS
from tests.jobs.probe import TABLE


@dataclass(frozen=True)
class Done:
    """How a job ended."""

    code: int
    result: JobResult | None
    lines: list[dict[str, Any]]
    text: str


def run_job(folder: Path, *arguments: str, module: str = "tests.jobs.probe", give_result: bool = True) -> Done:
    """Runs a module as a job."""
    result = folder / "return.json"
    command = [sys.executable, "-m", module, *arguments, *(("--result", str(result)) if give_result else ())]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"time"')]
    found = JobResult.from_json(result.read_text(encoding="utf-8")) if result.exists() else None
    return Done(done.returncode, found, lines, done.stdout + done.stderr)


def test_done(tmp_path: Path) -> None:
    done = run_job(tmp_path)
    assert done.code == 0
    assert done.result == JobResult(tables={TABLE: TableResult(rows=3, bytes=100, snapshot_id=7, run_key="r")}, facts={"what": "done"})
    assert [(line["level"], line["event"]) for line in done.lines] == [("info", "rows: 3")]


def test_a_job_that_is_told_to_end_does_so_however_busy_its_threads_are(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.jobs.probe", "--what", "busy thread", "--result", str(tmp_path / "return.json")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as job:
        assert job.stdout is not None
        while job.stdout.readline() != "up\n":
            assert job.poll() is None
        job.terminate()
        assert job.wait(120) == 128 + signal.SIGTERM


@pytest.mark.parametrize(
    ("what", "code", "message"),
    [
        ("permanent", 64, "permanent failure: the file has no rows"),
        ("config", 64, "permanent failure: a.yml: owner: found nothing; allowed: a team"),
        ("transient", 75, "transient failure: the catalog is restarting"),
    ],
)
def test_failures(what: str, code: int, message: str, tmp_path: Path) -> None:
    done = run_job(tmp_path, "--what", what)
    assert done.code == code
    assert done.result is None
    assert (done.lines[-1]["level"], done.lines[-1]["event"]) == ("error", message)


def test_what_nobody_expected_is_worth_another_try(tmp_path: Path) -> None:
    done = run_job(tmp_path, "--what", "bug")
    assert done.code not in (0, PERMANENT_EXIT)
    assert done.result is None
    assert "ZeroDivisionError: nobody expected this" in done.text


def test_the_codes_are_those_of_the_contract() -> None:
    assert (PERMANENT_EXIT, TRANSIENT_EXIT) == (64, 75)


@pytest.mark.parametrize(
    "arguments",
    [(), ("no-such-job",), ("verify-raw",), ("verify-raw", "--unit", "x", "--job-id", "many"), ("verify-raw", "--colour", "blue"), ("dbt-build",)],
    ids=" ".join,
)
def test_a_wrong_command_line_is_permanent(arguments: tuple[str, ...], tmp_path: Path) -> None:
    done = run_job(tmp_path, *arguments, module="include.jobs", give_result=bool(arguments))
    assert done.code == PERMANENT_EXIT, done.text
    assert done.result is None


def test_a_real_job_with_an_unknown_unit_is_permanent_and_names_the_known(tmp_path: Path) -> None:
    done = run_job(tmp_path, "verify-raw", "--unit", "nowhere", "--job-id", "1", module="include.jobs")
    assert done.code == PERMANENT_EXIT
    assert "mitxonline__app_postgres" in done.lines[-1]["event"]


def test_jobs_do_not_import_airflow() -> None:
    """Importing a job's module, in a process of its own: Airflow would cost seconds and is not in the jobs' images."""
    script = (
        "import importlib, sys\n"
        "from include.jobs.__main__ import JOBS\n"
        "for module in JOBS.values(): importlib.import_module(module)\n"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] == 'airflow'), len(JOBS))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == f"[] {len(JOBS)}"


def test_a_result_survives_its_way_and_is_written_in_one_step(tmp_path: Path) -> None:
    result = JobResult(
        tables={"a.b.c": TableResult(rows=0, seconds=0.5, extra={"airbyte_job_id": 5})}, facts={"models": {"success": 2}}, links={"run_results": "s3://b/k"}
    )
    path = tmp_path / "deeper" / "return.json"
    write_result(path, result)
    assert JobResult.from_json(path.read_text(encoding="utf-8")) == result
    assert os.listdir(path.parent) == ["return.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tables": {}}', '{"tables": {}, "facts": {}, "links": {}, "more": 1}', '{"rows": 3}'])
def test_anything_else_is_no_result(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - JSON's own error is one
        JobResult.from_json(text)
