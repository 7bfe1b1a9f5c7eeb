"""Every DAG runs for real, without a scheduler: once by ``airflow dags test`` and once with no logical date."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import httpx
import psycopg
import pytest

from include.config.environments import current_environment
from include.config.files import ROOT
from include.config.load import load_units_strictly
from include.local.data.generate import generate
from include.local.data.openedx_runs import runs_from_databases
from include.local.openedx_inputs import deliver
from include.local.platform import Part, Platform
from include.local.ports import Ports
from tests.conftest import started

CONNECTIONS = [unit.dag_id for unit in load_units_strictly("airbyte", current_environment())]
OPENEDX = tuple(f"openedx__mitxonline__{part}" for part in ("sweep", "course", "tracking_logs", "forum"))  # a deployment that has all of them
FILES = {
    **dict.fromkeys(CONNECTIONS, "dags/ingest/airbyte.py"),
    "warehouse": "dags/transform/warehouse.py",
    **dict.fromkeys(OPENEDX, "dags/ingest/openedx.py"),
    "learn_webhooks": "dags/publish/learn_webhooks.py",
    "branches": "dags/maintain/branches.py",
    "maintain__pointers": "dags/maintain/pointers.py",
    "maintain__raw": "dags/maintain/iceberg.py",
    "maintain__warehouse": "dags/maintain/iceberg.py",
    "warehouse_engagement": "dags/transform/warehouse_engagement.py",  # two deployments have no tables here
}
PARTS: tuple[Part, ...] = ("lake", "services", "openedx", "forum", "airflow")
DATABASE = "airflow_without_scheduler"
pytestmark = pytest.mark.lake


@pytest.fixture(scope="module")
def variables(lake: Platform) -> Iterator[dict[str, str]]:
    """Sources at day 0, the stand-ins of their services, and a migrated metadata database that no scheduler looks at."""
    assert CONNECTIONS, "found no Airbyte unit: there would be nothing to test"
    generate(lake.postgres_dsn, scale=0.02, seed=7, day=0)
    for platform in started(lake.paths, PARTS[:-1]):
        with psycopg.connect(lake.postgres_dsn, autocommit=True) as server:
            server.execute(f"DROP DATABASE IF EXISTS {DATABASE}")
            server.execute(f"CREATE DATABASE {DATABASE}")
        Ports(platform.paths.state / "ports.json").choose("airflow")  # settings name it, though no API server is started
        found = Platform(platform.paths, PARTS).environment() | {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": lake.postgres.dsn(DATABASE, driver="psycopg2")}
        _run([sys.executable, "-m", "airflow", "db", "migrate"], found)
        httpx.put(f"{platform.github_url}/_pulls", json={"1523": "open"}, trust_env=False).raise_for_status()
        yield found


def _run(command: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=600)


@pytest.fixture(scope="module")
def parameters(variables: dict[str, str], lake: Platform) -> dict[str, str]:
    """What a run needs that has no partition, by DAG, as JSON."""
    delivered = deliver(Platform(lake.paths, PARTS), 0, io.StringIO())
    course = min(run.id for run in runs_from_databases(lake.postgres_dsn, "mitxonline"))
    return {"openedx__mitxonline__tracking_logs": json.dumps({"day": str(delivered.day)}), "openedx__mitxonline__course": json.dumps({"course": course})}


@pytest.mark.parametrize("dag_id", FILES)
def test_runs_without_a_logical_date(dag_id: str, variables: dict[str, str], parameters: dict[str, str]) -> None:
    done = _run([sys.executable, "-m", "tests.dags.run_dag", dag_id, FILES[dag_id], parameters.get(dag_id, "{}")], variables)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]
    result = json.loads(done.stdout.strip().splitlines()[-1])
    assert result["logical_date"] is None
    assert set(result["tasks"].values()) == {"success"}, result


@pytest.mark.parametrize("dag_id", FILES)
def test_airflow_dags_test(dag_id: str, variables: dict[str, str], parameters: dict[str, str]) -> None:
    done = _run([sys.executable, "-m", "airflow", "dags", "test", dag_id, "--conf", parameters.get(dag_id, "{}")], variables)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-3000:]


def test_every_kind_of_dag_is_run() -> None:
    """One deployment's DAGs stand for the others': they are made by the same code."""
    files = {f"dags/{path.parent.name}/{path.name}" for path in (ROOT / "dags").glob("*/*.py")}
    assert files == set(FILES.values())
