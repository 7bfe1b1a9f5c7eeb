"""dbt-build for a range of days: its flags, and on a real lake the days that are written and those that are not."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trino

from include.config.environments import ROOT
from include.config.vocabulary import Layer
from include.contract import PERMANENT_EXIT, PermanentError
from include.jobs.__main__ import _Parser
from include.jobs.warehouse import build
from include.jobs.warehouse.dbt import NO_VARIABLES
from include.local.platform import Platform

FACT = "tfact_discussion_events"
LOGS = "stg__mitx__openedx__tracking_logs"


def parsed(*flags: str) -> tuple[str, str]:
    parser = _Parser()
    build.add_arguments(parser)
    found = parser.parse_args(["--progress", "p", "--run-key", "r", *flags])
    return found.min_date, found.max_date


def test_days_become_dbts_variables() -> None:
    assert build.variables_of(*parsed()) == build.variables_of(*parsed("--min-date", "", "--max-date", "")) == NO_VARIABLES
    assert json.loads(build.variables_of(*parsed("--min-date", "2026-03-01", "--max-date", "2026-03-01"))) == {
        "min_date": "2026-03-01",
        "max_date": "2026-03-01",
    }


@pytest.mark.parametrize(("first", "last"), [("2026-03-01", ""), ("", "2026-03-01"), ("2026-03-02", "2026-03-01")])
def test_half_a_range_and_an_empty_one_are_refused(first: str, last: str) -> None:
    with pytest.raises(PermanentError, match=rf"--min-date {first or 'nothing'}, --max-date {last or 'nothing'}; allowed: both or neither"):
        build.variables_of(first, last)


@pytest.mark.parametrize("text", ["yesterday", "2026-02-30", "2026-03-01' or 1=1"])
def test_what_is_no_day_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed("--min-date", text)
    assert ended.value.code == PERMANENT_EXIT
    assert f"found {text!r}; allowed: a day" in capsys.readouterr().err


class Own:
    """Somebody's own schemas beside the session's Trino: events of four days in staging, none in the fact."""

    def __init__(self, lake: Platform, folder: Path) -> None:
        self.suffix, self.lake, self.folder = f"days_{secrets.token_hex(3)}", lake, folder

    def schema(self, layer: Layer) -> str:
        return f"{self.lake.settings.lake.schema_prefix}_{layer.value}_{self.suffix}"

    def query(self, text: str) -> list[list[Any]]:
        at = self.lake.trino
        with trino.dbapi.connect(host=at.host, port=at.port, user=at.user, catalog=at.catalog, schema=self.schema(Layer.STAGING)) as connection:
            return connection.cursor().execute(text).fetchall()

    def build(self, key: str, *flags: str) -> None:
        command = [sys.executable, "-m", "include.jobs", "dbt-build", "--result", str(self.folder / "result.json"), "--run-key", key, *flags]
        command += ["--progress", str(self.folder / f"{key}.json")]
        done = subprocess.run(command, cwd=ROOT, env={**os.environ, "OL_SCHEMA_SUFFIX": self.suffix}, capture_output=True, text=True, check=False, timeout=1200)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
        assert json.loads((self.folder / "result.json").read_text())["facts"]["models"].keys() == {"success"}, done.stdout[-4000:]

    def fact(self) -> list[str]:
        return sorted(row[0] for row in self.query(f"SELECT event_key FROM {self.schema(Layer.DIMENSIONAL)}.{FACT}"))


@pytest.fixture
def own(lake: Platform, tmp_path: Path) -> Iterator[Own]:
    found = Own(lake, tmp_path)
    yield found
    for layer in (Layer.STAGING, Layer.DIMENSIONAL):
        found.query(f"DROP SCHEMA IF EXISTS {found.schema(layer)} CASCADE")


@pytest.mark.lake
@pytest.mark.timeout(3600)
def test_the_days_of_a_range_are_written_and_no_others(own: Own) -> None:
    own.build("first", "--select", f"+{FACT}")
    days = {"a": "2026-02-28 23:59:59", "b": "2026-03-01 00:00:00", "c": "2026-03-02 23:59:59", "d": "2026-03-03 00:00:00"}
    rows = ", ".join(f"('{key}', 'mitx', 'edx.forum.searched', TIMESTAMP '{day}', TIMESTAMP '2026-04-01 00:00:00')" for key, day in days.items())
    own.query(f"INSERT INTO {LOGS} (event_key, platform, useractivity_event_type, useractivity_timestamp, tracking_log_retrieved_on) VALUES {rows}")
    assert own.fact() == []
    own.build("range", "--select", FACT, "--min-date", "2026-03-01", "--max-date", "2026-03-02")
    assert own.fact() == ["b", "c"]
