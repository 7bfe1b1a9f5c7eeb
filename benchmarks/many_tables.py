"""A lake of many equal tables: pyiceberg writes one, the others are its files under names of the same length."""

from __future__ import annotations

import os
from pathlib import Path

from pyiceberg.catalog import Catalog

from include.lake.metadata import register

NAMED = "t_{:06d}"
COPYABLE = {"write.avro.compression-codec": "null"}
"""Properties of a table that can be copied: a name in its manifests can be replaced by one of equal length."""


def multiply(catalog: Catalog, schema: str, template: Path, tables: int) -> None:
    """Copies table 0 of a schema, whose folder is ``template``, until there are so many."""
    root = Path(catalog.properties["local.root"])
    for number in range(1, tables):
        register(catalog, schema, NAMED.format(number), _copied(root, template, number))


def _copied(root: Path, template: Path, number: int) -> str:
    """The location of the copy's newest metadata file."""
    old = template.name.encode()
    new = f"{NAMED.format(number)}{template.name[len(NAMED.format(0)) :]}".encode()
    target = template.with_name(new.decode())
    newest = ""
    for path in template.rglob("*"):
        if path.is_file():
            copy = target / path.relative_to(template)
            copy.parent.mkdir(parents=True, exist_ok=True)
            data = path.read_bytes()
            copy.write_bytes(data if path.suffix == ".parquet" else data.replace(old, new))
            newest = max(newest, str(copy)) if path.name.endswith(".metadata.json") else newest
    return f"local:///{Path(newest).relative_to(root)}"


def backdate(root: Path, seconds: float) -> None:
    """Dates every file back to so many seconds since the epoch."""
    for folder, _, names in os.walk(root):
        for name in names:
            os.utime(Path(folder) / name, (seconds,) * 2)
