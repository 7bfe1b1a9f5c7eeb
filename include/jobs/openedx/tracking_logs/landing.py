"""Content-addressed objects of the landing zone: written once, under the SHA-256 of their bytes, never changed.

Below ``<landing>/<deployment>/openedx/``:

``processed_data/tracking_logs/<day>/<sha>.json.gz``            normalised events of one log file, NDJSON; large files in parts of at most about 16 MB
``processed_data/tracking_logs/<day>/<sha>.manifest.json``      one run: its log files, what each held, and the objects it became
``quarantine/tracking_logs/<day>/<sha>.jsonl``                  refused lines and objects
``quarantine/tracking_logs/<day>/<sha>.refused.json``           log files that the day was refused with, and why
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any

from fsspec.core import url_to_fs
from isal import isal_zlib

PART_BYTES, PART_TEXT = 16 << 20, 512 << 20
"""An object ends when it has so many bytes, or so many were packed into it."""
QUARANTINE_BYTES = 8 << 20
_GZIP = 31  # zlib's name for a gzip stream with the largest window


@dataclass(frozen=True)
class Landing:
    """One deployment's and day's places below ``url``."""

    url: str
    deployment: str
    day: date

    @property
    def data(self) -> str:
        """Prefix of the normalised events and the manifests."""
        return f"{self.url.rstrip('/')}/{self.deployment}/openedx/processed_data/tracking_logs/{self.day}"

    @property
    def quarantine(self) -> str:
        """Prefix of what was refused."""
        return f"{self.url.rstrip('/')}/{self.deployment}/openedx/quarantine/tracking_logs/{self.day}"

    def put_manifest(self, manifest: dict[str, Any]) -> str:
        """Stores the manifest of a run; its address."""
        return put(self.data, _document(manifest), "manifest.json")[0]

    def manifests(self) -> dict[str, dict[str, Any]]:
        """All manifests of the day by their addresses, those of writes that came to nothing included."""
        return _documents(self.data, "manifest.json")

    def put_refusal(self, refusal: dict[str, Any]) -> str:
        """Stores why the day was refused; its address."""
        return put(self.quarantine, _document(refusal), "refused.json")[0]

    def refusals(self) -> dict[str, dict[str, Any]]:
        """All refusals of the day by their addresses."""
        return _documents(self.quarantine, "refused.json")


def _document(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, indent=1).encode() + b"\n"


def _documents(prefix: str, suffix: str) -> dict[str, dict[str, Any]]:
    fs, folder = url_to_fs(prefix)
    fs.invalidate_cache(folder)
    try:
        paths = fs.ls(folder, detail=False)
    except FileNotFoundError:  # nothing was stored yet
        return {}
    names = sorted(path.rpartition("/")[2] for path in paths)
    return {f"{prefix}/{name}": json.loads(fs.cat_file(f"{folder}/{name}")) for name in names if name.endswith(f".{suffix}")}


def put(prefix: str, data: bytes, suffix: str) -> tuple[str, bool]:
    """Stores bytes under their own SHA-256: the address, and whether the object is new; one that is there is left alone.

    Readers see the whole object or none.
    """
    name = f"{hashlib.sha256(data).hexdigest()}.{suffix}"
    fs, folder = url_to_fs(prefix)
    path = f"{folder}/{name}"
    fs.invalidate_cache(folder)
    new = not fs.exists(path)
    if new and "file" in fs.protocol:  # a store publishes an object when it has all of it; a file is there from its first byte on
        part = f"{folder}/.{name}.{os.getpid()}-{secrets.token_hex(4)}.part"
        fs.makedirs(folder, exist_ok=True)
        fs.pipe_file(part, data)
        fs.mv(part, path)
    elif new:
        fs.pipe_file(path, data)
    return f"{prefix}/{name}", new


def remove(address: str) -> None:
    """Removes an object that was stored in vain; what is gone already is fine."""
    fs, path = url_to_fs(address)
    with contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


class EventsWriter:
    """Normalised lines of one log file as gzip objects; the same lines always give the same objects."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._parts: list[bytes] = []
        self._size = self._text = 0
        self._stream = isal_zlib.compressobj(level=1, wbits=_GZIP)
        self._new: list[str] = []
        self.objects: list[str] = []

    def write(self, text: bytes) -> None:
        """Adds whole lines."""
        if not text:
            return
        self._add(self._stream.compress(text))
        self._text += len(text)
        if self._size >= PART_BYTES or self._text >= PART_TEXT:
            self._store()

    def close(self) -> list[str]:
        """Stores the rest; the addresses of all objects, none for no lines."""
        if self._text:
            self._store()
        return self.objects

    def abort(self) -> None:
        """Removes the objects that would not be there without this writer: a part of a file must not look like the file."""
        for address in self._new:
            remove(address)

    def _add(self, data: bytes) -> None:
        self._parts.append(data)
        self._size += len(data)

    def _store(self) -> None:
        self._add(self._stream.flush())
        address, new = put(self._prefix, b"".join(self._parts), "json.gz")
        self.objects.append(address)
        self._new += [address] if new else []
        self._stream = isal_zlib.compressobj(level=1, wbits=_GZIP)
        self._parts, self._size, self._text = [], 0, 0


class QuarantineWriter:
    """Records of refused things, in objects of at most about 8 MB."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._records: list[bytes] = []
        self._size = 0
        self.objects: list[str] = []

    def write(self, records: Iterable[bytes]) -> None:
        """Adds records, each a line with its end."""
        for record in records:
            self._records.append(record)
            self._size += len(record)
            if self._size >= QUARANTINE_BYTES:
                self._store()

    def close(self) -> list[str]:
        """Stores the rest; the addresses of all objects, none for no records."""
        if self._records:
            self._store()
        return self.objects

    def _store(self) -> None:
        self.objects.append(put(self._prefix, b"".join(self._records), "jsonl")[0])
        self._records, self._size = [], 0
