"""Which variants of a collection become its columns, and where the others go.

**The rule.** A path has one column. Its kind is the one that most of its values have; of equally many, the first in this order: text, object id, UUID,
decimal, whole number, double, boolean, date, binary, lists of these, extended JSON. ``int32`` and ``int64`` are one kind (whole numbers), an ``int32`` may
stand among doubles where there is no ``int64``, and an empty array is a list of whatever the column holds. A value of any other kind stands under its
own names in ``document_rest``, one object of canonical extended JSON for each document, null for most. At most ``MOST_COLUMNS`` paths have a column,
those with most values; the values of the others are in ``document_rest`` too. So nothing is lost and nothing is converted: columns and rest together
are the document, but for nulls, the order of fields and the width of whole numbers, which the JSON lines keep.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.openedx.forum import kinds as k
from include.jobs.openedx.forum.columns import Path, Variant, variant_of
from include.jobs.openedx.forum.names import DOCUMENT_KEY, REST, RETRIEVED_AT, SOURCE_SHA256, column_name

MOST_COLUMNS = 500
KIND = b"bson"
DOC = b"doc"  # pyiceberg takes the column's comment from here

_SCALARS = (k.STRING, k.OBJECT_ID, k.UUID, k.DECIMAL, k.INT, k.DOUBLE, k.BOOLEAN, k.DATE, k.BINARY)
_ORDER = {kind: number for number, kind in enumerate((*_SCALARS, *(k.LIST + kind for kind in _SCALARS), k.EJSON))}
_WHOLE = {k.INT32: k.INT, k.INT64: k.INT, k.LIST + k.INT32: k.LIST + k.INT, k.LIST + k.INT64: k.LIST + k.INT}


@dataclass(frozen=True)
class Column:
    """One column of a collection: which field it holds, and as what."""

    path: Path
    kind: str

    @property
    def name(self) -> str:
        """Its name in Parquet and in the table."""
        return column_name(self.path)

    @property
    def field(self) -> pa.Field:
        """Name and type; the kind stands in the column's comment, which readers of the table see and later loads rely on."""
        comment = f"BSON {self.kind}: {'.'.join(self.path)}"
        return pa.field(self.name, k.arrow_type(self.kind), metadata={DOC: comment.encode(), KIND: json.dumps([self.path, self.kind]).encode()})

    def takes(self, variant: str) -> bool:
        """Whether values of a variant stand in this column."""
        whole = _WHOLE.get(variant, variant)
        number = self.kind == k.DOUBLE and variant == k.INT32
        return whole == self.kind or number or (variant == k.EMPTY_LIST and self.kind.startswith(k.LIST))


def choose_columns(counts: Mapping[Variant, int]) -> tuple[Column, ...]:
    """The columns for variants that have so many values each, in the order of their names."""
    by_path: dict[Path, Counter[str]] = defaultdict(Counter)
    for (path, kind), count in counts.items():
        by_path[path][kind] += count
    chosen = {Column(path, _kind(kinds)): kinds.total() for path, kinds in by_path.items()}
    most = sorted(chosen, key=lambda column: (-chosen[column], column.path))[:MOST_COLUMNS]
    return tuple(sorted(most, key=lambda column: column.name))


def _kind(counts: Counter[str]) -> str:
    found = Counter[str]()
    for kind, count in counts.items():
        found[_WHOLE.get(kind, kind)] += count
    if counts[k.DOUBLE] and not counts[k.INT64]:
        found[k.DOUBLE] += found.pop(k.INT, 0)
    empty = found.pop(k.EMPTY_LIST, 0)
    lists = [kind for kind in found if kind.startswith(k.LIST)] or ([k.LIST + k.STRING] if empty else [])
    for kind in lists:
        found[kind] += empty
    return min(found, key=lambda kind: (-found[kind], _ORDER[kind]))


def counts_of(table: pa.Table) -> Counter[Variant]:
    """How many values each variant of a chunk's table has."""
    names = [name for name in table.column_names if name not in (DOCUMENT_KEY, REST)]
    return Counter({variant_of(name): table.num_rows - table.column(name).null_count for name in names})


def schema_of(columns: Iterable[Column]) -> pa.Schema:
    """The Parquet file's schema: keys, fields, rest, provenance."""
    texts = {
        DOCUMENT_KEY: "the document's _id as canonical extended JSON",
        REST: "what no column holds, as canonical extended JSON: fields of another type than their column's",
        RETRIEVED_AT: "when the newest dump that has the document was taken",
        SOURCE_SHA256: "SHA-256 of the collection's BSON in that dump",
    }
    types = {DOCUMENT_KEY: pa.string(), REST: pa.string(), RETRIEVED_AT: k.TYPES[k.DATE], SOURCE_SHA256: pa.string()}
    key, *others = (pa.field(name, types[name], nullable=name == REST, metadata={DOC: texts[name].encode()}) for name in types)
    return pa.schema([key, *(column.field for column in columns), *others])


def column_of(field: pa.Field) -> Column | None:
    """What a column of a Parquet file holds; nothing for our own columns."""
    described = (field.metadata or {}).get(KIND)
    if described is None:
        return None
    path, kind = json.loads(described)
    return Column(tuple(path), kind)


def arrange(table: pa.Table, columns: Iterable[Column]) -> pa.Table:
    """A chunk's table with exactly these columns, and ``document_rest``."""
    variants: dict[Path, list[tuple[str, pa.ChunkedArray]]] = defaultdict(list)
    for name in table.column_names:
        if name not in (DOCUMENT_KEY, REST):
            path, kind = variant_of(name)
            variants[path].append((kind, table.column(name)))
    rest = Rest(table.num_rows, table.column(REST) if REST in table.column_names else None)
    arranged = {DOCUMENT_KEY: table.column(DOCUMENT_KEY)}
    for column in columns:
        taken = [values.cast(k.arrow_type(column.kind)) for kind, values in variants[column.path] if column.takes(kind)]
        arranged[column.name] = _first_of(taken, column, table.num_rows)
        variants[column.path] = [(kind, values) for kind, values in variants[column.path] if not column.takes(kind)]
    for path, left in variants.items():
        for kind, values in left:
            rest.add(path, kind, values)
    return pa.table({**arranged, REST: rest.column()})


def _first_of(values: list[pa.ChunkedArray], column: Column, rows: int) -> pa.ChunkedArray | pa.Array:
    """The variants of one column together: no document has two of them."""
    if not values:
        return pa.nulls(rows, k.arrow_type(column.kind))
    return values[0] if len(values) == 1 else pc.coalesce(*values)


class Rest:
    """The column ``document_rest`` in the making."""

    def __init__(self, rows: int, begun: pa.ChunkedArray | None = None) -> None:
        self._rows = rows
        self._objects: dict[int, dict[str, Any]] = {}
        if begun is not None:
            for row, value in _present(begun):
                self._objects[row] = json.loads(value)

    def add(self, path: Path, kind: str, values: pa.ChunkedArray) -> None:
        """The values of a variant, of the rows where there are some."""
        plain = values.cast(pa.int64()) if pa.types.is_timestamp(values.type) else values
        moments = kind == k.LIST + k.DATE
        for row, value in _present(plain.cast(pa.list_(pa.int64())) if moments else plain):
            place = self._objects.setdefault(row, {})
            for name in path[:-1]:
                place = place.setdefault(name, {})
            place[path[-1]] = k.to_json(kind, value)

    def column(self) -> pa.Array:
        """One text a row, null where nothing is left over."""
        texts = (self._objects.get(row) for row in range(self._rows))
        return pa.array([None if rest is None else json.dumps(rest, ensure_ascii=False, sort_keys=True, separators=(",", ":")) for rest in texts], pa.string())


def _present(values: pa.ChunkedArray) -> Iterable[tuple[int, Any]]:
    """Row and value wherever there is one; most rest columns are empty, and those rows cost nothing."""
    rows = pc.indices_nonzero(pc.is_valid(values))
    return zip(rows.to_pylist(), values.take(rows).to_pylist(), strict=True)
