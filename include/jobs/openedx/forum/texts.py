"""Texts of a chunk's documents: canonical extended JSON, one line each, put together for all documents of a level at once.

A text is a sequence of pieces. Each element has one that leads to it (what closes the value before, comma, name, what opens its own value:
``","body":"``) and, unless it is a word like ``true``, one for its value; each row has one that ends it. Pieces lie in a few Arrow arrays; one ``take``
copies them in order into one buffer, and since they then follow each other without a gap, a row's text is simply where its first piece begins and its
last one ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from include.jobs.openedx.forum import elements as e
from include.jobs.openedx.forum.walk import Flags, Ints, Level

FEW = 50  # a text made alone costs as much as some fifty made together

_IS_VECTOR = np.zeros(256, dtype=bool)
_IS_VECTOR[[e.DOUBLE, e.STRING, e.DOCUMENT, e.ARRAY, e.OBJECT_ID, e.BOOLEAN, e.DATE, e.NULL, e.INT32, e.INT64]] = True
_CLOSINGS = ["", '"', '"}', '"}}']
_CLOSING_OF = np.zeros(256, dtype=np.int64)
_CLOSING_OF[e.STRING] = 1
# What opens a value, by type and by whether the value is a word of its own (``true`` and not ``false``, an empty document or array).
_OPENINGS = [[""] * 256, [""] * 256]
_OPENINGS[0][e.STRING] = _OPENINGS[1][e.STRING] = '"'
_OPENINGS[0][e.NULL], _OPENINGS[0][e.BOOLEAN], _OPENINGS[1][e.BOOLEAN] = "null", "false", "true"
_OPENINGS[1][e.DOCUMENT], _OPENINGS[1][e.ARRAY] = "{}", "[]"
for _kind, (_before, _after) in e.WRAPPED.items():
    _OPENINGS[0][_kind] = _OPENINGS[1][_kind] = _before
    _CLOSING_OF[_kind] = _CLOSINGS.index(_after)
_ENDS = ["}", "]", "{}", "[]", "}\n", "{}\n"]  # of documents and arrays, the empty ones, and of the outermost documents: a line each

_FIRST_CLOSING = 512
_FIRST_END = _FIRST_CLOSING + len(_CLOSINGS)
_CONSTANTS = pa.array([*_OPENINGS[0], *_OPENINGS[1], *_CLOSINGS, *(closing + end for closing in _CLOSINGS for end in _ENDS)], pa.binary())

_ESCAPES = [e.quoted(chr(code))[1:-1] for code in (*range(32), ord('"'), ord("\\"))]
_ESCAPE_OF = np.zeros(256, dtype=np.int64)
_ESCAPE_OF[[*range(32), ord('"'), ord("\\")]] = np.arange(len(_ESCAPES))


@dataclass(frozen=True, eq=False)
class _Pieces:
    """``source`` holds all pieces of a level as bytes; the arrays say where in it the pieces of each element stand. ``value`` is -1 where there is none."""

    source: pa.Array
    is_word: Flags
    lead: Ints
    value: Ints


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
        kind, value = level.type[chosen].astype(np.int64), pieces.value[chosen]
        order = np.empty((len(chosen), 3), dtype=np.int32)
        order[:, 0] = kind + 256 * pieces.is_word[chosen]
        order[:, 1] = np.where(value < 0, _FIRST_CLOSING, value)  # the closing that is empty
        order[:, 2] = _FIRST_CLOSING + _CLOSING_OF[kind]
        return _joined(pieces.source, order.reshape(-1), np.arange(0, 3 * len(chosen) + 1, 3)).cast(pa.string())

    def _of(self, depth: int) -> _Pieces:
        if depth not in self._pieces:
            level = self._levels[depth]
            # what lies too deep to be walked has no text: its documents are odd
            below = self.rows(depth + 1) if depth + 1 < len(self._levels) else pa.array([b""] * len(level.nested), pa.binary())
            self._pieces[depth] = _pieces(level, below)
        return self._pieces[depth]

    def _make_rows(self, depth: int) -> pa.Array:
        level, pieces = self._levels[depth], self._of(depth)
        has_value = pieces.value >= 0
        widths = 1 + has_value
        ends = np.cumsum(widths) + level.row  # behind each row before this one comes one piece that ends it
        bounds = np.zeros(len(level.counts) + 1, dtype=np.int64)
        before = np.concatenate([[0], np.cumsum(widths)])
        bounds[1:] = before[level.first + level.counts] + np.arange(1, len(level.counts) + 1)
        order = np.empty(bounds[-1], dtype=np.int32)
        order[ends - widths] = pieces.lead
        order[ends[has_value] - 1] = pieces.value[has_value]
        order[bounds[1:] - 1] = _ends(level, outermost=depth == 0)
        return _joined(pieces.source, order, bounds)


def _joined(source: pa.Array, order: npt.NDArray[np.int32], bounds: Ints) -> pa.Array:
    """One value for each pair of bounds: the pieces between them, one after the other."""
    taken = source.take(pa.array(order))
    offsets = np.frombuffer(taken.buffers()[1], np.int32)[bounds] if len(order) else np.zeros(len(bounds), dtype=np.int32)
    return pa.Array.from_buffers(pa.binary(), len(bounds) - 1, [None, pa.py_buffer(offsets.copy()), taken.buffers()[2]])


def _ends(level: Level, *, outermost: bool) -> Ints:
    """By row, the piece that ends it: what closes its last value, and its bracket."""
    filled = level.counts > 0
    closing = np.zeros(len(level.counts), dtype=np.int64)
    closing[filled] = _CLOSING_OF[level.type[(level.first + level.counts - 1)[filled]]]
    bracket = np.where(filled, 4, 5) if outermost else level.is_array + np.where(filled, 0, 2)
    found: Ints = _FIRST_END + closing * len(_ENDS) + bracket
    return found


def _pieces(level: Level, below: pa.Array) -> _Pieces:
    chunk, kind = level.chunk, level.type
    nested = (kind == e.DOCUMENT) | (kind == e.ARRAY)
    is_word = nested & (level.size == e.SMALLEST_DOCUMENT)
    booleans = level.of(e.BOOLEAN)
    is_word[booleans] = chunk.bytes[level.value[booleans]] != 0
    leads, lead = _leads(level, is_word)
    value = np.full(len(kind), -1, dtype=np.int64)
    sources = [_CONSTANTS, leads]
    filled = len(_CONSTANTS) + len(leads)
    for chosen, texts in _values(level, below):
        value[chosen] = filled + np.arange(len(chosen))
        sources.append(texts)
        filled += len(texts)
    value[nested & is_word] = -1
    return _Pieces(pa.concat_arrays(sources), is_word, len(_CONSTANTS) + lead, value)


def _leads(level: Level, is_word: Flags) -> tuple[pa.Array, Ints]:
    """What leads to the elements, each text once, and by element the number of its text."""
    numbers, meanings = level.names
    closing = np.zeros(len(level.type), dtype=np.int64)
    closing[1:] = _CLOSING_OF[level.type[:-1]]
    first = level.first[level.counts > 0]
    closing[first] = len(_CLOSINGS)  # no element before
    codes = ((closing * 2 + level.is_array[level.row]) * 2 + is_word) * len(meanings) + numbers
    found = pa.array(codes).dictionary_encode()
    texts = []
    for code in found.dictionary.to_pylist():
        rest, number = divmod(code, len(meanings))
        kind, name = meanings[number]
        before, in_array, word = rest // 4, rest // 2 % 2, rest % 2
        begin = "[" if in_array else "{"
        comma = begin if before == len(_CLOSINGS) else _CLOSINGS[before] + ","
        texts.append(comma + ("" if in_array else f"{e.quoted(name)}:") + _OPENINGS[word][kind])
    return pa.array(texts, pa.binary()), found.indices.to_numpy().astype(np.int64)


def _values(level: Level, below: pa.Array) -> list[tuple[Ints, pa.Array]]:
    """For the types whose values are not words: the elements and the texts of their values, without what opens and closes them."""
    chunk = level.chunk
    found = [(level.nested, below), (level.of(e.STRING), _escaped(level.strings)), (level.of(e.OBJECT_ID), level.object_ids.cast(pa.binary()))]
    for kind, numbers in ((e.INT32, chunk.int32), (e.INT64, chunk.int64), (e.DATE, chunk.int64)):
        chosen = level.of(kind)
        found.append((chosen, pc.cast(pa.array(numbers[level.value[chosen]]), pa.string()).cast(pa.binary())))
    doubles = level.of(e.DOUBLE)
    found.append((doubles, pa.array([e.double_text(number) for number in chunk.float64[level.value[doubles]].tolist()], pa.binary())))
    rare = np.flatnonzero(~_IS_VECTOR[level.type])
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
