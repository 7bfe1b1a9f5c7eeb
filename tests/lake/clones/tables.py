"""Tables to clone, and what must not change about them."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.table import Table

from include.config.vocabulary import Layer
from include.lake.catalog import ensure_table
from include.lake.clones.names import Lake, suffix_of
from include.lake.metadata import pointer, read_document
from include.lake.names import TableRef

PR = 1523
ROWS = pa.schema([pa.field("id", pa.int64()), pa.field("text", pa.string())])


@dataclass(frozen=True)
class Seen:
    """A table as its readers see it: its snapshot, its rows, the files that hold them with their size and time."""

    snapshot_id: int | None
    rows: tuple[tuple[int, str], ...]
    files: tuple[tuple[str, int, object], ...]


def rows_of(first: int, count: int, text: str = "base") -> pa.Table:
    return pa.table({"id": list(range(first, first + count)), "text": [text] * count}, schema=ROWS)


def new_table(lake: Lake, name: str, *, layer: Layer = Layer.MART, commits: int = 2, properties: dict[str, str] | None = None) -> Table:
    """A table of the base with three rows from each commit."""
    table = ensure_table(lake.catalog, TableRef(lake.environment.lake.catalog, lake.base_schemas[layer], name), ROWS, properties=properties)
    for number in range(commits):
        table.append(rows_of(3 * number, 3))
    return table


def clone_name(lake: Lake, name: str, layer: Layer = Layer.MART, pull_request: int = PR) -> tuple[str, str]:
    return lake.schemas_with(suffix_of(pull_request))[layer], name


def clone_of(lake: Lake, name: str, layer: Layer = Layer.MART, pull_request: int = PR) -> Table:
    return lake.catalog.load_table(clone_name(lake, name, layer, pull_request))


def base_of(lake: Lake, name: str, layer: Layer = Layer.MART) -> Table:
    return lake.catalog.load_table((lake.base_schemas[layer], name))


def content(table: Table) -> tuple[tuple[int, str], ...]:
    found = table.scan().to_arrow()
    return tuple(sorted(zip(found.column("id").to_pylist(), found.column("text").to_pylist(), strict=True)))


def data_files(lake: Lake, table: Table) -> tuple[tuple[str, int, object], ...]:
    """All files below a table's folder that are not metadata files, whose number grows with a tag."""
    files = lake.store.list(table.location())
    return tuple(sorted((file.location, file.size, file.modified) for file in files if not file.location.endswith(".metadata.json")))


def seen(lake: Lake, table: Table) -> Seen:
    """As it is now."""
    table.refresh()
    return Seen(table.metadata.current_snapshot_id, content(table), data_files(lake, table))


def tags_of(lake: Lake, table: Table) -> dict[str, int]:
    schema, name = table.name()
    refs = read_document(lake.store, pointer(lake.catalog, schema, name).location).refs
    return {tag: ref["snapshot-id"] for tag, ref in refs.items() if ref["type"] == "tag"}


def everything_below(lake: Lake, text: str) -> list[str]:
    """Every file of the lake whose location contains a text."""
    return sorted(file.location for file in lake.store.list(lake.catalog.properties["warehouse"]) if text in file.location)
