"""``make demo`` as a user runs it: on an empty machine state, and again a day later."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trino

from include.config.files import ROOT
from include.local.paths import Paths
from include.local.platform import Platform
from include.local.summary import REPORTS
from tests.variables import leave_platform, without_platform

pytestmark = [pytest.mark.live, pytest.mark.timeout(7200)]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("demo") / "state"
    yield folder
    Platform(Paths(state=folder)).clean()


def demo(state: Path) -> str:
    """Runs the demo; what it printed. It must end by itself with exit 0."""
    command = [sys.executable, "-m", "include.local", "--state", str(state), "demo", "--scale", "0.02"]
    done = subprocess.run(command, cwd=ROOT, env=without_platform(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=2700)
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


def rows_of_raw(output: str) -> int:
    found = re.search(r"ol_warehouse_local_raw +58 tables +([\d,]+) rows", output)
    assert found, output[-3000:]
    return int(found[1].replace(",", ""))


def test_two_days(state: Path) -> None:
    """Both days' reports equal what other code counts in the sources; the second day adds what changed and doubles nothing."""
    first, second = demo(state), demo(state)
    assert "source databases at day 0" in first
    assert "source databases at day 1" in second
    for output in (first, second):
        for report in REPORTS:
            assert re.search(rf"{report} +[1-9]\d* rows  equal", output), output[-3000:]
        assert "DIFFERENT" not in output
        for dag_id in ("airbyte__mitxonline__app_postgres", "airbyte__mitxonline__openedx_mysql", "airbyte__mitxpro__app_postgres", "warehouse"):
            assert re.search(rf"{dag_id} +success +[\d.]+ s", output), output[-3000:]
    before, after = rows_of_raw(first), rows_of_raw(second)
    assert before < after < before * 1.1
    left = Platform(Paths(state=state)).processes.records()
    assert [record.name for record in left if record.alive] == [], "the demo ends what it started"


def test_a_model_in_a_developers_own_schemas(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``make model`` with a suffix builds that model alone there, from the demo's tables, which stay as they are."""
    leave_platform(monkeypatch)
    platform = Platform(Paths(state=state), ("lake",))
    platform.start()
    where = platform.trino

    def ask(statement: str) -> list[list[object]]:
        with trino.dbapi.connect(host=where.host, port=where.port, user=where.user, catalog=where.catalog, http_scheme=where.http_scheme) as opened:
            return opened.cursor().execute(statement).fetchall()

    snapshots = 'SELECT max(committed_at), count(*) FROM ol_warehouse_local_{0}."{1}$snapshots"'
    before = [ask(snapshots.format("dimensional", name)) for name in ("dim_user", "dim_course_run")]
    local = f"LOCAL={sys.executable} -m include.local --state {state}"
    command = ["make", "-s", "model", "M=tfact_enrollment", local, f"VENV={Path(sys.prefix)}", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OL_SCHEMA_SUFFIX": "me"}, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    own = ask("SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema LIKE '%\\_me' ESCAPE '\\'")
    assert own == [["ol_warehouse_local_dimensional_me", "tfact_enrollment"]]
    counts = [ask(f"SELECT count(*) FROM ol_warehouse_local_dimensional{suffix}.tfact_enrollment")[0][0] for suffix in ("", "_me")]
    assert counts[0] == counts[1] > 0
    assert [ask(snapshots.format("dimensional", name)) for name in ("dim_user", "dim_course_run")] == before
