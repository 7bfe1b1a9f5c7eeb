"""A catalog of its own in the session's PostgreSQL, told to the job by the variables that pods have, and days of log files."""

from __future__ import annotations

import gzip
import json
import secrets
from argparse import ArgumentParser
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from include.config.environments import current_environment
from include.contract import JobResult
from include.jobs.openedx.tracking_logs import job
from include.jobs.openedx.tracking_logs.table import table_of
from include.lake.catalog import open_catalog
from include.local.platform import Platform
from tests.own_lake import new_lake

EVENTS = "--log-events"
ROUNDS = "--log-rounds"
KILLS = "--log-kills"
MEGABYTES = "--log-megabytes"
DAY = date(2026, 3, 2)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(EVENTS, type=int, default=None, help="events that two readings of tracking logs are compared on (default: 12,000; the issue: 400,000)")
    parser.addoption(ROUNDS, type=int, default=None, help="log files cut or flipped at random bytes (default: 10 by the whole job; the issue: 500)")
    parser.addoption(KILLS, type=int, default=None, help="kills of the job that loads tracking logs (default: 3)")
    parser.addoption(MEGABYTES, type=int, default=None, help="text of the log files whose memory is measured (default: 240)")


def asked(config: pytest.Config, option: str, default: int) -> int:
    """An option's value; a run of all tests does not know the option."""
    found = config.getoption(option, default=None)
    return default if found is None else int(found)


@pytest.fixture(scope="session")
def logs_variables(postgres: Platform, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a lake for the tests of this folder."""
    return new_lake(postgres, tmp_path_factory.mktemp("lake"))


@pytest.fixture
def logs_lake(logs_variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Catalog:
    for name, value in logs_variables.items():
        monkeypatch.setenv(name, value)
    return open_catalog(current_environment())


@dataclass
class Deployment:
    """A deployment with a table of its own: where its log files lie, and the job on them."""

    catalog: Catalog
    source: Path
    landing: Path
    name: str = field(default_factory=lambda: f"t{secrets.token_hex(4)}")

    def put(self, name: str, data: bytes, *, packed: bool | None = None) -> Path:
        """A log file; packed where its name says so."""
        path = self.source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        packed = name.endswith(".gz") if packed is None else packed
        path.write_bytes(gzip.compress(data, mtime=0) if packed else data)
        return path

    def flags(self, key: str, *more: str, day: date = DAY) -> list[str]:
        where = ["--source", str(self.source), "--landing", str(self.landing)]
        return ["--deployment", self.name, "--day", str(day), *where, "--run-key", key, "--settle", "0.05", "--patience", "5", *more]

    def run(self, key: str, *more: str, day: date = DAY) -> JobResult:
        """The job without the seconds that a process takes to start."""
        parser = ArgumentParser()
        job.add_arguments(parser)
        return job.run(parser.parse_args(self.flags(key, *more, day=day)))

    @property
    def identifier(self) -> tuple[str, str]:
        return table_of(current_environment(), self.name).identifier

    def rows(self, *columns: str) -> list[dict[str, Any]]:
        """The table's rows in the order of their places."""
        table = self.catalog.load_table(self.identifier)
        order = [(name, "ascending") for name in ("log_day", "source_object", "source_offset")]
        found: pa.Table = table.scan().to_arrow().sort_by(order)
        return found.select(columns).to_pylist() if columns else found.to_pylist()

    def content(self) -> list[dict[str, Any]]:
        """The table's rows without the time at which they were read."""
        return [{name: value for name, value in row.items() if name != "retrieved_at"} for row in self.rows()]

    @property
    def commits(self) -> int:
        return len(self.catalog.load_table(self.identifier).metadata.snapshots)

    def landed(self, kind: str = "*.json.gz") -> list[Path]:
        return sorted(self.landing.rglob(kind))

    def quarantine(self) -> list[dict[str, Any]]:
        """The records of all objects in the quarantine."""
        lines = [line for path in sorted((self.landing / self.name / "openedx" / "quarantine").rglob("*.jsonl")) for line in path.read_bytes().splitlines()]
        return [json.loads(line) for line in lines]


@pytest.fixture
def deployment(logs_lake: Catalog, tmp_path: Path) -> Deployment:
    return Deployment(logs_lake, tmp_path / "logs", tmp_path / "landing")


def event(number: int = 1, **changes: Any) -> bytes:
    """A plain line with its end."""
    fields = {
        "username": f"user_{number}",
        "event_type": "page_close",
        "event_source": "browser",
        "event": "{}",
        "context": {"course_id": "course-v1:MITxT+14.310x+1T2026", "user_id": number},
        "time": f"2026-03-02T10:{number // 60 % 60:02d}:{number % 60:02d}.000001+00:00",
        "session": f"{number:032x}",
    }
    return json.dumps({**fields, **changes}).encode() + b"\n"
