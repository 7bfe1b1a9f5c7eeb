"""A lake with a long past on a disk of its own, which the maintenance job works on in a process of its own, and which can be put back to where it began."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from include.config.environments import ROOT, current_environment
from include.config.vocabulary import Layer
from include.jobs.maintenance import tables as job
from include.lake.catalog import ensure_table, open_catalog
from include.lake.maintenance.quarantine import FOLDER
from include.lake.names import TableRef
from tests.lake.conftest import ROWS

from .conftest import content, rows

TABLES, DAYS = 6, 30
DAY = 86_400


@dataclass(frozen=True)
class Seen:
    """A table as its readers see it: its rows, its snapshots, its branches and tags."""

    rows: tuple[int, ...]
    snapshots: frozenset[int]
    refs: tuple[tuple[str, int], ...]


@dataclass
class OldLake:
    """``root`` is the directory behind ``local://``, ``work`` one for states and results; the variables of its catalog are set."""

    root: Path
    work: Path
    dsn: str
    tables: int = TABLES
    began: float = 0.0
    _pointers: list[tuple[Any, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.catalog: Catalog = open_catalog(current_environment())
        self.schema = current_environment().schema_for(Layer.RAW)
        self.work.mkdir(parents=True, exist_ok=True)

    # --- its past ----------------------------------------------------------------------------------

    def build(self) -> None:
        """Tables with a tag, a staging branch, expired rows and a file of a dead writer, all of it a month old."""
        for number in range(self.tables):
            table = ensure_table(self.catalog, TableRef(self.catalog.name, self.schema, f"t_{number}"), ROWS)
            table.append(rows(number))
            if number % 3 == 0:
                table.manage_snapshots().create_tag(table.metadata.current_snapshot_id, "clone_pr_7").commit()
            table.append(rows(100 + number))
            table.overwrite(rows(200 + number))
            table.append(rows(300 + number))
            path = self.path_of(table.location())
            (path / "data" / "of-a-dead-writer.parquet").write_bytes(b"half a file")
            (path / "data" / ".00000-0-x.parquet.4711-0a0b0c0d.part").write_bytes(b"half a file")
            _age_snapshots(self.path_of(table.refresh().metadata_location))
        age(self.root.rglob("*"))
        self.began = time.time()
        shutil.copytree(self.root, self._backup)
        with psycopg.connect(self.dsn) as connection:
            self._pointers = connection.execute("SELECT metadata_location, previous_metadata_location, table_name FROM iceberg_tables").fetchall()

    def put_back(self) -> None:
        """As it was built."""
        for folder in (self.root, self.work):
            shutil.rmtree(folder)
        shutil.copytree(self._backup, self.root)
        self.work.mkdir()
        with psycopg.connect(self.dsn) as connection, connection.cursor() as cursor:
            cursor.executemany("UPDATE iceberg_tables SET metadata_location = %s, previous_metadata_location = %s WHERE table_name = %s", self._pointers)

    @property
    def _backup(self) -> Path:
        return self.root.with_name(f"{self.root.name}-as-built")

    # --- the job -----------------------------------------------------------------------------------

    def arguments(self, key: str = "scheduled__2026-11-20") -> list[str]:
        return ["--group", "raw", "--state", str(self.work / "state"), "--run-key", key]

    def command(self) -> list[str]:
        """The job as its pod runs it."""
        return [sys.executable, "-m", "include.jobs", "maintain-tables", "--result", str(self.work / "result.json"), *self.arguments()]

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self.command(), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def result(self) -> dict[str, Any]:
        return json.loads((self.work / "result.json").read_text())

    def run(self, key: str = "scheduled__2026-11-20") -> dict[str, Any]:
        """The job in this process, to its end; its facts."""
        parser = argparse.ArgumentParser()
        job.add_arguments(parser)
        return job.run(parser.parse_args(self.arguments(key))).facts

    # --- what can be seen --------------------------------------------------------------------------

    def path_of(self, location: str) -> Path:
        return self.root / location.removeprefix("local:///")

    def each(self) -> list[Table]:
        return [self.catalog.load_table(name) for name in sorted(self.catalog.list_tables(self.schema))]

    def seen(self) -> dict[str, Seen]:
        """Every table, by reading all of it."""
        return {
            table.name()[1]: Seen(
                tuple(content(table)),
                frozenset(one.snapshot_id for one in table.metadata.snapshots),
                tuple(sorted((name, ref.snapshot_id) for name, ref in table.metadata.refs.items())),
            )
            for table in self.each()
        }

    def files(self) -> dict[str, int]:
        """The sizes of all files outside of the quarantine, halves of files included."""
        found = (path for path in self.root.rglob("*") if path.is_file() and FOLDER not in path.parts)
        return {str(path.relative_to(self.root)): path.stat().st_size for path in found}

    def quarantined(self) -> dict[str, int]:
        """The sizes of all files in quarantine, by where they were."""
        day_folders = (self.root / "warehouse" / FOLDER).glob("*")
        return {f"warehouse/{path.relative_to(day)}": path.stat().st_size for day in day_folders for path in day.rglob("*") if path.is_file()}

    def reachable(self) -> set[str]:
        """What all tables' metadata name, as pyiceberg reads it, not as maintenance does."""
        return {str(self.path_of(location).relative_to(self.root)) for table in self.each() for location in _named(table)}

    def changes(self) -> int:
        """Changes of a run so far: files taken away and metadata files written. Cheap, to be asked again and again while a run works."""
        taken = sum(len(names) for _, _, names in os.walk(self.root / "warehouse" / FOLDER))
        return taken + sum(1 for path in self.root.glob("warehouse/*/*/metadata/*.metadata.json") if _modified(path) > self.began)


def _modified(path: Path) -> float:
    """When a file was written; 0 for one that a run has just taken away."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def dsn_of(variables: Mapping[str, str]) -> str:
    """The catalog's PostgreSQL, as psycopg takes it, from the variables that name it for pyiceberg."""
    return next(value for name, value in variables.items() if name.endswith("__URI")).replace("+psycopg2", "")


def age(paths: Iterable[Path], days: int = DAYS) -> None:
    """Makes files look as if nobody had written to them for days."""
    for path in paths:
        os.utime(path, (time.time() - days * DAY,) * 2)


def _age_snapshots(path: Path) -> None:
    data = json.loads(path.read_text())
    for one in (*data["snapshots"], *data["snapshot-log"], *data["metadata-log"]):
        one["timestamp-ms"] -= DAYS * DAY * 1000
    data["last-updated-ms"] -= DAYS * DAY * 1000
    path.write_text(json.dumps(data))


def _named(table: Table) -> set[str]:
    found = {table.metadata_location, *(one.metadata_file for one in table.metadata.metadata_log)}
    for snapshot in table.metadata.snapshots:
        found.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            found.add(manifest.manifest_path)
            found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    return found
