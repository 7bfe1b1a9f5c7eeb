"""The DAG ``branches`` on the platform: its job finds GitHub by what the platform's programs are told, and drops what is closed there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from include.config.environments import ROOT, current_environment
from include.config.load import load_branches_unit
from include.config.services import local_service
from include.config.vocabulary import Environment
from include.lake.clones.create import create_clone
from include.lake.clones.names import Lake
from include.lake.clones.registry import clones_of
from include.local.paths import Paths
from include.local.platform import ALL, LANE, Platform, running_platform
from tests.lake.clones.tables import new_table
from tests.own_lake import new_lake
from tests.variables import variables


@pytest.fixture(scope="module")
def services(postgres: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The services alone, over an empty lake: no Trino."""
    folder = tmp_path_factory.mktemp("github")
    with variables(new_lake(postgres, folder / "lake")), running_platform(Paths(state=folder / "platform"), ("services",)) as platform:
        yield platform
        platform.check()


@pytest.fixture
def lake(services: Platform) -> Lake:
    return Lake.of(current_environment())


def sweep(platform: Platform, tmp_path: Path, *flags: str, **others: str) -> tuple[int, dict[str, dict[str, str]], str]:
    """The job of the DAG's one task, in the environment that Airflow's tasks have: exit code, facts, log."""
    unit, result, given = load_branches_unit(), tmp_path / "result.json", platform.environment() | others
    api = local_service(unit.api[Environment.LOCAL], given)
    command = [sys.executable, "-m", "include.jobs", "branches-sweep", "--result", str(result), "--api", api, "--repository", unit.repository]
    command += ["--idle-days", str(unit.idle_days), "--event", "", "--pr", "0", *flags]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **given}, capture_output=True, text=True, check=False, timeout=120)
    return done.returncode, json.loads(result.read_text())["facts"] if result.exists() else {}, done.stdout + done.stderr


def test_the_sweep_finds_github_on_the_platform(services: Platform, lake: Lake, tmp_path: Path) -> None:
    new_table(lake, "orders")
    for number in (7, 8, 9):
        create_clone(lake, number)
    httpx.put(f"{services.github_url}/_pulls", json={"7": "open", "8": "closed"}, trust_env=False).raise_for_status()
    code, facts, told = sweep(services, tmp_path)
    assert code == 0, told
    assert facts["dropped"] == {"8": "closed"}
    assert facts["kept"] == {"7": "open", "9": "GitHub knows no such pull request; kept until it is idle"}
    assert [clone.pull_request for clone in clones_of(lake)] == [7, 9]


def test_github_takes_the_platforms_token_alone(services: Platform, lake: Lake, tmp_path: Path) -> None:
    code, _, told = sweep(services, tmp_path, GITHUB_TOKEN="a developer's own")
    assert code == 64, told
    assert "401" in told


def test_make_up_starts_it() -> None:
    assert "services" in ALL
    assert "services" in LANE
