"""P15: 628 tables cloned without a copied byte, and dropped again, on the catalog in PostgreSQL with the files on this disk; and on Glue at 50 ms a call.

Ours is what ``clone create`` and ``clone drop`` do, without the start of the process: a tag on every table of the base, a metadata file of its own for every
clone, the catalog's entries; all of it gone again. The peer is pyiceberg's ``register_table`` of the base's own metadata files, one after the other, and its
``drop_table``: no tags, no files, nothing that keeps the base safe. The limit writes and removes the same files and rows with nothing in between; on Glue it
is two calls a table (the tag's, the clone's), as many at a time.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.glue import GlueCatalog

from benchmarks.options import Options
from benchmarks.results import Case, Goal, Outcome, Series, alternate
from benchmarks.stage import scratch
from include.config.environments import current_environment
from include.config.vocabulary import Layer
from include.lake.catalog import create_catalog_tables, ensure_schema, ensure_table, open_catalog
from include.lake.clones.create import Done, create_clone
from include.lake.clones.drop import plan_clone_drop, remove
from include.lake.clones.names import IN_FLIGHT, Lake
from include.lake.clones.registry import clones_of
from include.lake.metadata import Document, Pointer, pointer, pointers, read_document, register, serialised
from include.lake.names import TableRef
from include.local.paths import Paths
from include.local.platform import running_platform
from tests.lake.moto_server import moto

SHARES = {Layer.STAGING: 330, Layer.INTERMEDIATE: 170, Layer.DIMENSIONAL: 60, Layer.MART: 40, Layer.REPORTING: 28}
TABLES = sum(SHARES.values())
COLUMNS, SNAPSHOTS, PR, REPEATS = 40, 15, 1523, 5
PEER = "pr_1"  # on a laptop without a suffix only schemas of pull requests may be made beside its own
CREATE, DROP, ON_GLUE = Goal(seconds=5.0), Goal(seconds=3.0), Goal(seconds=8.0)
GLUE_CALL = 0.05  # seconds


def measure(options: Options) -> Outcome:
    """Create and drop by ours, the peer and the limit, in turns, over one base."""
    with scratch() as folder, running_platform(Paths(state=folder / "state"), ()) as platform:
        with psycopg.connect(platform.postgres_dsn, autocommit=True) as server:
            server.execute("CREATE DATABASE clones")
        dsn = platform.postgres.dsn("clones", driver="psycopg2")
        create_catalog_tables(dsn)
        environment = current_environment()
        properties = {"uri": dsn, "local.root": str(folder / "lake"), "warehouse": "local:///warehouse"}
        stage = _Stage(Lake(environment, open_catalog(environment, properties)), folder, platform.postgres.dsn("clones"))
        stage.prepare()
        series = alternate(options.repeats or REPEATS, {"limit": stage.limit, "ours": stage.ours, "peer": stage.peer})
    inputs = {"tables": TABLES, "columns": COLUMNS, "snapshots": SNAPSHOTS}
    create, drop = (
        Case(
            Series(series["ours"] if not dropping else tuple(stage.drops["ours"]), "tags, metadata files, entries"),
            Series(series["peer"] if not dropping else tuple(stage.drops["peer"]), "entries alone: pyiceberg, one after the other"),
            Series(series["limit"] if not dropping else tuple(stage.drops["limit"]), "the same files and rows"),
            goal,
            name="drop" if dropping else "",
            notes=(f"{TABLES} tables of {COLUMNS} columns and {SNAPSHOTS} snapshots", f"{stage.data_bytes} data bytes copied") if not dropping else (),
        )
        for goal, dropping in ((CREATE, False), (DROP, True))
    )
    return Outcome((create, drop, _on_glue()), inputs)


def _on_glue() -> Case:
    """The same on moto's Glue, with the files on this disk: what is measured are the calls. Once each."""
    with scratch() as folder, moto() as properties:
        catalog = open_catalog(current_environment(), {**properties, "local.root": str(folder / "lake"), "warehouse": "local:///warehouse"})
        calls: list[str] = []
        stage = _Stage(Lake(current_environment(), catalog), folder, "")
        stage.prepare()
        _slow(catalog, calls)
        begin = time.perf_counter()
        done = create_clone(stage.lake, PR)
        seconds, made = time.perf_counter() - begin, len(calls)
        assert [one.done for one in done] == [Done.CLONED] * TABLES
        stage._check_clone(f"pr_{PR}")
        with _timed(stage.drops["ours"]):
            remove(stage.lake, plan_clone_drop(stage.lake, PR))
        assert clones_of(stage.lake) == []
    limit = Series((2 * TABLES * GLUE_CALL / IN_FLIGHT,), f"two calls a table, {IN_FLIGHT} at a time")
    notes = (f"{GLUE_CALL * 1000:.0f} ms a call, {made / TABLES:.2f} calls a table", f"dropped in {stage.drops['ours'][0]:.1f} s")
    return Case(Series((seconds,)), None, limit, ON_GLUE, name="glue", notes=notes)


def _slow(catalog: Catalog, calls: list[str]) -> None:
    """Every call of Glue's takes so long on its way, and is noted."""

    def wait(operation_name: str = "", **_: object) -> None:
        calls.append(operation_name)
        time.sleep(GLUE_CALL)

    assert isinstance(catalog, GlueCatalog)
    catalog.glue.meta.events.register("before-call.glue", wait)


class _Stage:
    """The base, and the seconds of every drop beside the create that came before it."""

    def __init__(self, lake: Lake, folder: Path, dsn: str) -> None:
        self.lake, self.folder, self.dsn = lake, folder, dsn
        self.drops: dict[str, list[float]] = {"ours": [], "peer": [], "limit": []}
        self.data_bytes = 0
        self.heads: dict[str, int | None] = {}

    def prepare(self) -> None:
        """One real table with a history; its metadata, under another id and folder each, is every table of the base."""
        catalog, store = self.lake.catalog, self.lake.store
        for schema in self.lake.base_schemas.values():
            ensure_schema(catalog, schema)
        model = ensure_table(catalog, TableRef(self.lake.environment.lake.catalog, "model", "model"), _schema())
        for number in range(SNAPSHOTS):
            model.append(pa.table({field.name: [number] for field in _schema()}, schema=_schema()))
        found = read_document(store, pointer(catalog, "model", "model").location)
        for layer, count in SHARES.items():
            schema = self.lake.base_schemas[layer]
            for number in range(count):
                location = f"local:///warehouse/{schema}/t{number:03d}-{uuid.uuid4().hex}"
                document = Document({**found.data, "location": location, "table-uuid": str(uuid.uuid4())})
                metadata = f"{location}/metadata/00015-{uuid.uuid4()}.metadata.json"
                store.create(metadata, serialised(document, metadata))
                register(catalog, schema, f"t{number:03d}", metadata)
        self.heads = {table.name: found.current_snapshot_id for table in self._base()}
        assert len(self.heads) == TABLES

    def _base(self) -> list[Pointer]:
        return [table for schema in self.lake.base_schemas.values() for table in pointers(self.lake.catalog, schema)]

    def _check_clone(self, suffix: str) -> None:
        """Every table of the base is there and shows the base's snapshot."""
        shown = {}
        for layer, schema in self.lake.schemas_with(suffix).items():
            for table in pointers(self.lake.catalog, schema):
                shown[f"{self.lake.base_schemas[layer]}.{table.table}"] = read_document(self.lake.store, table.location).current_snapshot_id
        assert shown == self.heads, f"found {len(shown)} tables, or others' snapshots"

    def _files(self) -> dict[str, int]:
        return {file.location: file.size for file in self.lake.store.list("local:///warehouse") if not file.location.endswith(".metadata.json")}

    def ours(self) -> float:
        before = self._files()
        begin = time.perf_counter()
        done = create_clone(self.lake, PR)
        seconds = time.perf_counter() - begin
        assert [one.done for one in done] == [Done.CLONED] * TABLES
        self._check_clone(f"pr_{PR}")
        self.data_bytes = sum(self._files().values()) - sum(before.values())
        assert self._files() == before, "files of data were copied"
        with _timed(self.drops["ours"]):
            remove(self.lake, plan_clone_drop(self.lake, PR))
        assert clones_of(self.lake) == []
        return seconds

    def peer(self) -> float:
        catalog = self.lake.catalog
        targets = self.lake.schemas_with(PEER)
        base = [(layer, table) for layer, schema in self.lake.base_schemas.items() for table in pointers(catalog, schema)]
        begin = time.perf_counter()
        for schema in targets.values():
            catalog.create_namespace(schema)
        for layer, table in base:
            catalog.register_table((targets[layer], table.table), table.location)
        seconds = time.perf_counter() - begin
        self._check_clone(PEER)
        with _timed(self.drops["peer"]):
            _forget(catalog, targets.values())
        return seconds

    def limit(self) -> float:
        """Twice as many files as tables (a tag is a file as well), written and removed; rows in one statement each."""
        documents = [self.lake.store.read(table.location) for table in self._base()]
        folder = self.folder / "limit"
        begin = time.perf_counter()
        for number, data in enumerate(documents * 2):
            (folder / str(number)).mkdir(parents=True)
            (folder / str(number) / "metadata.json").write_bytes(data)
        rows = [("limit", "s", str(number), "x", "TABLE") for number in range(TABLES)]
        _in_one(self.dsn, "INSERT INTO iceberg_tables VALUES (%s, %s, %s, %s, NULL, %s)", rows)
        seconds = time.perf_counter() - begin
        with _timed(self.drops["limit"]):
            for number in range(TABLES):
                os.unlink(folder / str(number) / "metadata.json")
            for number in range(TABLES):
                (folder / f"{number}").joinpath("again.json").write_bytes(documents[number])
            _in_one(self.dsn, "DELETE FROM iceberg_tables WHERE catalog_name = %s", [("limit",)])
        for path in sorted(folder.rglob("*"), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        folder.rmdir()
        return seconds


def _schema() -> pa.Schema:
    return pa.schema([pa.field(f"c{number:02d}", pa.int64()) for number in range(COLUMNS)])


def _forget(catalog: Catalog, schemas: Iterable[str]) -> None:
    for schema in schemas:
        for table in catalog.list_tables(schema):
            catalog.drop_table(table)
        catalog.drop_namespace(schema)


def _in_one(dsn: str, statement: str, rows: Sequence[tuple[str, ...]]) -> None:
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.executemany(statement, rows)


@contextmanager
def _timed(found: list[float]) -> Iterator[None]:
    begin = time.perf_counter()
    yield
    found.append(time.perf_counter() - begin)
