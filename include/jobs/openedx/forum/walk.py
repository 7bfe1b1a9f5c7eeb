"""Finds all elements of a chunk's documents together, by array arithmetic: a microsecond or two a document, where one by one takes twenty.

The first step looks at the first element of every document, the second step at the second one, and so on: each step is a few dozen numpy operations on
arrays with one entry a document. Documents need not be alike; those that have ended drop out. Nested documents and arrays are walked the same
way afterwards, all of one depth together (:class:`Level`).

Only the common case is decided here. A document with anything unusual in it, from a wrong length to two hundred nested arrays, is marked *odd*, and
:mod:`.elements` takes it apart alone, to say what is wrong with it or that nothing is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from include.jobs.openedx.forum import elements as e

Ints: TypeAlias = "npt.NDArray[np.int64]"
Flags: TypeAlias = "npt.NDArray[np.bool_]"
Bytes: TypeAlias = "npt.NDArray[np.uint8]"
Words: TypeAlias = "npt.NDArray[np.uint64]"

PADDING = 96  # behind the last byte: reads of eight bytes at a time may look past the end
DEEPEST = 12
STRAGGLERS, PATIENCE = 24, 256  # a step costs the same for 24 documents as one of them costs alone; long arrays are few

_SEVEN = np.uint64(0x0101010101010101)
_HIGH = np.uint64(0x8080808080808080)
_ONE = np.uint64(1)

# What a value's size is made of, by type: a constant, and the length that stands in front of it, which must not be less than ``_LEAST``.
_SIZE, _LEAST = np.full(256, -1, dtype=np.int64), np.zeros(256, dtype=np.int64)
_HAS_LENGTH = np.zeros(256, dtype=bool)
for _type, _size in {e.DOUBLE: 8, e.OBJECT_ID: 12, e.BOOLEAN: 1, e.DATE: 8, e.INT32: 4, e.TIMESTAMP: 8, e.INT64: 8, e.DECIMAL128: 16}.items():
    _SIZE[_type] = _size
for _type in (e.NULL, e.UNDEFINED, e.MIN_KEY, e.MAX_KEY, e.REGEX):
    _SIZE[_type] = 0
for _type, _size, _least in (
    (e.STRING, 4, 1),
    (e.CODE, 4, 1),
    (e.SYMBOL, 4, 1),
    (e.DOCUMENT, 0, e.SMALLEST_DOCUMENT),
    (e.ARRAY, 0, e.SMALLEST_DOCUMENT),
    (e.BINARY, 5, 0),
    (e.DB_POINTER, 16, 1),
    (e.CODE_WITH_SCOPE, 0, 14),
):
    _SIZE[_type], _LEAST[_type], _HAS_LENGTH[_type] = _size, _least, True


class Chunk:
    """Whole documents that follow each other, and which of them are odd. ``starts`` has one entry more than there are documents."""

    def __init__(self, data: bytes, starts: Ints) -> None:
        self.data = data + bytes(PADDING)
        self.starts = starts
        self.odd = np.zeros(len(starts) - 1, dtype=bool)
        self.bytes: Bytes = np.frombuffer(self.data, np.uint8)
        self._buffer = pa.py_buffer(self.data)
        size = len(self.data) - 8
        # one entry for each byte: numbers are not aligned in BSON
        self.words = np.ndarray((size,), "<u8", buffer=self.data, strides=(1,))
        self.int64 = np.ndarray((size,), "<i8", buffer=self.data, strides=(1,))
        self.int32 = np.ndarray((size,), "<i4", buffer=self.data, strides=(1,))
        self.float64 = np.ndarray((size,), "<f8", buffer=self.data, strides=(1,))

    def slices(self, starts: Ints, ends: Ints) -> pa.Array:
        """The bytes between positions, which must ascend and not overlap, as one binary array."""
        if not len(starts):
            return pa.array([], pa.binary())
        bounds = np.empty(2 * len(starts), dtype=np.int32)
        bounds[0::2], bounds[1::2] = starts, ends
        with_gaps = pa.Array.from_buffers(pa.binary(), len(bounds) - 1, [None, pa.py_buffer(bounds), self._buffer])
        return with_gaps.take(pa.array(np.arange(0, len(bounds) - 1, 2, dtype=np.int32)))


@dataclass(eq=False)
class Level:
    """All documents and arrays of one depth (``rows``) and their elements, in the order of their bytes.

    By row: ``root`` (the document of the chunk it is part of), ``is_array``, ``counts`` (its elements). By element: its ``row``, ``type``, ``at`` (where
    it begins), ``key`` (the length of its name), ``value`` (where its value begins) and ``size`` (the value's bytes, length prefix included).
    """

    chunk: Chunk
    root: Ints
    is_array: Flags
    counts: Ints
    row: Ints
    type: Bytes
    at: Ints
    key: Ints
    value: Ints
    size: Ints

    @cached_property
    def first(self) -> Ints:
        """By row: its first element, or where that would stand."""
        found: Ints = np.cumsum(self.counts) - self.counts
        return found

    @cached_property
    def nested(self) -> Ints:
        """The elements that are documents or arrays; the rows of the level below, in this order."""
        return np.flatnonzero((self.type == e.DOCUMENT) | (self.type == e.ARRAY))

    @cached_property
    def place(self) -> Ints:
        """By element: the how manieth of its type it is (of its kind, for documents and arrays), from 0."""
        found = np.zeros(len(self.type), dtype=np.int64)
        found[self.nested] = np.arange(len(self.nested))
        for kind in (e.STRING, e.OBJECT_ID, e.DOUBLE, e.DATE, e.INT32, e.INT64):
            chosen = self.of(kind)
            found[chosen] = np.arange(len(chosen))
        return found

    def of(self, kind: int) -> Ints:
        """The elements of a type."""
        return np.flatnonzero(self.type == kind)

    @cached_property
    def names(self) -> tuple[npt.NDArray[np.int32], list[tuple[int, str]]]:
        """By element the number of its type and name, and what the numbers mean. Names that are no text make their documents odd."""
        headers = self.chunk.slices(self.at, self.at + 1 + self.key).dictionary_encode()
        meanings: list[tuple[int, str]] = []
        for number, header in enumerate(headers.dictionary.to_pylist()):
            try:
                meanings.append((header[0], header[1:].decode()))
            except UnicodeDecodeError:
                meanings.append((header[0], ""))
                self.mark(headers.indices.to_numpy() == number)
        return headers.indices.to_numpy(), meanings

    @cached_property
    def strings(self) -> pa.Array:
        """The strings, as text. Those that are no UTF-8 make their documents odd."""
        chosen = self.of(e.STRING)
        starts, ends = self.value[chosen] + 4, self.value[chosen] + self.size[chosen] - 1
        found = self.chunk.slices(starts, ends)
        try:
            return found.cast(pa.string())
        except pa.ArrowInvalid:
            good = np.array([_is_text(value) for value in found.to_pylist()], dtype=bool)
        odd = np.zeros(len(self.type), dtype=bool)
        odd[chosen[~good]] = True
        self.mark(odd)
        return self.chunk.slices(starts, np.where(good, ends, starts)).cast(pa.string())

    @cached_property
    def object_ids(self) -> pa.Array:
        """The object ids, 24 hexadecimal digits each."""
        chosen = self.of(e.OBJECT_ID)
        raw = self.chunk.bytes[self.value[chosen][:, None] + np.arange(12)]
        digits = _HEXADECIMAL[raw].reshape(-1)
        bounds = np.arange(len(chosen) + 1, dtype=np.int32) * 24
        return pa.Array.from_buffers(pa.string(), len(chosen), [None, pa.py_buffer(bounds), pa.py_buffer(digits)])

    def mark(self, elements: Flags) -> None:
        """Makes the documents of these elements odd."""
        self.chunk.odd[self.root[self.row[elements]]] = True


_HEXADECIMAL = np.frombuffer("".join(f"{value:02x}" for value in range(256)).encode(), dtype=np.uint16)


def _is_text(value: bytes) -> bool:
    try:
        value.decode()
    except UnicodeDecodeError:
        return False
    return True


def walk(chunk: Chunk) -> list[Level]:
    """The levels of a chunk, outermost first. What cannot be walked is marked in ``chunk.odd``; its elements may be missing."""
    starts, ends = chunk.starts[:-1], chunk.starts[1:]
    root, is_array = np.arange(len(starts)), np.zeros(len(starts), dtype=bool)
    levels: list[Level] = []
    while len(root):
        if len(levels) == DEEPEST:
            chunk.odd[root] = True
            break
        level = _level(chunk, starts, ends, root, is_array)
        levels.append(level)
        nested = level.nested
        starts, root, is_array = level.value[nested], level.root[level.row[nested]], level.type[nested] == e.ARRAY
        ends = starts + level.size[nested]
    return levels


def _level(chunk: Chunk, starts: Ints, ends: Ints, root: Ints, is_array: Flags) -> Level:
    steps, odd = _steps(chunk, starts, ends)
    counts = np.zeros(len(starts), dtype=np.int64)
    if odd.any():
        chunk.odd[root[odd]] = True
        steps = [tuple(column[~odd[step[0]]] for column in step) for step in steps]
    for step in steps:
        counts[step[0]] += 1
    first = np.cumsum(counts) - counts
    total = int(counts.sum())
    row, at, key, value, size = (np.empty(total, dtype=np.int64) for _ in range(5))
    kind = np.empty(total, dtype=np.uint8)
    for number, step in enumerate(steps):
        places = first[step[0]] + number
        row[places], kind[places], at[places], key[places], value[places], size[places] = step
    level = Level(chunk, root, is_array, counts, row, kind, at, key, value, size)
    _check(level)
    return level


def _steps(chunk: Chunk, starts: Ints, ends: Ints) -> tuple[list[tuple[npt.NDArray[np.generic], ...]], Flags]:
    """One entry a step: row, type, at, key, value and size of the elements found; and the rows where something was unusual."""
    odd = np.zeros(len(starts), dtype=bool)
    row, at, last = np.arange(len(starts)), starts + 4, ends - 1
    steps: list[tuple[npt.NDArray[np.generic], ...]] = []
    while len(row):
        kind = chunk.bytes[at]
        ended = kind == 0
        if ended.any():
            odd[row[ended & (at != last)]] = True
            row, at, last, kind = row[~ended], at[~ended], last[~ended], kind[~ended]
            if not len(row):
                break
        if len(steps) >= PATIENCE and len(row) < STRAGGLERS:
            odd[row] = True
            break
        key = _lengths(chunk, at + 1)
        value = at + key + 2
        size = _sizes(chunk, kind, np.minimum(value, last))
        following = value + size
        good = (size >= 0) & (following <= last)
        steps.append((row, kind, at, key, value, size))
        if not good.all():
            odd[row[~good]] = True
            row, following, last = row[good], following[good], last[good]
        at = following
    return steps, odd


def _lengths(chunk: Chunk, at: Ints) -> Ints:
    """Bytes before the next zero byte, looked for in eight bytes at once."""
    found, zeros = _before_zero(chunk.words[at])
    waiting, offset = np.flatnonzero(zeros == 0), 8
    while len(waiting):
        lengths, zeros = _before_zero(chunk.words[np.minimum(at[waiting] + offset, len(chunk.words) - 1)])
        found[waiting] = offset + lengths
        waiting, offset = waiting[zeros == 0], offset + 8
    return found


def _before_zero(words: Words) -> tuple[Ints, Words]:
    """Bytes of each word before its first zero byte, and a mark that is 0 where there is none."""
    zeros = (words - _SEVEN) & ~words & _HIGH
    lengths: Ints = np.bitwise_count((zeros & (~zeros + _ONE)) - _ONE).astype(np.int64) >> 3
    return lengths, zeros


def _sizes(chunk: Chunk, kind: Bytes, value: Ints) -> Ints:
    """Bytes of each value; negative where the type is unknown or the length in front of it too small."""
    size = _SIZE[kind]
    with_length = np.flatnonzero(_HAS_LENGTH[kind])
    lengths = chunk.int32[value[with_length]].astype(np.int64)
    size[with_length] = np.where(lengths >= _LEAST[kind[with_length]], size[with_length] + lengths, -1)
    for number in np.flatnonzero(kind == e.REGEX):  # two texts that end with a zero byte each
        options = chunk.data.find(b"\0", value[number]) + 1
        size[number] = chunk.data.find(b"\0", options) + 1 - value[number]
    return size


def _check(level: Level) -> None:
    """Marks documents whose values have a byte that the type does not allow; text is checked when it is read."""
    chunk, kind = level.chunk, level.type
    last = chunk.bytes[level.value + level.size - 1]
    closed = (kind == e.STRING) | (kind == e.DOCUMENT) | (kind == e.ARRAY)
    wrong = (closed & (last != 0)) | ((kind == e.BOOLEAN) & (last > 1))
    if wrong.any():
        level.mark(wrong)
    numbers, meanings = level.names
    names: dict[str, int] = {}
    name = np.array([names.setdefault(key, len(names)) for _, key in meanings], dtype=np.int64)
    pair = level.row * len(names) + name[numbers] if names else level.row
    rows = len(level.counts)
    twice = np.flatnonzero(np.bincount(pair) > 1) if rows * len(names) < 8 * len(pair) + (1 << 20) else _repeated(pair)
    chunk.odd[level.root[twice // max(len(names), 1)]] = True


def _repeated(values: Ints) -> Ints:
    found, counts = np.unique(values, return_counts=True)
    repeated: Ints = found[counts > 1]
    return repeated
