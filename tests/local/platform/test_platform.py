"""The platform as a whole: commands, addresses, other people's Trino, a live Airflow, and nothing left behind."""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import trino

from include.local.airflow_api import AirflowApi
from include.local.paths import Paths
from include.local.platform import Platform, running_platform
from include.local.processes import MARK
from include.local.programs import ServiceError
from tests.backfills import wait_until
from tests.variables import without_platform

REPOSITORY = Path(__file__).resolve().parents[3]


def _marked(paths: Paths) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(paths.identity) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(" ".join(process.cmdline()))
        except psutil.Error:
            continue
    return found


def _command(paths: Paths, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "include.local", "--state", str(paths.state), *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=without_platform(), capture_output=True, text=True, check=False, **options)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Paths]:
    """A platform that no other test uses."""
    paths = Paths(state=tmp_path / "platform")
    yield paths
    if paths.state.exists():
        Platform(paths).clean()
    assert _marked(paths) == []


CLIENT = """
import os, pyarrow as pa, trino
from pyiceberg.catalog import load_catalog
catalog = load_catalog(os.environ["TRINO_CATALOG"])
table = catalog.create_table("ol_warehouse_local_raw.written_by_pyiceberg", pa.schema([("a", pa.int64())]))
table.append(pa.table({"a": [1, 2, 3]}))
address = {"host": os.environ["TRINO_HOST"], "port": int(os.environ["TRINO_PORT"]), "catalog": os.environ["TRINO_CATALOG"]}
connection = trino.dbapi.connect(user=os.environ["TRINO_USER"], **address)
print(connection.cursor().execute("SELECT sum(a) FROM ol_warehouse_local_raw.written_by_pyiceberg").fetchall())
"""


@pytest.mark.lake
def test_make_lake_serves_any_client_and_a_kill_at_any_moment_is_mended_by_the_next_start(own: Paths) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):  # subprocess.run kills with SIGKILL
        _command(own, "lake", timeout=random.uniform(0.2, 5))

    first = _command(own, "lake")
    assert first.returncode == 0, first.stderr
    exports = dict(line.removeprefix("export ").split("=", 1) for line in first.stdout.splitlines())
    assert all(line.startswith("export ") for line in first.stdout.splitlines()), "only shell commands may go to standard output"
    clean = {name: value for name, value in without_platform().items() if name != "PYTHONPATH"}
    shell = f"{first.stdout}\ncd / && exec {shlex.quote(sys.executable)} -c {shlex.quote(CLIENT)}"
    client = subprocess.run(["/bin/sh", "-c", shell], env=clean, capture_output=True, text=True, check=False)
    assert client.stdout == "[[6]]\n", client.stderr

    again = _command(own, "lake")
    assert again.stdout == first.stdout
    assert _command(own, "status").returncode == 0
    listening = {item.laddr.ip for item in psutil.net_connections("tcp") if item.status == psutil.CONN_LISTEN and str(item.laddr.port) == exports["TRINO_PORT"]}
    assert listening <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert _command(own, "down").stderr.strip() == "stopped: postgres, trino"
    assert _marked(own) == []
    assert "nothing" in _command(own, "status").stderr


@pytest.mark.lake
def test_a_table_can_be_read_in_the_first_moment(own: Paths) -> None:
    """Ready means that a query can be run on a table of the lake, not only one that needs no node."""
    platform = Platform(own, ("lake",))
    for statement in ("CREATE TABLE ol_warehouse_local_raw.early AS SELECT 1 AS a", "SELECT a FROM ol_warehouse_local_raw.early"):
        platform.start()
        address = platform.trino
        with trino.dbapi.connect(host=address.host, port=address.port, user=address.user, catalog=address.catalog) as connection:
            assert connection.cursor().execute(statement).fetchall() == [[1]]
        platform.stop()


@pytest.mark.lake
def test_a_foreground_platform_ends_with_its_process(own: Paths) -> None:
    program = "import sys, time; from pathlib import Path; from include.local.paths import Paths; from include.local.platform import running_platform\n"
    program += "with running_platform(Paths(state=Path(sys.argv[1])), ()) as platform: print('up', flush=True); time.sleep(300)"
    for number, code in ((signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGINT, None)):
        with subprocess.Popen([sys.executable, "-c", program, str(own.state)], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"up\n"
            with pytest.raises(ServiceError, match=f"belongs to process {child.pid}, which runs in the foreground"):
                Platform(own, ()).start()
            child.send_signal(number)
            assert child.wait(20) == (code if code is not None else child.returncode) != 0
        assert _marked(own) == []


def test_what_ran_before_goes_on_running(own: Paths) -> None:
    background = Platform(own, ())
    background.start()
    with running_platform(own, ()) as platform:
        assert platform.postgres_dsn == background.postgres_dsn
    assert background.processes.running("postgres") is not None


@pytest.mark.lake
def test_somebody_elses_trino_is_used_where_it_is_named(lake: Platform, own: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_platform(own, ("lake",)) as platform:  # the fixture's variables name the session's Trino
        assert platform.trino == lake.trino
        assert [record.name for record in platform.processes.records()] == ["postgres"]
        assert not any(name.startswith("PYICEBERG_") for name in platform.lake_environment())
    monkeypatch.setenv("TRINO_PORT", "9")
    with pytest.raises(ServiceError, match=r"TRINO_HOST=127\.0\.0\.1 TRINO_PORT=9: no Trino answers there"):
        Platform(own, ("lake",)).start(attached=True)


@pytest.mark.lake
def test_query_limits_let_a_large_query_fail_and_trino_live(lake: Platform) -> None:
    connection = trino.dbapi.connect(host=lake.trino.host, port=lake.trino.port, user="test", catalog=lake.trino.catalog)
    numbers = "SELECT a * 10000 + b AS n FROM unnest(sequence(1, 10000)) AS x(a) CROSS JOIN unnest(sequence(1, 10000)) AS y(b)"
    with pytest.raises(trino.exceptions.TrinoQueryError, match="exceeded per-node memory limit"):
        connection.cursor().execute(f"SELECT count(DISTINCT n) FROM ({numbers})").fetchall()
    assert connection.cursor().execute("SELECT 1").fetchall() == [[1]]


@pytest.mark.live
def test_airflow_is_healthy_and_reached_from_this_machine_alone(platform: Platform) -> None:

    def healthy() -> bool:
        """One that is busy may be late with its heartbeat."""
        health = httpx.get(f"{platform.airflow_url}/api/v2/monitor/health", trust_env=False, timeout=120).json()
        return {name: part["status"] for name, part in health.items()} == dict.fromkeys(("metadatabase", "scheduler", "triggerer", "dag_processor"), "healthy")

    wait_until(healthy, 300)
    ours = {record.pid for record in platform.processes.records()}
    addresses = set()
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(platform.paths.identity) or process.pid in ours:
                addresses |= {item.laddr.ip for item in process.net_connections("tcp") if item.status == psutil.CONN_LISTEN}
        except psutil.Error:
            continue
    assert addresses <= {"127.0.0.1", "::ffff:127.0.0.1"}


@pytest.mark.live
def test_every_dag_file_is_found_and_the_airbyte_connection_works(platform: Platform) -> None:
    api = AirflowApi(platform.airflow_url, *platform.airflow_login)
    api.wait_for_dags({"airbyte__mitxonline__app_postgres"}, 300)
    assert api.call("GET", "/importErrors")["import_errors"] == []
    assert httpx.get(f"{platform.airbyte_url}/health", trust_env=False).status_code == 200


@pytest.mark.live
def test_a_killed_component_is_noticed_and_started_again_alone(platform: Platform) -> None:
    before = {record.name: record.pid for record in platform.processes.records()}
    os.kill(before["airflow-triggerer"], signal.SIGKILL)
    while platform.processes.running("airflow-triggerer"):
        time.sleep(0.05)
    with pytest.raises(ServiceError, match="airflow-triggerer ended with exit code -9"):
        platform.check()
    platform.start(attached=True)
    platform.check()
    after = {record.name: record.pid for record in platform.processes.records()}
    assert {name for name in before if before[name] != after[name]} == {"airflow-triggerer"}
