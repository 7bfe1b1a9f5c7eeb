"""A dump in mongodump's layout: ``<prefix>/<database>/<collection>.bson`` (or ``.bson.gz``) and ``<collection>.metadata.json``, behind any fsspec URL.

``forum-dump`` adds ``dump.json``: when the dump was taken, and of each collection the number of documents, bytes and SHA-256, so that a reader can tell a whole
dump from any other. mongodump itself writes nothing of that kind.
"""

from __future__ import annotations

import gzip
import json
import posixpath
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO, cast
from urllib.parse import unquote

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from include.contract import PermanentError, TransientError
from include.jobs.openedx.forum.frames import CutFileError
from include.jobs.openedx.prefixes import filesystem_of, objects_below

RECORD = "dump.json"
DATA, METADATA = ".bson", ".metadata.json"


class CollectionRecord(BaseModel):
    """What ``forum-dump`` wrote of a collection: documents, and bytes and SHA-256 of the uncompressed BSON."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    documents: int
    bytes: int
    sha256: str


class DumpRecord(BaseModel):
    """The content of ``dump.json``. ``started_at``: everything written before is in the dump."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    database: str
    started_at: AwareDatetime
    collections: dict[str, CollectionRecord]


@dataclass(frozen=True)
class Collection:
    """One collection of a dump: its name, its object, and what the dump says of itself, if it does."""

    name: str
    path: str
    gzipped: bool
    stamp: tuple[int, str]
    """Size of the object, and its tag or time: when they change, somebody is still writing."""
    record: CollectionRecord | None = None


@dataclass(frozen=True)
class Dump:
    """The collections of one database in a dump. ``taken_at`` is told by ``dump.json``, else it is when the newest object was written."""

    filesystem: Any
    url: str
    database: str
    taken_at: datetime
    collections: tuple[Collection, ...]
    left_out: tuple[str, ...] = field(default=())
    """The server's own collections, and views, which have no documents."""

    @contextmanager
    def open(self, collection: Collection) -> Iterator[BinaryIO]:
        """The object's bytes. Raises ``TransientError`` at the end when the object has changed since it was listed, whether or not it seemed damaged."""
        cut: CutFileError | None = None
        with self.filesystem.open(collection.path, "rb", block_size=16 << 20) as stream:
            try:
                yield cast("BinaryIO", stream)
            except CutFileError as error:
                cut = error
        if _stamp(self.filesystem, collection.path) != collection.stamp:
            raise TransientError(f"{collection.path}: changed while it was read; a dump is loaded once it is complete")
        if cut is not None:
            raise cut


def find_dump(url: str, database: str = "", taken_at: datetime | None = None) -> Dump:
    """The dump at a prefix. ``database`` may be left out when there is one. Raises ``PermanentError`` that says what is missing or unclear."""
    filesystem, prefix = filesystem_of(url)
    below = objects_below(url, filesystem, prefix)
    paths = [path for path in below if path.startswith(prefix + "/") and path.count("/", len(prefix) + 1) == 1]
    name = _database(url, paths, prefix, database)
    folder = f"{prefix}/{name}/"
    files = {path[len(folder) :]: path for path in paths if path.startswith(folder)}
    record = _record(filesystem, files.get(RECORD), name)
    data, described = _sort(url, files)
    known = {described_name: _metadata(filesystem, path) for described_name, path in described.items()}
    collections: list[Collection] = []
    left_out: list[str] = []
    for stem, path in data.items():
        if stem not in known:
            raise PermanentError(f"{path}: found no {stem}{METADATA} beside it; allowed: whole dumps, so this one is not complete")
        collection = str(known[stem].get("collectionName") or unquote(stem))
        if collection.startswith("system."):
            left_out.append(collection)
            continue
        of_record = None if record is None else record.collections.get(collection)
        if record is not None and of_record is None:
            raise PermanentError(f"{path}: found no {collection} in {RECORD}; allowed: {', '.join(record.collections)}")
        collections.append(Collection(collection, path, path.endswith(".gz"), _stamp(filesystem, path), of_record))
    left_out += [unquote(stem) for stem, metadata in known.items() if stem not in data and metadata.get("type") == "view"]
    _check_complete(url, [stem for stem in known if stem not in data and known[stem].get("type") != "view"], record, collections)
    moment = taken_at or (record.started_at if record else max(filesystem.modified(one.path) for one in collections))
    return Dump(filesystem, url, name, moment.astimezone(UTC), tuple(collections), tuple(left_out))


def _database(url: str, paths: list[str], prefix: str, wanted: str) -> str:
    found = sorted({path[len(prefix) + 1 :].partition("/")[0] for path in paths if DATA in posixpath.basename(path)})
    if wanted and wanted in found:
        return wanted
    if wanted or len(found) != 1:
        allowed = f"a database of {', '.join(found)}" if found else "a prefix with <database>/<collection>.bson below it"
        raise PermanentError(f"{url}: found {wanted or 'no --database'} and {len(found)} databases; allowed: {allowed}")
    return found[0]


def _sort(url: str, files: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Objects with documents, and with metadata, by the collection's name as it stands in the object's."""
    data: dict[str, str] = {}
    described: dict[str, str] = {}
    for file, path in sorted(files.items()):
        plain = file.removesuffix(".gz")
        for suffix, group in ((METADATA, described), (DATA, data)):
            if plain.endswith(suffix):
                stem = plain.removesuffix(suffix)
                if stem in group:
                    raise PermanentError(f"{url}: found {group[stem]} and {path}; allowed: one object for a collection")
                group[stem] = path
                break
    return data, described


def _metadata(filesystem: Any, path: str) -> dict[str, Any]:
    raw = filesystem.cat_file(path)
    try:
        found = json.loads(gzip.decompress(raw) if path.endswith(".gz") else raw)
    except (ValueError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise PermanentError(f"{path}: found no JSON ({error}); allowed: the metadata that mongodump writes") from error
    if not isinstance(found, dict):
        raise PermanentError(f"{path}: found {type(found).__name__}; allowed: an object, as mongodump writes it")
    return found


def _record(filesystem: Any, path: str | None, database: str) -> DumpRecord | None:
    if path is None:
        return None
    try:
        record = DumpRecord.model_validate_json(filesystem.cat_file(path))
    except ValidationError as error:
        raise PermanentError(f"{path}: {error}") from error
    if record.database != database:
        raise PermanentError(f"{path}: found database {record.database}; allowed: {database}, whose folder it is in")
    return record


def _check_complete(url: str, undumped: list[str], record: DumpRecord | None, collections: list[Collection]) -> None:
    missing = undumped + sorted(set(record.collections if record else ()) - {one.name for one in collections})
    if missing:
        raise PermanentError(f"{url}: found no {DATA} of {', '.join(missing)}; allowed: whole dumps")
    if not collections:
        raise PermanentError(f"{url}: found no collection; allowed: at least one")


def _stamp(filesystem: Any, path: str) -> tuple[int, str]:
    filesystem.invalidate_cache()
    found = filesystem.info(path)
    tag = next((found[key] for key in ("ETag", "generation", "mtime", "LastModified") if found.get(key)), "")
    return int(found["size"]), str(tag)
