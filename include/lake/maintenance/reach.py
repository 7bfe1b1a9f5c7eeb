"""Everything that a table's snapshots name: manifest lists, manifests, data and delete files, statistics, the metadata files themselves.

Manifests are Avro, decoded by pyiceberg's decoder, but only the fields that matter here; each file is one request, and none is read twice.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from pyiceberg.avro.decoder_fast import CythonBinaryDecoder
from pyiceberg.avro.file import META_SCHEMA, SYNC_SIZE, AvroFileHeader
from pyiceberg.avro.reader import Reader
from pyiceberg.avro.resolver import construct_reader, resolve_reader
from pyiceberg.schema import Schema
from pyiceberg.types import ListType, MapType, NestedField, StructType
from pyiceberg.utils.schema_conversion import AvroSchemaConversion

from include.lake.metadata import Document

# field numbers of Iceberg's specification
_PATH, _LENGTH, _SPEC, _CONTENT = 500, 501, 502, 517
_STATUS, _DATA_FILE, _FILE_PATH, _PARTITION, _SIZE = 0, 2, 100, 102, 104
_DELETED = 2
_DELETES = 1


@dataclass(frozen=True)
class Manifest:
    """One line of a manifest list. ``length`` is the manifest's size in bytes; 0: not told."""

    location: str
    length: int = 0
    spec: int = 0
    deletes: bool = False


@dataclass(frozen=True)
class Entry:
    """One live file of a manifest: its location, size in bytes and its partition as text."""

    location: str
    size: int
    partition: str


@dataclass
class Files:
    """The files of one table's snapshots, read once each. ``read`` is one request; ``threads`` are those of all tables together."""

    read: Callable[[str], bytes]
    threads: Executor
    _lists: dict[str, tuple[Manifest, ...]] = field(default_factory=dict)
    _manifests: dict[str, tuple[Entry, ...]] = field(default_factory=dict)

    def manifests(self, snapshots: Iterable[Mapping[str, Any]]) -> dict[str, Manifest]:
        """The manifests of some snapshots by location. Raises ``FileNotFoundError`` and ``ValueError``: a damaged table is nobody's to clean."""
        every = list(snapshots)
        wanted = [one["manifest-list"] for one in every if "manifest-list" in one]
        self._fetch(wanted, self._lists, _read_list)
        found = [manifest for location in wanted for manifest in self._lists[location]]
        found += [Manifest(location) for one in every if "manifest-list" not in one for location in one.get("manifests", ())]  # format version 1
        return {manifest.location: manifest for manifest in found}

    def entries(self, manifests: Mapping[str, Manifest]) -> dict[str, tuple[Entry, ...]]:
        """The live files of some manifests, by manifest. Raises ``ValueError`` for one that is not as long as its list says."""
        self._fetch(manifests, self._manifests, lambda location, data: _read_manifest(manifests[location], data))
        return {location: self._manifests[location] for location in manifests}

    def reachable(self, document: Document) -> frozenset[str]:
        """Every location that the document names, directly or through its snapshots; its own file is the caller's to add."""
        manifests = self.manifests(document.snapshots)
        named = {one["manifest-list"] for one in document.snapshots if "manifest-list" in one}
        named |= manifests.keys()
        named |= {entry.location for entries in self.entries(manifests).values() for entry in entries}
        named |= {one["statistics-path"] for key in ("statistics", "partition-statistics") for one in document.data.get(key) or ()}
        named |= {entry["metadata-file"] for entry in document.data.get("metadata-log") or ()}
        return frozenset(map(canonical, named))

    def small_files(self, document: Document, below: int) -> int:
        """Data files of the current snapshot smaller than ``below`` bytes, where a partition has two or more that could become one."""
        head = document.snapshot(document.current_snapshot_id)
        if head is None:
            return 0
        manifests = {location: one for location, one in self.manifests([head]).items() if not one.deletes}
        counts: Counter[tuple[int, str]] = Counter()
        for location, entries in self.entries(manifests).items():
            counts.update((manifests[location].spec, entry.partition) for entry in entries if entry.size < below)
        return sum(count for count in counts.values() if count > 1)

    def _fetch(self, wanted: Iterable[str], known: dict[str, Any], parse: Callable[[str, bytes], Any]) -> None:
        missing = list(dict.fromkeys(location for location in wanted if location not in known))
        for location, data in zip(missing, self.threads.map(self.read, missing), strict=True):
            known[location] = parse(location, data)


def canonical(location: str) -> str:
    """One spelling for every location: ``s3a://`` and ``s3n://`` are ``s3://``, and slashes are not doubled after it."""
    scheme, separator, path = location.partition("://")
    return location if not separator else f"{'s3' if scheme in {'s3a', 's3n'} else scheme}://{path}"


def _read_list(location: str, data: bytes) -> tuple[Manifest, ...]:
    return tuple(Manifest(row[0], row[1], row[2], len(row) > 3 and row[3] == _DELETES) for row in _records(location, data, _list_reader))


def _read_manifest(manifest: Manifest, data: bytes) -> tuple[Entry, ...]:
    if manifest.length and len(data) != manifest.length:
        raise ValueError(f"{manifest.location}: found {len(data)} bytes; allowed: {manifest.length}, as its manifest list says")
    rows = _records(manifest.location, data, _manifest_reader)
    return tuple(Entry(row[1][0], row[1][1], str(row[1][2])) for row in rows if row[0] != _DELETED)


def _records(location: str, data: bytes, reader_of: Callable[[str], Reader]) -> Iterator[Any]:
    """The records of an Avro file. Raises ``ValueError`` for a file that is cut off or is none."""
    try:
        decoder = CythonBinaryDecoder(data)
        header = construct_reader(META_SCHEMA, {-1: AvroFileHeader}).read(decoder)
        reader, codec = reader_of(header.meta["avro.schema"]), header.compression_codec()
        left = True
        while left:
            try:
                count = decoder.read_int()
            except EOFError:
                return
            block = decoder.read_bytes()
            records = CythonBinaryDecoder(codec.decompress(block) if codec else block)
            yield from [reader.read(records) for _ in range(count)]
            if decoder.read(SYNC_SIZE) != header.sync:
                raise ValueError("its blocks do not end where they should")
    except (EOFError, KeyError, ValueError, IndexError) as error:
        raise ValueError(f"{location}: found {len(data)} bytes that are no manifest ({error}); allowed: Iceberg's Avro files, whole") from error


@lru_cache(maxsize=64)
def _list_reader(schema: str) -> Reader:
    return _projection(schema, lambda found: _first(found, _PATH, _LENGTH, _SPEC, _CONTENT))


@lru_cache(maxsize=1024)
def _manifest_reader(schema: str) -> Reader:
    def wanted(found: dict[int, NestedField]) -> list[NestedField]:
        inside = {one.field_id: one for one in found[_DATA_FILE].field_type.fields}  # type: ignore[attr-defined]
        chosen = StructType(*_first(inside, _FILE_PATH, _SIZE, _PARTITION))
        return [found[_STATUS], NestedField(_DATA_FILE, "data_file", chosen, required=True)]

    return _projection(schema, wanted)


def _first(found: dict[int, NestedField], *numbers: int) -> list[NestedField]:
    """Some fields, and after them the lists and maps: pyiceberg's decoder cannot leave those out."""
    chosen = [found[number] for number in numbers if number in found]
    return chosen + [one for number, one in found.items() if number not in numbers and isinstance(one.field_type, ListType | MapType)]


def _projection(schema: str, wanted: Callable[[dict[int, NestedField]], list[NestedField]]) -> Reader:
    written = AvroSchemaConversion().avro_to_iceberg(json.loads(schema))
    return resolve_reader(written, Schema(*wanted({one.field_id: one for one in written.fields})))
