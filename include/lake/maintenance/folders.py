"""Which files lie in which table's folder, from one listing of a whole schema; and which folders are no one table's own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyiceberg.catalog import Catalog

from include.lake.catalog import schemas_of
from include.lake.maintenance.reach import canonical
from include.lake.metadata import Pointer, pointers
from include.lake.objects import ObjectStore, StoredObject


def folder_of(pointer: Pointer) -> str:
    """A table's folder, in the one form in which a listing's files are told apart by folder."""
    return canonical(pointer.folder).rstrip("/")


def all_pointers(catalog: Catalog, schema_prefix: str, known: Mapping[str, Iterable[Pointer]]) -> list[Pointer]:
    """The tables of every schema with a prefix, clones' included; ``known`` are schemas that were asked for already."""
    others = set(schemas_of(catalog)) - known.keys()
    found = [one for every in known.values() for one in every]
    return found + [one for schema in sorted(others) if schema.startswith(schema_prefix) for one in pointers(catalog, schema)]


@dataclass(frozen=True)
class Folders:
    """The folders of all tables, each with those it belongs to."""

    owners: Mapping[str, tuple[str, ...]]

    @classmethod
    def of(cls, tables: Iterable[Pointer]) -> Folders:
        """Those of some tables."""
        owners: defaultdict[str, list[str]] = defaultdict(list)
        for one in tables:
            owners[folder_of(one)].append(one.name)
        return cls({folder: tuple(sorted(names)) for folder, names in owners.items()})

    def why_shared(self, table: str, folder: str) -> str:
        """Why nothing may be taken out of a folder as one table's own; empty when it is nobody else's."""
        folder = canonical(folder).rstrip("/")
        if others := [name for name in self.owners.get(folder, ()) if name != table]:
            return f"its folder is that of {', '.join(others)}, too"
        if above := [name for parent in _parents(folder) for name in self.owners.get(parent, ()) if name != table]:
            return f"its folder lies in that of {', '.join(above)}"
        if below := [name for names in self._below(folder) for name in names if name != table]:
            return f"the folder of {', '.join(below)} lies in it"
        return ""

    def _below(self, folder: str) -> list[tuple[str, ...]]:
        return [names for other, names in self.owners.items() if other.startswith(f"{folder}/")]

    def files(self, store: ObjectStore, prefix: str) -> tuple[dict[str, list[StoredObject]], list[StoredObject]]:
        """One listing: files by the folder of the table they lie in, and files that lie in no table's."""
        by_folder: defaultdict[str, list[StoredObject]] = defaultdict(list)
        loose: list[StoredObject] = []
        nearest: dict[str, str] = {}
        for one in store.list(prefix):
            parent = one.location.rpartition("/")[0]
            if parent not in nearest:
                nearest[parent] = next((place for place in (parent, *_parents(parent)) if place in self.owners), "")
            (by_folder[nearest[parent]] if nearest[parent] else loose).append(one)
        return by_folder, loose


def _parents(folder: str) -> list[str]:
    found = []
    while (parent := folder.rpartition("/")[0]) and "://" in parent and not parent.endswith("/"):
        found.append(parent)
        folder = parent
    return found
