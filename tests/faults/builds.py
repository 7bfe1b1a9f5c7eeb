"""A lake of the module's own, with raw and staging tables of two days, and builds of a dozen models that can be killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import trino
from trino.exceptions import Error, TrinoUserError

from include.config.environments import EnvironmentSettings
from include.config.files import ROOT
from include.jobs.warehouse.progress import ProgressDocument
from include.lake.manifest import Model, load_warehouse
from include.local.platform import Platform

MODELS = (
    "int__combined__course_runs",
    "int__mitxonline__users",
    "int__combined__user_accounts",
    "dim_platform",
    "dim_course",
    "dim_course_run",
    "dim_user",
    "tfact_enrollment",
    "tfact_certificate",
    "tfact_grade",
    "marts__combined__enrollment_detail",
    "enrollment_summary_report",
)
AWAY = (
    "Connection refused",
    "Connection reset",
    "Connection aborted",
    "Max retries exceeded",
    "Remote end closed",
    "SERVER_STARTING_UP",
    "still initializing",
    "NO_NODES_AVAILABLE",
)

Content = tuple[int, str]
"""Rows of a table, and a checksum that does not depend on their order."""


class AwayError(Exception):
    """Trino does not answer at present."""


@dataclass
class Build:
    """One run of the ``dbt-build`` job: several attempts with one run key."""

    folder: Path
    key: str
    select: str
    attempts: int = 0
    child: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        return self.folder / f"{self.key}-{self.attempts}.log"

    def start(self) -> subprocess.Popen[bytes]:
        self.attempts += 1
        arguments = ["--select", self.select, "--progress", str(self._progress), "--run-key", self.key]
        command = [sys.executable, "-m", "include.jobs", "dbt-build", "--end-with-stdin", "--result", str(self.folder / f"{self.key}.json"), *arguments]
        with self.log.open("wb") as log:
            self.child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        return self.child

    @property
    def _progress(self) -> Path:
        return self.folder / f"{self.key}-progress.json"

    def kill(self) -> bool:
        """Ends the job and what it started, as a lost machine would; false when it had ended by itself."""
        if self.child is None or self.child.poll() is not None:
            return False
        os.killpg(self.child.pid, signal.SIGKILL)
        return self.child.wait() == -signal.SIGKILL

    def finish(self, seconds: float = 400) -> int:
        """Waits for the attempt's end; its exit code."""
        assert self.child is not None
        return self.child.wait(seconds)

    def run(self) -> float:
        """One undisturbed attempt; its seconds."""
        begin = time.monotonic()
        self.start()
        assert self.finish() == 0, self.log.read_text()[-4000:]
        return time.monotonic() - begin

    @property
    def finished(self) -> bool:
        """Whether an attempt came to its end, so that the next one would build everything again."""
        document = ProgressDocument.read(str(self._progress))
        return document is not None and document.finished

    def done(self) -> set[str]:
        """Names of the models that the progress document calls built and tested."""
        document = ProgressDocument.read(str(self._progress))
        return set() if document is None else {name.rpartition(".")[2] for name, state in document.nodes.items() if state.state == "success"}


@dataclass
class Warehouse:
    """The tables of ``MODELS`` and what they hold."""

    platform: Platform
    settings: EnvironmentSettings
    folder: Path
    snapshots: dict[str, int] = field(default_factory=dict)  # of day 0
    seconds: dict[str, float] = field(default_factory=dict)  # of undisturbed builds
    before: dict[str, Content] = field(default_factory=dict)  # day 0
    merged: dict[str, Content] = field(default_factory=dict)  # day 1, merged into day 0
    fresh: dict[str, Content] = field(default_factory=dict)  # day 1, from nothing

    def __post_init__(self) -> None:
        by_name: Mapping[str, Model] = {model.name: model for model in load_warehouse().models}
        self.models = {name: by_name[name] for name in MODELS}

    def build(self, key: str, select: str = " ".join(MODELS)) -> Build:
        return Build(self.folder, key, select)

    def query(self, text: str) -> list[tuple[Any, ...]]:
        """Rows of one query. Raises ``AwayError`` while Trino is, and Trino's own error otherwise."""
        where = self.platform.trino
        try:
            with trino.dbapi.connect(host=where.host, port=where.port, user="reader", catalog=where.catalog, max_attempts=1) as connection:
                cursor = connection.cursor()
                cursor.execute(text)
                return [tuple(row) for row in cursor.fetchall()]
        except (requests.ConnectionError, requests.Timeout) as error:
            raise AwayError(str(error)) from error
        except Error as error:
            if any(word in str(error) for word in AWAY):
                raise AwayError(str(error)) from error
            raise

    def table(self, name: str, suffix: str = "") -> str:
        found = self.models[name].table(self.settings)
        return f'"{found.schema}"."{found.table}{suffix}"'

    def content(self, name: str) -> Content | None:
        """What a reader sees now; ``None`` where there is no table."""
        try:
            columns = [row[0] for row in self.query(f"SHOW COLUMNS FROM {self.table(name)}")]
            quoted = ", ".join(f'"{column}"' for column in columns)
            rows, check = self.query(f"SELECT count(*), to_hex(checksum(ROW({quoted}))) FROM {self.table(name)}")[0]
        except TrinoUserError as error:
            if error.error_name in ("TABLE_NOT_FOUND", "SCHEMA_NOT_FOUND"):
                return None
            raise
        return int(rows), str(check)

    def contents(self) -> dict[str, Content]:
        return {name: found for name in MODELS if (found := self.content(name)) is not None}

    def snapshot_ids(self, name: str) -> set[int]:
        """All snapshots of a table, none where there is no table."""
        try:
            return {row[0] for row in self.query(f"SELECT snapshot_id FROM {self.table(name, '$snapshots')}")}
        except TrinoUserError as error:
            if error.error_name in ("TABLE_NOT_FOUND", "SCHEMA_NOT_FOUND"):
                return set()
            raise

    def newest_snapshots(self) -> dict[str, int]:
        return {name: self.query(f"SELECT snapshot_id FROM {self.table(name, '$refs')} WHERE name = 'main'")[0][0] for name in MODELS}

    def relations(self) -> set[tuple[str, str]]:
        """Every table and view of the layers that the models are in."""
        schemas = sorted({self.models[name].table(self.settings).schema for name in MODELS})
        listed = ", ".join(f"'{schema}'" for schema in schemas)
        return {(row[0], row[1]) for row in self.query(f"SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema IN ({listed})")}

    def as_on_day_0(self) -> None:
        """Brings all tables back to day 0, and removes what a killed build has left beside them."""
        self._remove_others()
        for name, snapshot_id in self.snapshots.items():
            self.query(f"ALTER TABLE {self.table(name)} EXECUTE rollback_to_snapshot({snapshot_id})")

    def as_before_the_first_build(self) -> None:
        """Removes all tables."""
        self._remove_others()
        for name in MODELS:
            self.query(f"DROP TABLE IF EXISTS {self.table(name)}")

    def _remove_others(self) -> None:
        own = {(ref.schema, ref.table) for ref in (model.table(self.settings) for model in self.models.values())}
        for schema, table in self.relations() - own:
            self.query(f'DROP TABLE IF EXISTS "{schema}"."{table}"')

    def statements_of(self, name: str, since: float) -> list[str]:
        """What dbt asked for in the name of a model since a moment (seconds since the epoch)."""
        node = f'"node_id": "{self.models[name].unique_id}"'
        found = self.query(f"SELECT query, state FROM system.runtime.queries WHERE created >= from_unixtime({since}) AND \"user\" <> 'reader'")
        return [f"{state}: {text}" for text, state in found if node in text]


class Reader:
    """Reads all tables over and over while something happens to them; what it saw of each."""

    def __init__(self, warehouse: Warehouse) -> None:
        self.warehouse = warehouse
        self.seen: dict[str, set[Content | None]] = {name: set() for name in MODELS}
        self.reads = 0
        self.errors: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join(60)

    def _read(self) -> None:
        while not self._stop.is_set():
            for name in MODELS:
                try:
                    self.seen[name].add(self.warehouse.content(name))
                    self.reads += 1
                except AwayError:
                    self._stop.wait(0.5)
                except Error as error:
                    self.errors.append(f"{name}: {error}")
            self._stop.wait(0.3)
