"""Every DAG runs for real, without a scheduler: once by ``airflow dags test`` and once with no logical date."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest

from include.config.environments import current_environment
from include.config.files import ROOT
from include.config.load import load_units_strictly
from include.local.data.generate import generate
from include.local.platform import LANE, Platform
from include.local.ports import Ports
from tests.conftest import started

CONNECTIONS = [unit.dag_id for unit in load_units_strictly("airbyte", current_environment())]
FILES = {**dict.fromkeys(CONNECTIONS, "dags/ingest/airbyte.py"), "warehouse": "dags/transform/warehouse.py"}
DATABASE = "airflow_without_scheduler"
pytestmark = [pytest.mark.lake, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def variables(lake: Platform) -> Iterator[dict[str, str]]:
    """Sources at day 0, the Airbyte stand-in, and a migrated metadata database that no scheduler looks at."""
    assert CONNECTIONS, "found no Airbyte unit: there would be nothing to test"
    generate(lake.postgres_dsn, scale=0.02, seed=7, day=0)
    for platform in started(lake.paths, ("lake", "services")):
        with psycopg.connect(lake.postgres_dsn, autocommit=True) as server:
            server.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
            server.execute(f"CREATE DATABASE {DATABASE}")
        Ports(platform.paths.state / "ports.json").choose("airflow")  # settings name it, though no API server is started
        found = Platform(platform.paths, LANE).environment() | {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": lake.postgres.dsn(DATABASE, driver="psycopg2")}
        _run([sys.executable, "-m", "airflow", "db", "migrate"], found)
        yield found


def _run(command: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=600)


@pytest.mark.parametrize("dag_id", [*CONNECTIONS, "warehouse"])
def test_runs_without_a_logical_date(dag_id: str, variables: dict[str, str]) -> None:
    done = _run([sys.executable, "-m", "tests.dags.run_dag", dag_id, FILES[dag_id]], variables)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert result["logical_date"] is None
    assert set(result["tasks"].values()) == {"success"}, result


@pytest.mark.parametrize("dag_id", [*CONNECTIONS, "warehouse"])
def test_airflow_dags_test(dag_id: str, variables: dict[str, str]) -> None:
    done = _run([sys.executable, "-m", "airflow", "dags", "test", dag_id], variables)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
