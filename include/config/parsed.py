"""Keeps the contents of a folder's YAML files beside them, as Python keeps bytecode: a text is parsed once, not at every start.

Parsing is the most expensive part of reading units: 3 ms a file, three seconds for a thousand. An entry stands for the exact bytes it
was made from, so an edited file is parsed again and nothing else is. The store lies in the folder's ``__pycache__`` and may be deleted
at any time; where it cannot be written, every file is parsed every time.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from include.atomic import replacing
from include.config.files import parse_yaml


class ParsedFolder:
    """The parsed YAML files of one folder. :meth:`read` as often as needed, then :meth:`save` once."""

    def __init__(self, folder: Path) -> None:
        self._store = store_for(folder, "units.json")
        self._known: dict[str, tuple[str, dict[str, Any]]] = read_store(self._store) or {}
        self._read: dict[str, tuple[str, dict[str, Any]]] = {}

    def read(self, path: Path) -> dict[str, Any]:
        """The mapping that a YAML file of the folder holds. Raises ``ConfigError``, as :func:`parse_yaml` does."""
        content = path.read_bytes()
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        known = self._known.get(path.name)
        if known is None or known[0] != digest:
            known = (digest, parse_yaml(content, path))
        self._read[path.name] = known
        return known[1]

    def save(self) -> None:
        """Stores what was read, when it differs from what was stored."""
        kept = {name: entry for name, entry in self._read.items() if self._known.get(name) is entry or _survives_json(entry[1])}
        if kept.keys() != self._known.keys() or any(self._known[name] is not entry for name, entry in kept.items()):
            write_store(self._store, kept)


def store_for(folder: Path, name: str) -> Path:
    """Where something derived from a folder's files is kept: with the folder's bytecode, which may be elsewhere (``PYTHONPYCACHEPREFIX``)."""
    return Path(importlib.util.cache_from_source(str(folder / "_.py"))).parent / name


def read_store(path: Path) -> Any:
    """What was stored, or ``None`` when there is nothing to be read."""
    try:
        return orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return None


def write_store(path: Path, data: Any) -> None:
    """Stores JSON so that a reader sees the old or the new one; does nothing where the folder cannot be written."""
    with contextlib.suppress(OSError), replacing(path) as partial:
        partial.write_bytes(orjson.dumps(data))


def _survives_json(data: dict[str, Any]) -> bool:
    """Whether JSON gives the same mapping back: YAML also has dates and keys that are not texts."""
    try:
        return bool(orjson.loads(orjson.dumps(data)) == data)
    except TypeError:
        return False


@contextlib.contextmanager
def without_collection() -> Iterator[None]:
    """Pauses the search for reference cycles: thousands of objects are made here to stay, and each round would look through them all."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
