"""Texts of a chunk's documents: canonical extended JSON, one line each, put together for all documents of a level at once.

A text is a sequence of pieces: what opens an element (``,"body":"``), its value, what closes it (``"``). Pieces lie in a few Arrow arrays; one ``take``
copies them in order into one buffer, and since they then follow each other without a gap, a row's text is simply where its first piece begins
and its last one ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.openedx.forum import elements as e
from include.jobs.openedx.forum.walk import Ints, Level

_OPENING = {e.STRING: '"', e.NULL: "null"} | {kind: before for kind, (before, _) in e._WRAPPED.items()}
_CLOSING = {e.STRING: '"'} | {kind: after for kind, (_, after) in e._WRAPPED.items()}
_VECTORS = {e.DOUBLE, e.STRING, e.DOCUMENT, e.ARRAY, e.OBJECT_ID, e.BOOLEAN, e.DATE, e.NULL, e.INT32, e.INT64}
FEW = 50  # a text made alone costs as much as some fifty made together
_ENDS = ["}", "]", "{}", "[]", "}\n", "{}\n"]  # of documents and arrays, the empty ones, and of the outermost documents: a line each
_ESCAPES = [e.quoted(chr(code))[1:-1] for code in (*range(32), ord('"'), ord("\\"))]
_ESCAPE_OF = np.zeros(256, dtype=np.int64)
_ESCAPE_OF[[*range(32), ord('"'), ord("\\")]] = np.arange(len(_ESCAPES))


Indices: TypeAlias = "npt.NDArray[np.signedinteger]"


@dataclass(frozen=True, eq=False)
class _Pieces:
    """``source`` holds all pieces of a level as bytes. The arrays name for each element its pieces, ``ends`` for each row the one that ends it."""

    source: pa.Array
    comma: Indices
    """Opens the element within its row: comma or bracket, in documents its name, and what opens the value."""
    opening: Indices
    """Opens the value alone."""
    value: Ints
    closing: Indices
    ends: Ints


class Texts:
    """The texts of a chunk's levels, made when they are asked for."""

    def __init__(self, levels: list[Level]) -> None:
        self._levels = levels
        self._pieces: dict[int, _Pieces] = {}
        self._rows: dict[int, pa.Array] = {}

    def rows(self, depth: int) -> pa.Array:
        """The texts of all documents and arrays of a level, as UTF-8 in a binary array; those of the outermost level end with a line feed."""
        if depth not in self._rows:
            self._rows[depth] = self._make_rows(depth)
        return self._rows[depth]

    def values(self, depth: int, chosen: Ints) -> pa.Array:
        """The texts of some elements' values, without their names."""
        level = self._levels[depth]
        if depth not in self._pieces and len(chosen) * FEW < len(level.type):
            return pa.array([_alone(level, number) for number in chosen.tolist()], pa.string())
        pieces = self._of(depth)
        order = np.empty((len(chosen), 3), dtype=np.int32)
        order[:, 0], order[:, 1], order[:, 2] = pieces.opening[chosen], pieces.value[chosen], pieces.closing[chosen]
        return _joined(pieces.source, order.reshape(-1), np.arange(0, 3 * len(chosen) + 1, 3)).cast(pa.string())

    def _of(self, depth: int) -> _Pieces:
        if depth not in self._pieces:
            level = self._levels[depth]
            # what lies too deep to be walked has no text: its documents are odd
            below = self.rows(depth + 1) if depth + 1 < len(self._levels) else pa.array([b""] * len(level.nested), pa.binary())
            self._pieces[depth] = _pieces(level, below, outermost=depth == 0)
        return self._pieces[depth]

    def _make_rows(self, depth: int) -> pa.Array:
        level, pieces = self._levels[depth], self._of(depth)
        rows, total = len(level.counts), len(level.row)
        order = np.empty(3 * total + rows, dtype=np.int32)
        places = 3 * np.arange(total) + level.row  # behind each row comes one piece that ends it
        order[places], order[places + 1], order[places + 2] = pieces.comma, pieces.value, pieces.closing
        bounds = np.zeros(rows + 1, dtype=np.int64)
        bounds[1:] = 3 * np.cumsum(level.counts) + np.arange(1, rows + 1)
        order[bounds[1:] - 1] = pieces.ends
        return _joined(pieces.source, order, bounds)


def _joined(source: pa.Array, order: npt.NDArray[np.int32], bounds: Ints) -> pa.Array:
    """One value for each pair of bounds: the pieces between them, one after the other."""
    taken = source.take(pa.array(order))
    offsets = np.frombuffer(taken.buffers()[1], np.int32)[bounds] if len(order) else np.zeros(len(bounds), dtype=np.int32)
    return pa.Array.from_buffers(pa.binary(), len(bounds) - 1, [None, pa.py_buffer(offsets.copy()), taken.buffers()[2]])


def _pieces(level: Level, below: pa.Array, *, outermost: bool) -> _Pieces:
    numbers, meanings = level.names
    openings = [_OPENING.get(kind, "") for kind, _ in meanings]
    named = [f"{e.quoted(name)}:{opening}" for (_, name), opening in zip(meanings, openings, strict=True)]
    closings = [_CLOSING.get(kind, "") for kind, _ in meanings]
    words = ["," + text for text in (*named, *openings)] + ["{" + text for text in named] + ["[" + text for text in openings]
    words += [*openings, *closings, *_ENDS, "", "false", "true"]
    count = len(meanings)
    is_first = np.zeros(len(level.type), dtype=np.int64)
    is_first[level.first[level.counts > 0]] = 1
    first_end = 6 * count
    value = np.full(len(level.type), first_end + len(_ENDS), dtype=np.int64)
    booleans = level.of(e.BOOLEAN)
    value[booleans] += 1 + (level.chunk.bytes[level.value[booleans]] != 0)
    sources = [pa.array(words, pa.binary())]
    filled = len(words)
    for chosen, texts in _values(level, below):
        value[chosen] = filled + np.arange(len(chosen))
        sources.append(texts)
        filled += len(texts)
    return _Pieces(
        source=pa.concat_arrays(sources),
        comma=numbers + count * (level.is_array[level.row] + 2 * is_first),
        opening=numbers + 4 * count,
        value=value,
        closing=numbers + 5 * count,
        ends=first_end + (np.where(level.counts == 0, 5, 4) if outermost else level.is_array + np.where(level.counts == 0, 2, 0)),
    )


def _values(level: Level, below: pa.Array) -> list[tuple[Ints, pa.Array]]:
    """For the types whose values are not words: the elements and the texts of their values, without what opens and closes them."""
    chunk = level.chunk
    found = [(level.nested, below), (level.of(e.STRING), _escaped(level.strings)), (level.of(e.OBJECT_ID), level.object_ids.cast(pa.binary()))]
    for kind, numbers in ((e.INT32, chunk.int32), (e.INT64, chunk.int64), (e.DATE, chunk.int64)):
        chosen = level.of(kind)
        found.append((chosen, pc.cast(pa.array(numbers[level.value[chosen]]), pa.string()).cast(pa.binary())))
    doubles = level.of(e.DOUBLE)
    found.append((doubles, pa.array([e.double_text(number) for number in chunk.float64[level.value[doubles]].tolist()], pa.binary())))
    rare = np.flatnonzero(~np.isin(level.type, list(_VECTORS)))
    found.append((rare, pa.array([_alone(level, number) for number in rare.tolist()], pa.binary())))
    return [(chosen, texts) for chosen, texts in found if len(chosen)]


def _alone(level: Level, number: int) -> str:
    """The text of one value; empty, and its document odd, when it is not valid."""
    kind = int(level.type[number])
    try:
        return e.value_text(kind, e.value_at(level.chunk.data, kind, int(level.value[number]), int(level.size[number])))
    except e.DocumentError:
        level.chunk.odd[level.root[level.row[number]]] = True
        return ""


def _escaped(strings: pa.Array) -> pa.Array:
    """The strings with quotes, backslashes and control characters as JSON writes them, without quotes around."""
    plain = strings.cast(pa.binary())
    if not len(plain):
        return plain
    bounds = np.frombuffer(plain.buffers()[1], np.int32)[plain.offset : plain.offset + len(plain) + 1]
    data = plain.buffers()[2]
    content = np.frombuffer(data, np.uint8)[: bounds[-1]] if data is not None else np.empty(0, dtype=np.uint8)
    special = np.flatnonzero((content < 32) | (content == ord('"')) | (content == ord("\\")))
    if not len(special):
        return plain
    # the content as plain, special, plain, special … plain, of which every special byte is replaced
    cuts = np.empty(2 * len(special) + 2, dtype=np.int32)
    cuts[0], cuts[-1] = 0, len(content)
    cuts[1:-1:2], cuts[2:-1:2] = special, special + 1
    runs = pa.Array.from_buffers(pa.binary(), len(cuts) - 1, [None, pa.py_buffer(cuts), data])
    escapes = _ESCAPE_OF[content[special]]
    order = np.arange(len(runs), dtype=np.int32)
    order[1::2] = len(runs) + escapes
    taken = pa.concat_arrays([runs, pa.array(_ESCAPES, pa.binary())]).take(pa.array(order))
    growth = np.concatenate([[0], np.cumsum(np.array([len(text) - 1 for text in _ESCAPES])[escapes])])
    moved = (bounds + growth[np.searchsorted(special, bounds)]).astype(np.int32)
    return pa.Array.from_buffers(pa.binary(), len(plain), [None, pa.py_buffer(moved), taken.buffers()[2]])
