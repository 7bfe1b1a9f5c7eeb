"""The sweep and the other jobs by their command line, against a lake of their own and a GitHub on a socket."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from include.config.environments import current_environment
from include.config.errors import ConfigError
from include.config.files import ROOT
from include.config.load import load_branches_unit
from include.contract import PERMANENT_EXIT, JobResult, PermanentError, TransientError
from include.jobs.branches import sweep as sweep_job
from include.jobs.branches.sweep import decide
from include.lake.clones.create import create_clone, make_schemas
from include.lake.clones.names import CREATED_AT, Lake
from include.lake.clones.registry import Clone, clones_of
from include.local.platform import Platform
from tests.github_service import Service
from tests.lake.clones.tables import base_of, clone_of, content, new_table, rows_of, seen, tags_of
from tests.own_lake import new_lake
from tests.variables import variables

NOW = datetime(2026, 11, 27, tzinfo=UTC)
REPOSITORY = load_branches_unit().repository


@pytest.fixture
def own(postgres: Platform, tmp_path: Path, service: Service) -> Iterator[Lake]:
    with variables(new_lake(postgres, tmp_path / "lake") | service.variables):
        lake = Lake.of(current_environment())
        new_table(lake, "orders")
        yield lake


def job(name: str, folder: Path, *arguments: str) -> tuple[int, JobResult | None, str]:
    result = folder / "result.json"
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "include.jobs", name, "--result", str(result), *arguments]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False, timeout=120)
    text = "\n".join(json.loads(line)["event"] if line.startswith("{") else line for line in (done.stdout + done.stderr).splitlines())
    return done.returncode, JobResult.from_json(result.read_text()) if result.exists() else None, text


def sweep(service: Service, folder: Path, *arguments: str) -> tuple[int, JobResult | None, str]:
    return job("branches-sweep", folder, "--api", service.root, "--repository", REPOSITORY, *arguments)


@pytest.fixture
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("include.jobs.branches.github.time.sleep", lambda seconds: None)


def sweep_in_this_process(service: Service, *arguments: str) -> JobResult:
    parser = argparse.ArgumentParser()
    sweep_job.add_arguments(parser)
    return sweep_job.run(parser.parse_args(["--api", service.root, "--repository", REPOSITORY, *arguments]))


def here(lake: Lake) -> list[int]:
    return [clone.pull_request for clone in clones_of(lake)]


def clone(number: int, days: float | None) -> Clone:
    at = None if days is None else NOW - timedelta(days=days)
    return Clone(number, (), 1, 10, at, at, 1)


@pytest.mark.parametrize(
    ("days", "state", "listed", "drop", "reason"),
    [
        (0, "open", True, False, "open"),
        (13.9, "open", True, False, "open"),
        (14, "open", True, True, "not written to for 14 days"),
        (0, "closed", False, True, "closed"),
        (0, "open", False, False, "open"),  # it moved to a page that had been read
        (0, None, False, False, "GitHub knows no such pull request; kept until it is idle"),
        (20, None, False, True, "not written to for 20 days"),
        (None, "open", True, False, "open"),
    ],
)
def test_what_is_decided(days: float | None, state: str | None, listed: bool, drop: bool, reason: str) -> None:
    (decision,) = decide([clone(7, days)], frozenset({7} if listed else ()), {7: state}.__getitem__, 14, NOW)
    assert (decision.drop, decision.reason) == (drop, reason)


def test_closed_and_forgotten_clones_go_and_open_ones_stay(own: Lake, service: Service, tmp_path: Path) -> None:
    base = base_of(own, "orders")
    for number in (7, 8, 10):
        create_clone(own, number)
    long_ago = (datetime.now(UTC) - timedelta(days=40)).isoformat()
    make_schemas(own, "pr_9", {CREATED_AT: long_ago})
    clone_of(own, "orders", pull_request=7).append(rows_of(100, 1))
    service.pulls(pr_7="open", pr_8="closed", pr_9="open")
    before = seen(own, base)
    dry = sweep_in_this_process(service, "--dry-run")
    assert here(own) == [7, 8, 9, 10]
    assert dry.facts["dropped"] == {"8": "closed", "9": "not written to for 40 days"}
    code, result, text = sweep(service, tmp_path)
    assert code == 0, text
    assert result.facts["dropped"] == {"8": "closed", "9": "not written to for 40 days"}
    assert result.facts["kept"] == {"7": "open", "10": "GitHub knows no such pull request; kept until it is idle"}
    assert "LAST WRITTEN" in text
    assert here(own) == [7, 10]
    assert len(content(clone_of(own, "orders", pull_request=7))) == 7
    assert seen(own, base) == before
    assert set(tags_of(own, base)) == {"clone_pr_7", "clone_pr_10"}


@pytest.mark.parametrize(
    ("rule", "failure"),
    [({"status": 500}, TransientError), ({"half_body": True}, TransientError), ({"status": 401}, PermanentError)],
    ids=["away", "half", "refused"],
)
def test_without_githubs_whole_word_nothing_is_dropped(own: Lake, service: Service, no_waits: None, rule: dict, failure: type[Exception]) -> None:
    """The list comes; what fails is the question about one of two that are not in it. The other one could have been dropped already, and was not."""
    for number in (7, 8):
        create_clone(own, number)
    service.pulls(pr_7="closed", pr_8="closed")
    service.faults({"match": {"path": f"/repos/{REPOSITORY}/pulls/8"}, "count": None, **rule})
    with pytest.raises(failure, match="pulls/8: "):
        sweep_in_this_process(service)
    assert here(own) == [7, 8]


def test_a_clone_that_may_not_be_removed_fails_the_job_after_the_others(own: Lake, service: Service) -> None:
    for number in (7, 8):
        create_clone(own, number)
    own.catalog.create_namespace("others")
    own.catalog.rename_table((own.schemas_with("pr_7")[next(iter(own.base_schemas))].replace("staging", "mart"), "orders"), ("others", "kept"))
    service.pulls(pr_7="closed", pr_8="closed")
    with pytest.raises(PermanentError, match="pull request 7: nothing was removed"):
        sweep_in_this_process(service)
    assert here(own) == [7]


def test_events(own: Lake, service: Service) -> None:
    service.pulls(pr_7="open")
    assert sweep_in_this_process(service, "--event", "opened", "--pr", "7").facts["done"] == "made 7 schemas"
    create_clone(own, 7)
    late = sweep_in_this_process(service, "--event", "closed", "--pr", "7")  # an old message: it was opened again
    assert (late.facts["done"], here(own)) == ("nothing: it is open by now", [7])
    service.pulls(pr_7="closed")
    closed = sweep_in_this_process(service, "--event", "closed", "--pr", "7")
    assert closed.facts["done"].startswith("removed 1 tables, 1 files")
    assert here(own) == []
    with pytest.raises(PermanentError, match="has no such pull request"):
        sweep_in_this_process(service, "--event", "closed", "--pr", "70")
    with pytest.raises(ConfigError, match="an event with its pull request, or neither"):
        sweep_in_this_process(service, "--event", "closed")


def test_the_commands_as_jobs(own: Lake, tmp_path: Path) -> None:
    code, result, text = job("clone-create", tmp_path, "--pr", "7")
    assert (code, result.facts) == (0, {"pr": 7, "cloned": 1}), text
    code, result, _ = job("clone-drop", tmp_path, "--pr", "7")
    assert (code, result.facts["tags"], here(own)) == (0, 1, [])
    code, result, _ = job("schema-create", tmp_path, "--suffix", "me")
    assert (code, len(result.facts["schemas"])) == (0, 7)
    code, result, _ = job("schema-drop", tmp_path, "--suffix", "me")
    assert (code, result.facts["tables"]) == (0, 0)
    assert [schema for (schema,) in own.catalog.list_namespaces() if schema.endswith("_me")] == []
    code, _, text = job("clone-create", tmp_path, "--pr", "0")
    assert (code, "allowed: a pull request's number" in text) == (PERMANENT_EXIT, True)
