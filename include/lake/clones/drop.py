"""Removes the tables of a pull request or a developer: looks first at what would be removed and whether it may be, then does it.

A table is only taken out of the catalog, never purged: what its metadata names is its base's. Then the files below the schemas' own
folders are deleted, and nothing else. When a table of anybody else lies in such a folder or around it, or one of these tables lies
elsewhere, nothing is removed at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

from include.lake.catalog import location_of, schemas_of
from include.lake.clones.names import CloneError, Lake, check_pull_request, each, forget_view, suffix_of, tag_of, views_of
from include.lake.metadata import Document, Pointer, PointerMovedError, pointer, pointers, publish, read_document, unregister
from include.lake.objects import LocalStore, StoredObject
from include.lake.rights import current_rights
from include.lake.storage import local_path

ATTEMPTS = 10


@dataclass(frozen=True)
class Removal:
    """What a drop removes. ``folders`` are the schemas' own, by schema; ``tags`` are the base's tables that carry the clone's tag, of name ``tag``."""

    schemas: tuple[str, ...]
    tables: tuple[Pointer, ...]
    views: tuple[tuple[str, str], ...]
    folders: dict[str, str]
    files: tuple[StoredObject, ...]
    tags: tuple[Pointer, ...] = ()
    tag: str = ""

    @property
    def bytes(self) -> int:
        """Of all files that go."""
        return sum(file.size for file in self.files)

    def facts(self) -> dict[str, int]:
        """Its size in numbers, for a job's result."""
        return {"tables": len(self.tables), "views": len(self.views), "files": len(self.files), "bytes": self.bytes, "tags": len(self.tags)}

    @property
    def nothing(self) -> bool:
        """Whether there is nothing to remove."""
        return not (self.schemas or self.tags)


def plan_clone_drop(lake: Lake, pull_request: int) -> Removal:
    """What dropping a clone would remove, half-made ones included. Raises :class:`CloneError` when it may not be removed."""
    check_pull_request(lake, pull_request)
    return _plan(lake, suffix_of(pull_request), tag_of(pull_request))


def plan_schema_drop(lake: Lake, suffix: str) -> Removal:
    """What dropping a developer's schemas would remove. Raises :class:`CloneError` when it may not be removed."""
    return _plan(lake, suffix)


def remove(lake: Lake, removal: Removal) -> None:
    """Removes what was planned. Run again after a kill, it finds and removes the rest: the schemas go last."""
    for table in removal.tables:
        current_rights().check_schema(table.schema, "drop a table of")
    each(lambda table: _forget(lake, table), removal.tables)
    for schema, view in removal.views:
        current_rights().check_schema(schema, "drop a view of")
        forget_view(lake.catalog, schema, view)
    lake.store.delete(file.location for file in removal.files)
    for folder in removal.folders.values():  # what came since the plan
        lake.store.delete([file.location for file in lake.store.list(folder)])
        _remove_folders(lake, folder)
    each(lambda table: _untag(lake, table, removal.tag), removal.tags)
    for schema in removal.schemas:
        with suppress(NoSuchNamespaceError):
            lake.catalog.drop_namespace(schema)


def _plan(lake: Lake, suffix: str, tag: str = "") -> Removal:
    wanted = lake.schemas_with(suffix)
    known = schemas_of(lake.catalog)
    schemas = tuple(schema for schema in wanted.values() if schema in known)
    for schema in schemas:
        current_rights().check_schema(schema, "drop")
    listed = dict(zip(known, each(lambda schema: pointers(lake.catalog, schema), known), strict=True))
    folders = {schema: location_of(lake.catalog, schema) for schema in schemas}
    tables = tuple(table for schema in schemas for table in listed[schema])
    others = [table for schema, found in listed.items() if schema not in schemas for table in found]
    base = [table for schema in lake.base_schemas.values() for table in listed.get(schema, ())] if tag else []
    read = dict(each(lambda table: _current(lake, table), base))
    _check(lake, folders, tables, others, {table.name: document.location for table, document in read.items() if document})
    views = tuple((schema, view) for schema in schemas for view in views_of(lake.catalog, schema))
    files = tuple(file for folder in folders.values() for file in lake.store.list(folder))
    carrying = tuple(table for table, document in read.items() if document and tag in document.refs)
    return Removal(schemas, tables, views, folders, files, carrying, tag)


def _current(lake: Lake, table: Pointer) -> tuple[Pointer, Document | None]:
    """A table's metadata as it is now; nothing for one whose metadata file is gone, which nobody can read and no tag can be on."""
    for _ in range(ATTEMPTS):
        with suppress(FileNotFoundError):
            return table, read_document(lake.store, table.location)
        moved = pointer(lake.catalog, table.schema, table.table)
        if moved.location == table.location:
            break
        table = moved
    return table, None


def _check(lake: Lake, folders: dict[str, str], tables: Iterable[Pointer], others: Iterable[Pointer], known: dict[str, str]) -> None:
    """Raises :class:`CloneError` that names every table because of which nothing may be removed."""
    problems = [
        f"schema {schema} lies at {folder}; allowed: a folder of its own name" for schema, folder in folders.items() if folder.rpartition("/")[2] != schema
    ]
    for table, location in each(lambda table: (table, _location(lake, table)), tables):
        if not location.startswith(f"{folders[table.schema]}/"):
            problems.append(f"{table.name} lies at {location}; allowed: a folder below {folders[table.schema]}")
    for table in others:
        for place in {known.get(table.name) or _location(lake, table, trusting=True), table.folder}:
            problems += [f"{table.name} lies at {place}, and {schema} at {folder}" for schema, folder in folders.items() if _overlap(place, folder)]
    if problems:
        raise CloneError("nothing was removed, because of what would go with it:\n" + "\n".join(sorted(problems)))


def _location(lake: Lake, table: Pointer, *, trusting: bool = False) -> str:
    """A table's folder. ``trusting``: where its metadata file lies in a folder named after schema and table, that one, without reading the file."""
    if trusting and f"/{table.schema}/{table.table}" in table.location:
        return table.folder
    try:
        return read_document(lake.store, table.location).location
    except FileNotFoundError:
        return table.folder


def _overlap(one: str, other: str) -> bool:
    one, other = f"{one.rstrip('/')}/", f"{other.rstrip('/')}/"
    return one.startswith(other) or other.startswith(one)


def _remove_folders(lake: Lake, folder: str) -> None:
    """On a disk folders stay when their files go; one that somebody writes to at this moment is left."""
    if not isinstance(lake.store, LocalStore):
        return
    for path, _, _ in os.walk(local_path(lake.store.root, folder), topdown=False):
        with suppress(OSError):
            os.rmdir(path)


def _forget(lake: Lake, table: Pointer) -> None:
    with suppress(NoSuchTableError):
        unregister(lake.catalog, table.schema, table.table)


def _untag(lake: Lake, table: Pointer, tag: str) -> None:
    current_rights().check_tag(table.schema, tag)
    for _ in range(ATTEMPTS):
        try:
            table, document = _current(lake, pointer(lake.catalog, table.schema, table.table))
        except NoSuchTableError:
            return
        if document is None or tag not in document.refs:
            return
        with suppress(PointerMovedError):
            publish(lake.catalog, lake.store, table, document, document.without_ref(tag))
            return
    raise CloneError(f"{table.name}: others committed {ATTEMPTS} times while tag {tag} was to be removed; run the command again")
