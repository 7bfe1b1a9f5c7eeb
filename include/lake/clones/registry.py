"""Which clones there are: read from the catalog's schemas, the tables in them and the tags on the base's tables, and kept nowhere else."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from pyiceberg.exceptions import NoSuchTableError

from include.lake.catalog import location_of, schemas_of
from include.lake.clones.names import CLONED_AT, CREATED_AT, Lake, each, pull_request_of_tag
from include.lake.metadata import Document, Pointer, pointer, pointers, read_document


@dataclass(frozen=True)
class Clone:
    """One pull request's: number of tables, bytes of files of its own, when it was made, last written to (UTC), and the base's snapshots it keeps."""

    pull_request: int
    schemas: tuple[str, ...]
    tables: int
    bytes: int
    created: datetime | None
    written: datetime | None
    pinned: int


def clones_of(lake: Lake) -> list[Clone]:
    """All clones, by pull request; also what is left of half-made and half-dropped ones. Bytes are counted by listing the clones' folders."""
    schemas: dict[int, list[str]] = {}
    for schema in schemas_of(lake.catalog):
        number = lake.pull_request_of(schema)
        if number is not None:
            schemas.setdefault(number, []).append(schema)
    pinned = _pinned(lake)
    return [_clone(lake, number, schemas.get(number, ()), pinned.get(number, 0)) for number in sorted(schemas.keys() | pinned.keys())]


def _clone(lake: Lake, number: int, schemas: Iterable[str], pinned: int) -> Clone:
    schemas = tuple(schemas)
    tables = [table for schema in schemas for table in pointers(lake.catalog, schema)]
    properties = [lake.catalog.load_namespace_properties(schema) for schema in schemas]
    created = [_moment(found[CREATED_AT]) for found in properties if CREATED_AT in found]
    written = [*created, *each(lambda table: _newest(lake, table), tables)]
    size = sum(file.size for schema in schemas for file in lake.store.list(location_of(lake.catalog, schema)))
    return Clone(number, schemas, len(tables), size, min(created, default=None), max((moment for moment in written if moment), default=None), pinned)


def _newest(lake: Lake, table: Pointer) -> datetime | None:
    """When a table was cloned or last written to; a clone's base may have been written before either."""
    document = _read(lake, table)
    if document is None:
        return None
    moments = [datetime.fromtimestamp(snapshot["timestamp-ms"] / 1000, UTC) for snapshot in document.snapshots]
    return max([*moments, *(_moment(document.properties[key]) for key in (CLONED_AT,) if key in document.properties)], default=None)


def _pinned(lake: Lake) -> dict[int, int]:
    """The number of the base's tables that carry each pull request's tag."""
    found: dict[int, int] = {}
    tables = [table for schema in lake.base_schemas.values() for table in pointers(lake.catalog, schema)]
    for document in each(lambda table: _read(lake, table), tables):
        for tag in document.refs if document else ():
            number = pull_request_of_tag(tag)
            if number is not None:
                found[number] = found.get(number, 0) + 1
    return found


def _read(lake: Lake, table: Pointer) -> Document | None:
    """A table's metadata; nothing for a table that is dropped at this moment."""
    for _ in range(3):
        with suppress(FileNotFoundError):
            return read_document(lake.store, table.location)
        with suppress(NoSuchTableError):
            table = pointer(lake.catalog, table.schema, table.table)
    return None


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
