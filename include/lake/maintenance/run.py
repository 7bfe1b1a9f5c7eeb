"""A night's run over many tables: one listing a schema, sixteen requests at a time, one row for every table."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from threading import BoundedSemaphore

from pyiceberg.catalog import Catalog

from include.lake.catalog import schemas_of
from include.lake.maintenance.folders import Folders, all_pointers, folder_of
from include.lake.maintenance.model import Known, Outcome, Policy
from include.lake.maintenance.quarantine import Quarantine, quarantine_of
from include.lake.maintenance.reach import canonical
from include.lake.maintenance.statements import Engine
from include.lake.maintenance.tables import Surroundings, TableMaintenance
from include.lake.metadata import Pointer, pointers
from include.lake.objects import ObjectStore, StoredObject, store_of

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Work:
    """One table of a run."""

    pointer: Pointer
    policy: Policy


@dataclass(frozen=True)
class Run:
    """What became of all tables, what to remember of them, and files in the schemas' folders that lie in no table's: those are only counted."""

    outcomes: tuple[Outcome, ...]
    known: Mapping[str, Known]
    loose_files: int = 0
    loose_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Lake:
    """Where a run works. ``schema_prefix`` is that of all schemas whose tables could share files with one another."""

    catalog: Catalog
    engine: Engine
    schema_prefix: str
    store: ObjectStore | None = None
    quarantine: Quarantine | None = None
    at_once: int = 16

    def tables(self, schemas: Sequence[str]) -> dict[str, list[Pointer]]:
        """The tables of some schemas; none of a schema that is not there yet."""
        there = schemas_of(self.catalog)
        return {schema: pointers(self.catalog, schema) if schema in there else [] for schema in schemas}

    def maintain(
        self, tables: Mapping[str, Sequence[Pointer]], work: Sequence[Work], known: Mapping[str, Known], now: datetime, *, dry_run: bool = False
    ) -> Run:
        """Maintains the tables of ``work``, which are some of ``tables`` (all of some schemas). ``known`` is what the last run remembered, by name."""
        began = time.monotonic()
        store = self.store or store_of(self.catalog)
        turns = BoundedSemaphore(self.at_once)

        def read(location: str) -> bytes:
            with turns:
                return store.read(location)

        folders = Folders.of(all_pointers(self.catalog, self.schema_prefix, tables))
        with ThreadPoolExecutor(self.at_once) as requests, ThreadPoolExecutor(self.at_once) as workers:
            listed, loose = self._list(store, folders, [one.pointer for one in work], workers)
            quarantine = self.quarantine or quarantine_of(self.catalog, store, requests)
            around = Surroundings(self.catalog, store, self.engine, quarantine, folders, read, requests, now, dry_run)
            found = list(workers.map(lambda one: _one(around, one, known, listed), work))
        remembered = {outcome.name: entry for outcome, entry in found if entry is not None}
        outcomes = tuple(outcome for outcome, _ in found)
        return Run(outcomes, remembered, len(loose), sum(one.size for one in loose), time.monotonic() - began)

    def _list(
        self, store: ObjectStore, folders: Folders, tables: Sequence[Pointer], workers: ThreadPoolExecutor
    ) -> tuple[dict[str, list[StoredObject]], list[StoredObject]]:
        schemas = {one.schema: self._folder_of_schema(one.schema) for one in tables}
        outside = {folder for one in tables if not (folder := folder_of(one)).startswith(f"{schemas[one.schema]}/")}
        by_folder: dict[str, list[StoredObject]] = {}
        loose: list[StoredObject] = []
        for found, others in workers.map(lambda prefix: folders.files(store, prefix), [*sorted(set(schemas.values())), *sorted(outside)]):
            by_folder |= found
            loose += others
        return by_folder, loose

    def _folder_of_schema(self, schema: str) -> str:
        location = self.catalog.load_namespace_properties(schema).get("location")
        return canonical(location or f"{self.catalog.properties['warehouse'].rstrip('/')}/{schema}").rstrip("/")


def _one(around: Surroundings, work: Work, known: Mapping[str, Known], listed: Mapping[str, Sequence[StoredObject]]) -> tuple[Outcome, Known | None]:
    maintenance = TableMaintenance(around, work.pointer, work.policy, known.get(work.pointer.name), listed.get(folder_of(work.pointer), ()))
    return maintenance.run()
