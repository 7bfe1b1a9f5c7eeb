"""P10: maintenance of many raw tables with 15 snapshots each, on a store that takes 20 ms for a request and answers 1 % of them with 503.

Ours expires what is older than a week and takes away every file that nothing names any more. The peer is the system this one replaces: eight threads,
pyiceberg's ``expire_snapshots``, no file deleted. The limit is ours' requests, 20 ms each, sixteen at a time. ``OL_P10_TABLES`` sets the number of tables.
Then dbt's tables, whose small files are rewritten: :mod:`benchmarks.compaction`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog

from benchmarks.compaction import cases
from benchmarks.many_tables import COPYABLE, NAMED, backdate, multiply
from benchmarks.options import Options
from benchmarks.results import Case, Goal, Outcome, Series, alternate
from benchmarks.stage import scratch
from include.lake.catalog import create_catalog_tables, ensure_schema, ensure_table, open_catalog
from include.lake.maintenance.model import Known, Policy
from include.lake.maintenance.quarantine import MovingQuarantine, Quarantined
from include.lake.maintenance.run import Lake, Run, Work
from include.lake.maintenance.statements import TrinoEngine
from include.lake.names import TableRef
from include.lake.objects import LocalStore, StoredObject
from include.lake.storage import LakeFileIO, local_path
from include.local.paths import Paths
from include.local.platform import Platform

TABLES, FULL, SNAPSHOTS, LATENCY, FAILING, AT_ONCE, SEED = 130, 1300, 15, 0.02, 0.01, 16, 7
GOAL_SECONDS, GOAL_RATIO, SECOND_NIGHT = 90.0, 8.0, 10.0
SCHEMA, CATALOG = "bench_raw", "bench"
POLICY = Policy(True, timedelta(days=7), timedelta(days=3), 32_000_000, 1000, 1000, 1000, 50)


class Latency:
    """One request: 20 ms, and once in a hundred times a 503 and another try. Counts them."""

    def __init__(self) -> None:
        self.requests, self._lock, self._random = 0, threading.Lock(), random.Random(SEED)

    def wait(self, requests: int = 1) -> None:
        """So many requests, one after the other."""
        for _ in range(requests):
            again = True
            while again:
                with self._lock:
                    self.requests += 1
                    again = self._random.random() < FAILING
                time.sleep(LATENCY)


class SlowStore:
    """A local store behind that latency; a listing is one request for a thousand files."""

    def __init__(self, store: LocalStore, latency: Latency) -> None:
        self.store, self.latency = store, latency

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """See ``ObjectStore``."""
        for number, one in enumerate(self.store.list(prefix)):
            if number % 1000 == 0:
                self.latency.wait()
            yield one

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        def asked(*arguments: Any) -> Any:
            self.latency.wait()
            return method(*arguments)

        return asked


@dataclass(frozen=True)
class MarkersOnDisk:
    """Costs what a bucket with versions costs: a record, one request for up to a thousand files, a record. The files are renamed."""

    moving: MovingQuarantine
    latency: Latency

    def put(self, files: Iterable[StoredObject], today: date) -> list[StoredObject]:
        """See ``Quarantine``."""
        self.latency.wait(3)
        return self.moving.put(files, today)

    def files(self) -> Iterator[Quarantined]:
        """See ``Quarantine``."""
        return self.moving.files()

    def restore(self, files: Iterable[Quarantined]) -> int:
        """See ``Quarantine``."""
        return self.moving.restore(files)

    def purge(self, files: Iterable[Quarantined]) -> int:
        """See ``Quarantine``."""
        return self.moving.purge(files)


_PEER_LATENCY = Latency()


class SlowIO(LakeFileIO):
    """pyiceberg's access to files behind the same latency."""

    def new_input(self, location: str) -> Any:
        """One request."""
        _PEER_LATENCY.wait()
        return super().new_input(location)

    def new_output(self, location: str) -> Any:
        """One request."""
        _PEER_LATENCY.wait()
        return super().new_output(location)


@dataclass
class Stage:
    """A lake of many equal tables, made anew for every measurement: one is written by pyiceberg, the others are its bytes under other names."""

    folder: Path
    dsn: str
    tables: int
    requests: int = 0
    second: list[float] = field(default_factory=list)
    reclaimed: list[float] = field(default_factory=list)
    number: int = 0

    def lake(self, **properties: str) -> Catalog:
        """A catalog of that many tables, snapshots a day apart, the newest a day old."""
        self.number += 1
        name = f"{CATALOG}{self.number}"
        root = self.folder / name
        settings = {"uri": self.dsn, "local.root": str(root), "warehouse": "local:///warehouse", "pool_size": "32", **properties}
        catalog = open_catalog(name, settings)
        ensure_schema(catalog, SCHEMA)
        plain = open_catalog(name, {**settings, "py-io-impl": "include.lake.storage.LakeFileIO"})
        template = _template(plain)
        now = time.time()
        multiply(plain, SCHEMA, template, self.tables)
        backdate(root, now - 4 * 86_400)
        return catalog

    def ours(self) -> float:
        """One night, checked; then another without changes."""
        catalog, latency = self.lake(), Latency()
        store = LocalStore(catalog.properties["local.root"])
        before = {one.location: one.size for one in store.list("local:///warehouse")}
        began = time.monotonic()
        found = _night(catalog, store, latency, {})
        seconds = time.monotonic() - began
        self.requests = latency.requests
        self.reclaimed.append(_check(catalog, store, before, found))
        began = time.monotonic()
        again = _night(catalog, store, latency, dict(found.known))
        self.second.append(time.monotonic() - began)
        if any(one.skipped != ("unchanged",) for one in again.outcomes):
            raise AssertionError("the second night did something")
        shutil.rmtree(store.root)
        return seconds

    def peer(self) -> float:
        """Eight threads, each loading a table and expiring its snapshots."""
        catalog = self.lake(**{"py-io-impl": f"{__name__}.SlowIO"})
        cutoff = datetime.now(UTC) - POLICY.retention - timedelta(days=1)  # ours counts from when a snapshot was replaced, a day after it was written here

        def expire(name: tuple[str, ...]) -> None:
            catalog.load_table(name).maintenance.expire_snapshots().older_than(cutoff).commit()

        began = time.monotonic()
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(expire, catalog.list_tables(SCHEMA)))
        seconds = time.monotonic() - began
        kept = {len(catalog.load_table((SCHEMA, NAMED.format(number))).metadata.snapshots) for number in (0, self.tables - 1)}
        if kept != {KEPT}:
            raise AssertionError(f"the peer kept {kept} snapshots, ours {KEPT}")
        shutil.rmtree(catalog.properties["local.root"])
        return seconds


KEPT = 8


def measure(options: Options) -> Outcome:
    """Ours and the peer in turns."""
    tables = int(os.environ.get("OL_P10_TABLES", TABLES))
    with scratch() as folder, _postgres(folder) as dsn:
        stage = Stage(folder, dsn, tables)
        series = alternate(options.repeats or 1, {"ours": stage.ours, "peer": stage.peer})
    limit = Series((stage.requests * LATENCY / AT_ONCE,), note="requests × 20 ms / 16")
    scale = tables / FULL
    notes = (
        f"{tables} tables × {SNAPSHOTS} snapshots",
        f"{stage.requests} requests",
        f"{min(stage.reclaimed):.2%} of the unreachable bytes reclaimed, 0 reachable files touched",
    )
    goal = Goal(seconds=GOAL_SECONDS * scale, ratio=GOAL_RATIO)
    first = Case(Series(series["ours"]), Series(series["peer"], note="no file deleted"), limit, goal, notes=notes)
    second = Case(Series(tuple(stage.second)), goal=Goal(seconds=max(1.0, SECOND_NIGHT * scale)), name="second", notes=("a night without changes",))
    with scratch() as folder:
        compacted = cases(folder)
    return Outcome((first, second, *compacted), {"tables": tables, "snapshots": SNAPSHOTS, "latency": LATENCY, "failing": FAILING, "seed": SEED})


def _night(catalog: Catalog, store: LocalStore, latency: Latency, known: dict[str, Known]) -> Run:
    def no_trino() -> Any:
        raise AssertionError("nothing here is worth a statement")

    quarantine = MarkersOnDisk(MovingQuarantine(store, "local:///warehouse"), latency)
    lake = Lake(catalog, TrinoEngine(no_trino), "bench", SlowStore(store, latency), quarantine, AT_ONCE)
    tables = lake.tables([SCHEMA])
    found = lake.maintain(tables, [Work(one, POLICY) for one in tables[SCHEMA]], known, datetime.now(UTC))
    if failed := [one for one in found.outcomes if one.error]:
        raise AssertionError(failed[:3])
    return found


def _check(catalog: Catalog, store: LocalStore, before: dict[str, int], found: Run) -> float:
    """The share of unreachable bytes that is gone; raises when pyiceberg misses a file of any snapshot of any table."""
    after = {one.location: one.size for one in store.list(f"local:///warehouse/{SCHEMA}")}
    reachable: set[str] = set()
    for name in catalog.list_tables(SCHEMA):
        table = catalog.load_table(name)
        if len(table.metadata.snapshots) != KEPT:
            raise AssertionError(f"{name}: {len(table.metadata.snapshots)} snapshots")
        reachable |= {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
        for snapshot in table.metadata.snapshots:
            manifests = snapshot.manifests(table.io)
            reachable |= {snapshot.manifest_list, *(one.manifest_path for one in manifests)}
            reachable |= {entry.data_file.file_path for one in manifests for entry in one.fetch_manifest_entry(table.io)}
    if missing := reachable - after.keys():
        raise AssertionError(f"{len(missing)} reachable files were touched: {sorted(missing)[:3]}")
    unreachable = {location: size for location, size in before.items() if location not in reachable}
    gone = sum(size for location, size in unreachable.items() if location not in after)
    if len(found.outcomes) == 0 or not unreachable:
        raise AssertionError("nothing was unreachable")
    return gone / sum(unreachable.values())


def _template(catalog: Catalog) -> Path:
    rows = pa.table({"id": pa.array(range(500), pa.int64()), "text": [f"row {number} of a raw table" for number in range(500)]})
    table = ensure_table(catalog, TableRef(catalog.name, SCHEMA, NAMED.format(0)), rows.schema, properties=COPYABLE)
    for number in range(SNAPSHOTS):
        table.append(rows) if number == 0 else table.overwrite(rows)
    _spread(catalog, table)
    return local_path(Path(catalog.properties["local.root"]), table.location())


def _spread(catalog: Catalog, table: Any) -> None:
    """Every overwrite is two snapshots; the metadata file is rewritten so that fifteen of them are left, a day apart, the newest a day old."""
    path = local_path(Path(catalog.properties["local.root"]), table.metadata_location)
    data = json.loads(path.read_text())
    kept = sorted(data["snapshots"], key=lambda one: one["sequence-number"])[-SNAPSHOTS:]
    now = int(time.time() * 1000)
    for age, one in enumerate(reversed(kept)):
        one["timestamp-ms"] = now - int((age + 0.5) * 86_400_000)
    data["snapshots"] = kept
    data["snapshot-log"] = [{"snapshot-id": one["snapshot-id"], "timestamp-ms": one["timestamp-ms"]} for one in kept]
    path.write_text(json.dumps(data))


@contextmanager
def _postgres(folder: Path) -> Iterator[str]:
    platform = Platform(Paths(state=folder / "platform"), ())
    platform.start(attached=True)
    try:
        dsn = platform.postgres.dsn("iceberg", driver="psycopg2")
        create_catalog_tables(dsn)
        yield dsn
    finally:
        platform.clean()
