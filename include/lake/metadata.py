"""Tables below pyiceberg's models: the catalog's pointers, the metadata files they name, and swapping one for the next.

A metadata file is read and written as the JSON it is, so nothing in it is lost, whoever wrote it, and a file of a thousand snapshots
costs milliseconds. A swap is the catalog's own compare-and-swap: ``jdbc`` by ``UPDATE … WHERE metadata_location``, ``glue`` by ``VersionId``.
Rights are those of :mod:`include.lake.rights`.
"""

from __future__ import annotations

import gzip
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from botocore.exceptions import BotoCoreError, ClientError
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError, TableAlreadyExistsError
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from include.lake.objects import ObjectStore
from include.lake.rights import current_rights

MAIN = "main"
_VERSION = re.compile(r"(?:.*/)?v?([0-9]+)[-.][^/]*metadata\.json\Z")
_COMPRESSED = (".gz.metadata.json", ".metadata.json.gz")
_LOG_KEPT = 100  # Iceberg's default for write.metadata.previous-versions-max
# What UpdateTable takes of what GetTable gives; anything else is refused or, worse, taken for a change.
_GLUE_INPUT = (
    "Name", "Description", "Owner", "LastAccessTime", "LastAnalyzedTime", "Retention", "StorageDescriptor", "PartitionKeys",
    "ViewOriginalText", "ViewExpandedText", "TableType", "Parameters", "TargetTable",
)  # fmt: skip


class PointerMovedError(RuntimeError):
    """Somebody else's commit came first. Nothing was changed; read the table again."""


@dataclass(frozen=True, order=True)
class Pointer:
    """What the catalog says of a table: its metadata file, and for Glue the version that a swap must meet and the entry it is of.

    After a swap both are unknown, and the next one asks for them.
    """

    schema: str
    table: str
    location: str
    lock: str = ""
    entry: Mapping[str, Any] | None = field(default=None, compare=False, repr=False)

    @property
    def name(self) -> str:
        """``schema.table``."""
        return f"{self.schema}.{self.table}"

    @property
    def folder(self) -> str:
        """The table's folder as its metadata file's place tells; only the file itself knows of a table that keeps its metadata elsewhere."""
        return self.location.rpartition("/")[0].removesuffix("/metadata")


@dataclass(frozen=True)
class Document:
    """A table's metadata as it stands in its file (Iceberg's specification, format versions 1 and 2). Never changed: see :meth:`changed`."""

    data: Mapping[str, Any]

    @property
    def location(self) -> str:
        """The table's folder, without a slash at its end."""
        return str(self.data["location"]).rstrip("/")

    @property
    def properties(self) -> Mapping[str, str]:
        """The table's properties."""
        return self.data.get("properties") or {}

    @property
    def snapshots(self) -> tuple[Mapping[str, Any], ...]:
        """All snapshots of all branches."""
        return tuple(self.data.get("snapshots") or ())

    @property
    def refs(self) -> Mapping[str, Mapping[str, Any]]:
        """Branches and tags by name."""
        return self.data.get("refs") or {}

    @property
    def current_snapshot_id(self) -> int | None:
        """The snapshot that readers without a branch see; Iceberg writes -1 or nothing for a table that was never written."""
        found = self.data.get("current-snapshot-id")
        return None if found is None or found == -1 else int(found)

    def snapshot(self, snapshot_id: int | None) -> Mapping[str, Any] | None:
        """One snapshot by its id."""
        return next((found for found in self.snapshots if found["snapshot-id"] == snapshot_id), None)

    def changed(self, **fields: Any) -> Document:
        """A document with other values for some keys, dashes written as underscores; ``None`` removes a key."""
        data = {**self.data, **{key.replace("_", "-"): value for key, value in fields.items()}}
        return Document({key: value for key, value in data.items() if value is not None})

    def with_ref(self, name: str, snapshot_id: int, kind: str = "tag") -> Document:
        """With a branch or tag on a snapshot."""
        return self.changed(refs={**self.refs, name: {"snapshot-id": snapshot_id, "type": kind}})

    def without_ref(self, name: str) -> Document:
        """Without a branch or tag."""
        return self.changed(refs={key: ref for key, ref in self.refs.items() if key != name})


def pointers(catalog: Catalog, schema: str) -> list[Pointer]:
    """All Iceberg tables of a schema, sorted; views are none, and a schema that is not there has none. One query, or one request for a hundred tables."""
    if isinstance(catalog, GlueCatalog):
        found = (_of_glue(schema, table) for table in glue_entries(catalog, schema))
        return sorted(pointer for pointer in found if pointer is not None)
    statement = f"SELECT table_name, metadata_location FROM iceberg_tables {_WHERE_SCHEMA} AND {_IS_TABLE}"  # noqa: S608 - constants
    with sql_catalog(catalog).engine.connect() as connection:
        rows = connection.execute(text(statement), {"catalog": catalog.name, "schema": schema})
        return sorted(Pointer(schema, str(table), str(location)) for table, location in rows)


def glue_entries(catalog: GlueCatalog, schema: str) -> list[Any]:
    """Everything that Glue lists in a schema, views and foreign tables too; nothing for a schema that is not there. One request for a hundred."""
    pages = catalog.glue.get_paginator("get_tables").paginate(DatabaseName=schema)
    try:
        return [entry for page in pages for entry in page["TableList"]]
    except catalog.glue.exceptions.EntityNotFoundException:
        return []


def pointer(catalog: Catalog, schema: str, table: str) -> Pointer:
    """One table's pointer as it is now. Raises ``NoSuchTableError``."""
    found: Pointer | None = None
    if isinstance(catalog, GlueCatalog):
        try:
            found = _of_glue(schema, catalog.glue.get_table(DatabaseName=schema, Name=table)["Table"])
        except catalog.glue.exceptions.EntityNotFoundException:
            found = None
    else:
        statement = f"SELECT metadata_location FROM iceberg_tables {_WHERE_TABLE} AND {_IS_TABLE}"  # noqa: S608 - constants
        with sql_catalog(catalog).engine.connect() as connection:
            location = connection.execute(text(statement), {"catalog": catalog.name, "schema": schema, "table": table}).scalar()
        found = Pointer(schema, table, location) if location else None
    if found is None:
        raise NoSuchTableError(f"{schema}.{table}: the catalog {catalog.name} has no Iceberg table of this name")
    return found


def read_document(store: ObjectStore, location: str) -> Document:
    """A metadata file. Raises ``FileNotFoundError``, and ``ValueError`` for anything that is not a table's metadata."""
    return parse_document(location, store.read(location))


def parse_document(location: str, data: bytes) -> Document:
    """A metadata file that was read already; ``location`` says whether it is compressed. Raises ``ValueError`` for anything that is none."""
    try:
        found = orjson.loads(gzip.decompress(data) if location.endswith(_COMPRESSED) else data)
    except (ValueError, OSError) as error:
        raise ValueError(f"{location}: found {data[:60]!r}, which is not JSON ({error}); allowed: a table's metadata") from None
    if not isinstance(found, dict) or "location" not in found or found.get("format-version") not in (1, 2):
        version = found.get("format-version") if isinstance(found, dict) else None
        raise ValueError(f"{location}: found format-version {version!r}; allowed: a table's metadata of version 1 or 2")
    return Document(found)


def publish(catalog: Catalog, store: ObjectStore, current: Pointer, old: Document, new: Document) -> Pointer:
    """Writes ``new`` as the next metadata file and makes the catalog name it, if it still names the one that ``old`` was read from.

    The metadata log grows by that file, under the time that stands in it, is sorted and keeps no file twice. Raises
    :class:`PointerMovedError`; the new file is then removed again. Does not ask for rights on the schema: callers say what they are about to do.
    """
    now = max(int(time.time() * 1000), int(old.data.get("last-updated-ms", 0)))
    document = new.changed(last_updated_ms=now, metadata_log=_log(current, old))
    location = _next_location(current.location, document)
    store.create(location, serialised(document, location))
    try:
        landed = _swap(catalog, current, location, document)
    except (SQLAlchemyError, BotoCoreError, ClientError):
        found = pointer(catalog, current.schema, current.table)  # the answer was lost, or never came
        if found.location != location:
            raise  # the file stays: the swap may still arrive, and then needs it
        return found
    if not landed:
        store.take_back(location)
        raise PointerMovedError(f"{current.name}: somebody else committed after {current.location}")
    return Pointer(current.schema, current.table, location)


def register(catalog: Catalog, schema: str, table: str, location: str, *, like: Pointer | None = None) -> None:
    """Makes the catalog name a table with this metadata file. Raises ``TableAlreadyExistsError`` and, without the schema, ``NoSuchNamespaceError``.

    :param like: a table of the same columns; where the catalog keeps them beside the pointer, they are taken from there, which saves a reading.
    """
    current_rights().check_catalog(catalog.name, "register a table in")
    current_rights().check_schema(schema, "register a table in")
    if isinstance(catalog, GlueCatalog):
        if like is None or like.entry is None:
            catalog.register_table((schema, table), location)
        else:
            _create_in_glue(catalog, schema, table, location, like.entry)
        return
    catalog.load_namespace_properties(schema)
    values = {"catalog": catalog.name, "schema": schema, "table": table, "location": location}
    columns = "catalog_name, table_namespace, table_name, metadata_location, iceberg_type"
    try:
        with sql_catalog(catalog).engine.begin() as connection:
            connection.execute(text(f"INSERT INTO iceberg_tables ({columns}) VALUES (:catalog, :schema, :table, :location, 'TABLE')"), values)  # noqa: S608
    except IntegrityError:
        raise TableAlreadyExistsError(f"{schema}.{table}: there is a table or view of this name") from None


def unregister(catalog: Catalog, schema: str, table: str) -> None:
    """Makes the catalog forget a table; no file is touched. Raises ``NoSuchTableError``."""
    catalog.drop_table((schema, table))


def serialised(document: Document, location: str) -> bytes:
    """A metadata file's bytes, compressed where its name says so."""
    data = orjson.dumps(document.data)
    return gzip.compress(data) if location.endswith(_COMPRESSED) else data


def metadata_folder(document: Document) -> str:
    """Where a table's metadata files are written."""
    return document.properties.get("write.metadata.path", f"{document.location}/metadata").rstrip("/")


_WHERE_SCHEMA = "WHERE catalog_name = :catalog AND table_namespace = :schema"
_WHERE_TABLE = f"{_WHERE_SCHEMA} AND table_name = :table"
_IS_TABLE = "(iceberg_type = 'TABLE' OR iceberg_type IS NULL)"


def _swap(catalog: Catalog, current: Pointer, location: str, document: Document) -> bool:
    if isinstance(catalog, GlueCatalog):
        return _swap_glue(catalog, current, location)
    statement = f"UPDATE iceberg_tables SET metadata_location = :new, previous_metadata_location = :old {_WHERE_TABLE} AND metadata_location = :old"  # noqa: S608
    values = {"catalog": catalog.name, "schema": current.schema, "table": current.table, "new": location, "old": current.location}
    with sql_catalog(catalog).engine.begin() as connection:
        return connection.execute(text(statement), values).rowcount == 1


def _swap_glue(catalog: GlueCatalog, current: Pointer, location: str) -> bool:
    found = current.entry if current.lock else None
    if found is None:
        found = catalog.glue.get_table(DatabaseName=current.schema, Name=current.table)["Table"]
        if found.get("Parameters", {}).get("metadata_location") != current.location or (current.lock and found.get("VersionId") != current.lock):
            return False
    asked: Any = {key: found[key] for key in _GLUE_INPUT if key in found}
    asked["Parameters"] = {**found["Parameters"], "metadata_location": location, "previous_metadata_location": current.location}
    try:
        catalog.glue.update_table(DatabaseName=current.schema, TableInput=asked, VersionId=found["VersionId"], SkipArchive=True)
    except catalog.glue.exceptions.ConcurrentModificationException:
        return False
    return True


def _create_in_glue(catalog: GlueCatalog, schema: str, table: str, location: str, like: Mapping[str, Any]) -> None:
    asked: Any = {key: like[key] for key in ("Description", "TableType", "StorageDescriptor") if key in like}
    asked |= {"Name": table, "Parameters": {"table_type": "ICEBERG", "metadata_location": location}}
    asked["StorageDescriptor"] = {**asked.get("StorageDescriptor", {}), "Location": location.rpartition("/metadata/")[0]}
    try:
        catalog.glue.create_table(DatabaseName=schema, TableInput=asked)
    except catalog.glue.exceptions.AlreadyExistsException:
        raise TableAlreadyExistsError(f"{schema}.{table}: there is a table or view of this name") from None
    except catalog.glue.exceptions.EntityNotFoundException:
        raise NoSuchNamespaceError(f"{schema}: the catalog {catalog.name} has no schema of this name") from None


def _of_glue(schema: str, table: Any) -> Pointer | None:
    parameters = table.get("Parameters") or {}
    if str(parameters.get("table_type", "")).upper() != "ICEBERG" or "metadata_location" not in parameters:
        return None
    return Pointer(schema, table["Name"], parameters["metadata_location"], str(table.get("VersionId", "")), table)


def _log(current: Pointer, old: Document) -> list[dict[str, Any]]:
    entries = {entry["metadata-file"]: dict(entry) for entry in old.data.get("metadata-log") or ()}
    entries[current.location] = {"metadata-file": current.location, "timestamp-ms": int(old.data.get("last-updated-ms", 0))}
    kept = int(old.properties.get("write.metadata.previous-versions-max", _LOG_KEPT))
    return sorted(entries.values(), key=lambda entry: entry["timestamp-ms"])[-max(kept, 1) :]


def _next_location(location: str, document: Document) -> str:
    found = _VERSION.match(location)
    compressed = ".gz" if location.endswith(_COMPRESSED) else ""
    return f"{metadata_folder(document)}/{int(found[1]) + 1 if found else 0:05d}-{uuid.uuid4()}{compressed}.metadata.json"


def sql_catalog(catalog: Catalog) -> SqlCatalog:
    """A catalog that is no Glue, as what it must then be. Raises ``TypeError``."""
    if not isinstance(catalog, SqlCatalog):
        raise TypeError(f"catalog {catalog.name}: found {type(catalog).__name__}; allowed: a jdbc or a glue catalog")
    return catalog
