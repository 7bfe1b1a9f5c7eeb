"""The values of a chunk's documents as Arrow columns: one *variant* for each path of field names and each kind of value found there.

Documents inside documents become paths (``votes`` and ``up_count``) down to four names, as long as all their names are names of fields. Arrays of
plain values of one type become lists. Everything else is one text of canonical extended JSON: deeper documents, documents whose names are data, arrays of
documents or of mixed types, and the types that tables do not have. A null is the absence of a value.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.openedx.forum import elements as e
from include.jobs.openedx.forum import kinds as k
from include.jobs.openedx.forum.names import DOCUMENT_KEY, names_a_field
from include.jobs.openedx.forum.texts import Texts
from include.jobs.openedx.forum.walk import Flags, Ints, Level

Path = tuple[str, ...]
Variant = tuple[Path, str]

DEEPEST_PATH = 4
ID = "_id"
_OTHER = 255
_CODES = {kind: number for number, kind in enumerate(k.OF_TYPE, start=1)}
_CODE_OF = np.full(256, _OTHER, dtype=np.uint8)
for _kind, _code in _CODES.items():
    _CODE_OF[_kind] = _code


def field_name(variant: Variant) -> str:
    """How a variant is called in a chunk's table."""
    return json.dumps(variant)


def variant_of(name: str) -> Variant:
    """The inverse of :func:`field_name`."""
    path, kind = json.loads(name)
    return tuple(path), kind


class Columns:
    """The variants of one chunk, collected level by level."""

    def __init__(self, levels: list[Level], texts: Texts) -> None:
        self._levels, self._texts = levels, texts
        self._found: dict[Variant, list[tuple[Ints, pa.Array]]] = {}
        self._keys = pa.nulls(len(levels[0].counts), pa.string())
        self._collect()

    def table(self) -> pa.Table:
        """A column for each variant and the documents' keys, a row for each document; rows of odd documents hold anything."""
        rows = len(self._levels[0].counts)
        columns = {DOCUMENT_KEY: self._keys}
        for variant, parts in self._found.items():
            places = np.concatenate([places for places, _ in parts])
            values = parts[0][1] if len(parts) == 1 else pa.concat_arrays([values for _, values in parts])
            columns[field_name(variant)] = _spread(rows, places, values)
        return pa.table(columns)

    def _collect(self) -> None:
        paths: list[Path] = [()]
        path_of_row = np.zeros(len(self._levels[0].counts), dtype=np.int64)
        for depth, level in enumerate(self._levels[:DEEPEST_PATH]):
            below = np.full(len(level.nested), -1, dtype=np.int64)
            for path, kind, chosen in _groups(level, path_of_row, paths):
                self._add(depth, path, kind, chosen)
                if kind == e.DOCUMENT:
                    rows = level.place[chosen]
                    opaque = self._opaque(depth + 1, rows)
                    below[rows[~opaque]] = len(paths)
                    paths.append(path)
                    self._put(level, path, k.EJSON, chosen[opaque], lambda which, depth=depth: self._texts.values(depth, which))
            path_of_row = below

    def _opaque(self, depth: int, rows: Ints) -> Flags:
        """Which of these rows of a level are no set of fields, so that they stay one value."""
        if depth >= min(len(self._levels), DEEPEST_PATH):
            return np.ones(len(rows), dtype=bool)
        opaque: Flags = _unnamed(self._levels[depth])[rows]
        return opaque

    def _add(self, depth: int, path: Path, kind: int, chosen: Ints) -> None:
        level = self._levels[depth]
        if path == (ID,) and depth == 0:
            self._keys = _spread(len(level.counts), level.row[chosen], self._key_texts(level, kind, chosen), self._keys)
        if kind == e.ARRAY:
            self._arrays(depth, path, chosen)
        elif kind == e.DATE:
            moments = level.chunk.int64[level.value[chosen]]
            shown = (moments >= k.FIRST_DATE) & (moments <= k.LAST_DATE)
            self._put(level, path, k.DATE, chosen[shown], lambda which: plain_values(level, e.DATE, which))
            self._put(level, path, k.EJSON, chosen[~shown], lambda which: self._texts.values(depth, which))
        elif kind in k.OF_TYPE:
            self._put(level, path, k.OF_TYPE[kind], chosen, lambda which: plain_values(level, kind, which))
        elif kind not in (e.DOCUMENT, e.NULL):
            self._one_by_one(level, path, kind, chosen)

    def _key_texts(self, level: Level, kind: int, chosen: Ints) -> pa.Array:
        if kind != e.OBJECT_ID:
            return self._texts.values(0, chosen)
        return pc.binary_join_element_wise('{"$oid":"', plain_values(level, kind, chosen), '"}', "")

    def _put(self, level: Level, path: Path, kind: str, chosen: Ints, values: Any) -> None:
        if len(chosen):
            self._found.setdefault((path, kind), []).append((level.root[level.row[chosen]], values(chosen)))

    def _one_by_one(self, level: Level, path: Path, kind: int, chosen: Ints) -> None:
        by_kind: dict[str, tuple[list[int], list[Any]]] = {}
        for number in chosen.tolist():
            try:
                found, value = k.kind_and_value(kind, e.value_at(level.chunk.data, kind, int(level.value[number]), int(level.size[number])))
            except e.DocumentError:
                level.chunk.odd[level.root[level.row[number]]] = True
                continue
            places, values = by_kind.setdefault(found, ([], []))
            places.append(number)
            values.append(value)
        for found, (places, values) in by_kind.items():
            self._put(level, path, found, np.array(places), lambda _, kind=found, values=values: pa.array(values, k.arrow_type(kind)))

    def _arrays(self, depth: int, path: Path, chosen: Ints) -> None:
        level = self._levels[depth]
        if depth + 1 == len(self._levels):
            return  # too deep to be walked: odd
        below, rows = self._levels[depth + 1], level.place[chosen]
        codes = _item_codes(below)[rows]
        self._put(level, path, k.EMPTY_LIST, chosen[codes == 0], lambda which: pa.array([[]] * len(which), k.arrow_type(k.EMPTY_LIST)))
        self._put(level, path, k.EJSON, chosen[codes == _OTHER], lambda which: self._texts.values(depth, which))
        for kind, code in _CODES.items():
            self._put(level, path, k.LIST + k.OF_TYPE[kind], chosen[codes == code], lambda which, kind=kind: _lists(below, kind, level.place[which]))


def _groups(level: Level, path_of_row: Ints, paths: list[Path]) -> Iterator[tuple[Path, int, Ints]]:
    """Path, type and elements of everything that belongs to a column, each group in the order of its documents."""
    numbers, meanings = level.names
    path = path_of_row[level.row]
    chosen = np.flatnonzero(path >= 0)
    if not len(chosen):
        return
    grouped = pa.array(path[chosen] * len(meanings) + numbers[chosen]).dictionary_encode()
    ids = grouped.indices.to_numpy()
    order = np.argsort(ids.astype(np.int16) if len(grouped.dictionary) < 1 << 15 else ids, kind="stable")
    parts = np.split(chosen[order], np.cumsum(np.bincount(ids))[:-1])
    for group, part in zip(grouped.dictionary.to_pylist(), parts, strict=True):
        kind, name = meanings[group % len(meanings)]
        yield (*paths[group // len(meanings)], name), kind, part


def _unnamed(level: Level) -> Flags:
    """By row: whether it has no value, or names that are data."""
    numbers, meanings = level.names
    data = np.array([not names_a_field(name) for _, name in meanings], dtype=bool)
    found = np.ones(len(level.counts), dtype=bool)
    if len(numbers):
        found[level.row[level.type != e.NULL]] = False
        found[level.row[data[numbers]]] = True
    return found


def _item_codes(level: Level) -> npt.NDArray[np.uint8]:
    """By row, taken as an array: 0 when it is empty, the code of its items' one type (nulls aside), or ``_OTHER``."""
    codes = np.zeros(len(level.counts), dtype=np.uint8)
    filled = np.flatnonzero(level.counts)
    if not len(filled):
        return codes
    item = _CODE_OF[level.type]
    moments = level.of(e.DATE)
    beyond = level.chunk.int64[level.value[moments]]
    item[moments[(beyond < k.FIRST_DATE) | (beyond > k.LAST_DATE)]] = _OTHER
    null = level.type == e.NULL
    least = np.minimum.reduceat(np.where(null, _OTHER, item).astype(np.uint8), level.first[filled])
    most = np.maximum.reduceat(np.where(null, 0, item).astype(np.uint8), level.first[filled])
    codes[filled] = np.where(least == most, least, _OTHER)
    return codes


def _lists(level: Level, kind: int, rows: Ints) -> pa.Array:
    """The rows as lists of a plain type."""
    counts = level.counts[rows]
    offsets = np.zeros(len(rows) + 1, dtype=np.int32)
    np.cumsum(counts, out=offsets[1:])
    items = np.arange(offsets[-1]) + np.repeat(level.first[rows] - offsets[:-1], counts)
    present = level.type[items] == kind
    values = plain_values(level, kind, items[present])
    spread = _spread(len(items), np.flatnonzero(present), values)
    return pa.ListArray.from_arrays(pa.array(offsets), spread, type=k.arrow_type(k.LIST + k.OF_TYPE[kind]))


def plain_values(level: Level, kind: int, chosen: Ints) -> pa.Array:
    """The values of some elements of one of the plain types."""
    value, chunk = level.value[chosen], level.chunk
    if kind == e.STRING:
        return level.strings.take(pa.array(level.place[chosen]))
    if kind == e.OBJECT_ID:
        return level.object_ids.take(pa.array(level.place[chosen]))
    if kind == e.BOOLEAN:
        return pa.array(chunk.bytes[value] != 0)
    if kind == e.DATE:
        return pa.array(chunk.int64[value] * 1000).cast(k.TYPES[k.DATE])
    numbers = {e.INT32: chunk.int32, e.INT64: chunk.int64, e.DOUBLE: chunk.float64}[kind][value]
    return pa.array(numbers).cast(k.TYPES[k.OF_TYPE[kind]])


def _spread(rows: int, places: Ints, values: pa.Array, onto: pa.Array | None = None) -> pa.Array:
    """``values`` at their places of a column with ``rows`` entries; the other entries are null, or those of ``onto``."""
    if len(places) == rows and onto is None and bool((places[1:] > places[:-1]).all()):
        return values
    order = np.full(rows, -1, dtype=np.int32)
    order[places] = np.arange(len(places))
    spread = values.take(pa.array(order, mask=order < 0))
    return spread if onto is None else pc.coalesce(spread, onto)


def flatten(elements: Iterable[e.Element], path: Path = ()) -> Iterator[tuple[Variant, Any]]:
    """The variants of one parsed document and their values: what :class:`Columns` does, for the documents that are odd."""
    for element in elements:
        here = (*path, element.key)
        fields = element.value if element.type == e.DOCUMENT else []
        valued = any(field.type != e.NULL for field in fields)
        if valued and len(here) < DEEPEST_PATH and all(names_a_field(field.key) for field in fields):
            yield from flatten(fields, here)
        elif element.type != e.NULL:
            kind, value = k.kind_and_value(element.type, element.value)
            yield (here, kind), value


def table_of(documents: list[Mapping[Variant, Any]], keys: list[str]) -> pa.Table:
    """A table like :meth:`Columns.table` of documents that were taken apart alone."""
    found: dict[Variant, pa.Array] = {}
    for variant in dict.fromkeys(variant for document in documents for variant in document):
        kind = k.arrow_type(variant[1])
        values = pa.array([document.get(variant) for document in documents], pa.int64() if pa.types.is_timestamp(kind) else kind)
        found[variant] = values.cast(kind)
    return pa.table({DOCUMENT_KEY: pa.array(keys, pa.string()), **{field_name(variant): values for variant, values in found.items()}})
