"""All events of a block of lines at once: what :func:`.events.read_event` says of each, at a small part of the cost.

msgspec cuts the known fields out of every line, without building what is inside them, and writes them down again in one order with a
line break after each field. No field contains a line break, so their positions give every field of every line, and what follows looks at
whole columns: kinds by first bytes, quotes by moving the ends, times by Arrow. Each check sends the lines for which the shortcut could be
wrong to ``read_event``: unknown fields, escapes in text columns, a name twice, numbers as names, times of odd shapes. A line that
is normal already goes into the output as it stands.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from include.jobs.openedx.tracking_logs.events import FIELDS, OBJECTS, TEXTS, Event, RefusedError, read_event
from include.jobs.openedx.tracking_logs.reading import Block, Refused, refuse
from include.jobs.openedx.tracking_logs.times import FIRST, LAST, TimeError, format_time, parse_time

Flags: TypeAlias = "npt.NDArray[np.bool_]"
Numbers: TypeAlias = "npt.NDArray[np.int64]"
Bytes: TypeAlias = "npt.NDArray[np.uint8]"

_ABSENT, _BREAK = msgspec.Raw(b""), msgspec.Raw(b"\n")
_BREAKS = [f"_{number}" for number in range(len(FIELDS) - 1)]
_NAMES = [name for pair in itertools.zip_longest(FIELDS, _BREAKS) for name in pair if name]
_Line: Any = msgspec.defstruct("_Line", [(name, msgspec.Raw, _BREAK if name in _BREAKS else _ABSENT) for name in _NAMES], forbid_unknown_fields=True, gc=False)
_NOTHING = _Line()
_decode = msgspec.json.Decoder(_Line).decode
_decode_text = msgspec.json.Decoder(str).decode
_decode_any = msgspec.json.Decoder(msgspec.Raw).decode
_encode_lines = msgspec.json.Encoder().encode_lines
# What stands around a field between two line breaks: {"time": ,"_0":   then   ,"event_type": ,"_1":   and so on, a } after the last.
_BEFORE: Numbers = np.array([len(f'{{"{name}":') for name in FIELDS])
_AFTER: Numbers = np.array([*(len(f',"{name}":') for name in _BREAKS), len("}")])
_NAME_LENGTHS: Numbers = np.array([len(f'"{name}"') for name in FIELDS])
_SPACED, _COMPACT = {name: f'"{name}": '.encode() for name in FIELDS}, {name: f'"{name}":'.encode() for name in FIELDS}
_PLACE = {name: place for place, name in enumerate(FIELDS)}
_TEXT_PLACES = [_PLACE[name] for name in TEXTS]
_QUOTE, _BRACE, _BACKSLASH, _NEWLINE, _NULL = b'"{\\\nn'
_TIME_LENGTH = 34  # "2026-03-02T10:11:12.123456+00:00" with its quotes
_UTC: Bytes = np.frombuffer(b'+00:00"', np.uint8)
TIMESTAMP = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class Columns:
    """Some events as columns of one length: ``times`` in UTC microseconds, and the text columns, ``extra`` and ``source_offset`` by name."""

    times: Numbers
    arrays: dict[str, pa.Array]


@dataclass(frozen=True)
class Parsed:
    """A block's ``events`` as normalised ``text``, each in a line with its end in the order of the source, and as ``columns``; and what is no event."""

    text: bytes
    events: int
    columns: list[Columns]
    refused: list[Refused] = field(default_factory=list)
    blank: int = 0


def parse_block(block: Block) -> Parsed:
    """The events of a block, and its lines that are none."""
    return _Parser(block).parse()


class _Parser:
    def __init__(self, block: Block) -> None:
        self.block = block
        self.data = block.data if not block.open_end else block.data + b"\n"
        self.view = memoryview(self.data)
        self.stops: Numbers = np.flatnonzero(np.frombuffer(self.data, np.uint8) == _NEWLINE)
        self.starts: Numbers = np.concatenate(([0], self.stops[:-1] + 1))
        self.unusual: Flags = np.zeros(len(self.stops), bool)  # lines that read_event must look at
        self.compact: Flags = self.unusual  # lines without blanks between their tokens
        self.edits: dict[int, list[tuple[int, int, bytes]]] = defaultdict(list)  # by line: what replaces which bytes of the data
        self.objects: dict[str, dict[int, bytes]] = {name: {} for name in OBJECTS}  # taken out of strings, by line

    def parse(self) -> Parsed:
        fields = _Fields.of(self._cut(), len(self.stops))
        if fields is None:
            self.unusual[:] = True
            return self._result([])
        self._check(fields)
        for name in OBJECTS:
            self._unwrap(name, fields)
        times = self._times(fields)
        return self._result([self._columns(fields, times)])

    def _cut(self) -> bytes:
        """The fields of all lines in one order; none of the lines that msgspec refuses or whose bytes may be no UTF-8."""
        found: list[Any] = []
        add, decode, view = found.append, _decode, self.view
        for begin, stop in zip(self.starts.tolist(), self.stops.tolist(), strict=True):
            try:
                add(decode(view[begin:stop]))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                self.unusual[len(found)] = True
                add(_NOTHING)
        if not self.data.isascii():
            for row in range(len(found)):
                if not _is_utf8(self._line(row)):
                    self.unusual[row] = True
                    found[row] = _NOTHING
        fields: bytes = _encode_lines(found)
        return fields

    def _line(self, row: int) -> bytes:
        return self.data[self.starts[row] : self.stops[row]]

    def _check(self, fields: _Fields) -> None:
        """Marks lines with a text that is neither string nor null, and lines that are longer than their fields make them.

        The second kind has a name twice, or blanks in unusual places.
        """
        first, lengths = fields.first[:, _TEXT_PLACES], fields.lengths
        self.unusual |= ((first != _QUOTE) & (first != _NULL) & (lengths[:, _TEXT_PLACES] > 0)).any(axis=1)
        present = lengths > 0
        count = present.sum(axis=1)
        content = lengths.sum(axis=1) + present @ _NAME_LENGTHS
        line = self.stops - self.starts
        self.compact = line == content + 2 * count + 1
        self.unusual |= ~(self.compact | (line == content + 4 * count))

    def _unwrap(self, name: str, fields: _Fields) -> None:
        """Takes objects out of the strings that contain them; a string that contains none stays one."""
        place, taken = _PLACE[name], self.objects[name]
        begins, lengths = self._begins(name).tolist(), fields.lengths[:, place].tolist()
        starts, stops = fields.starts[:, place].tolist(), fields.stops[:, place].tolist()
        for row in np.flatnonzero((fields.first[:, place] == _QUOTE) & ~self.unusual).tolist():
            text = _decode_text(fields.view[starts[row] : stops[row]])
            if text.startswith("{") and "\n" not in text and "\r" not in text:
                try:
                    _decode_any(text)
                except (msgspec.DecodeError, RecursionError):
                    self.unusual[row] = True
                    continue
                if begins[row] < 0:
                    self.unusual[row] = True
                    continue
                taken[row] = text.encode()
                self.edits[row].append((begins[row], begins[row] + lengths[row], taken[row]))
            elif text.lstrip(" \t\r\n").startswith(("{", '"')):
                self.unusual[row] = True

    def _begins(self, name: str) -> Numbers:
        """Where a field's string that begins with a brace stands in the data, by line; -1 where none does, or several that may be the field's."""
        bytes_: Bytes = np.frombuffer(self.data, np.uint8)
        quotes = np.flatnonzero(bytes_ == _BRACE) - 1
        quotes = quotes[(quotes >= len(_SPACED[name])) & (bytes_[quotes] == _QUOTE)]
        named: Flags = np.zeros(len(quotes), bool)
        for key in (_SPACED[name], _COMPACT[name]):
            named |= (bytes_[quotes[:, None] + np.arange(-len(key), 0)] == np.frombuffer(key, np.uint8)).all(axis=1)
        rows = np.searchsorted(self.starts, quotes[named], side="right") - 1
        begins: Numbers = np.full(len(self.starts), -1)
        begins[rows] = quotes[named]
        begins[np.bincount(rows, minlength=len(self.starts)) != 1] = -1
        return begins

    def _replace(self, row: int, name: str, length: int, value: bytes) -> None:
        """Notes that a value takes the place of a line's own, which has ``length`` bytes."""
        key = (_COMPACT if self.compact[row] else _SPACED)[name]
        stop = int(self.stops[row])
        begin = self.data.find(key, int(self.starts[row]), stop) + len(key)
        if self.data.find(key, begin, stop) >= 0:  # also within an object; which one is the field's?
            self.unusual[row] = True
        else:
            self.edits[row].append((begin, begin + length, value))

    def _times(self, fields: _Fields) -> Numbers:
        place = _PLACE["time"]
        starts, lengths = fields.starts[:, place], fields.lengths[:, place]
        times = np.zeros(len(self.stops), np.int64)
        usual = np.flatnonzero((lengths == _TIME_LENGTH) & (fields.first[:, place] == _QUOTE))
        texts = fields.buffer[starts[usual][:, None] + np.arange(_TIME_LENGTH)]
        shaped = (texts[:, 20] == ord(".")) & (texts[:, 30] == ord(":")) & (texts[:, 33] == _QUOTE)
        usual, texts = usual[shaped], texts[shaped]
        moments = _moments(np.ascontiguousarray(texts[:, 1:33]))
        if moments is None:  # one of them is no time: each for itself
            usual, texts, moments = usual[:0], texts[:0], times[:0]
        times[usual] = moments
        other = ~self.unusual
        other[usual] = False
        for row in np.flatnonzero(other).tolist():
            raw = fields.texts[starts[row] : starts[row] + lengths[row]].decode()
            try:
                times[row] = parse_time(_decode_text(raw) if raw.startswith('"') else raw)
            except TimeError:
                self.unusual[row] = True  # read_event says why
        abnormal = usual[(texts[:, 11] != ord("T")) | (texts[:, 27:] != _UTC).any(axis=1)]
        other[abnormal] = True
        for row in np.flatnonzero(other & ~self.unusual).tolist():
            self._replace(row, "time", int(lengths[row]), f'"{format_time(int(times[row]))}"'.encode())
        return times

    def _columns(self, fields: _Fields, times: Numbers) -> Columns:
        """The columns of the usual lines; marks those that have escapes in their texts."""
        values = _Values(fields, self.objects)
        rows = np.flatnonzero(~self.unusual)
        arrays = {name: values.take(name, rows) for name in TEXTS}
        escaped = np.unique(np.concatenate([_holders(array, _BACKSLASH) for array in arrays.values()]))
        if len(escaped):
            self.unusual[rows[escaped]] = True
            kept: Flags = np.ones(len(rows), bool)
            kept[escaped] = False
            rows, arrays = rows[kept], {name: array.filter(pa.array(kept)) for name, array in arrays.items()}
        arrays |= {name: values.take(name, rows) for name in OBJECTS}
        arrays["extra"] = pa.nulls(len(rows), pa.large_string())
        arrays["source_offset"] = pa.array(self.block.offset + self.starts[rows])
        return Columns(times[rows], arrays)

    def _result(self, columns: list[Columns]) -> Parsed:
        odd: list[tuple[int, Event]] = []
        refused: list[Refused] = []
        blank = 0
        for row in np.flatnonzero(self.unusual).tolist():
            begin, stop = int(self.starts[row]), int(self.stops[row])
            line = self.data[begin:stop]
            try:
                event = read_event(line)
            except RefusedError as error:
                self.edits[row] = [(begin, stop + 1, b"")]
                if line.strip():
                    refused.append(refuse(self.block.offset + begin, line, str(error)))
                else:  # no event and no error
                    blank += 1
            else:
                self.edits[row] = [(begin, stop, event.line)]
                odd.append((self.block.offset + begin, event))
        events = len(self.stops) - len(refused) - blank
        return Parsed(self._text(), events, [*columns, _odd_columns(odd)] if odd else columns, refused, blank)

    def _text(self) -> bytes:
        """The block with all that was replaced in it."""
        if not self.edits:
            return self.data
        pieces: list[bytes | memoryview] = []
        at = 0
        for row in sorted(self.edits):
            for begin, stop, value in sorted(self.edits[row]):
                pieces += (self.view[at:begin], value)
                at = stop
        pieces.append(self.view[at:])
        return b"".join(pieces)


@dataclass(frozen=True)
class _Fields:
    """The fields of all lines as JSON texts side by side: where each begins and ends, by line and place in ``FIELDS``; empty where absent."""

    texts: bytes
    view: memoryview
    buffer: Bytes
    starts: Numbers
    stops: Numbers

    @classmethod
    def of(cls, texts: bytes, lines: int) -> _Fields | None:
        """Nothing when a line has a field with the name of one of the breaks between fields."""
        buffer: Bytes = np.frombuffer(texts, np.uint8)
        breaks = np.flatnonzero(buffer == _NEWLINE)
        if len(breaks) != lines * len(FIELDS):
            return None
        starts = np.concatenate(([0], breaks[:-1] + 1)).reshape(lines, len(FIELDS)) + _BEFORE
        return cls(texts, memoryview(texts), buffer, starts, breaks.reshape(lines, len(FIELDS)) - _AFTER)

    @property
    def lengths(self) -> Numbers:
        """Bytes of each field."""
        return self.stops - self.starts

    @property
    def first(self) -> Bytes:
        """The first byte of each field; of an absent one, some other byte that begins no value: a comma or a brace."""
        return self.buffer[self.starts]


class _Values:
    """The same fields for Arrow, strings in text columns without their quotes: slices of one long body, the taken-out objects behind it."""

    def __init__(self, fields: _Fields, objects: dict[str, dict[int, bytes]]) -> None:
        texts: Flags = np.zeros(len(FIELDS), bool)
        texts[_TEXT_PLACES] = True
        quoted = (fields.first == _QUOTE) & texts
        self._nulls = (fields.first == _NULL) | (fields.lengths <= 0)
        taken = [value for by_row in objects.values() for value in by_row.values()]
        self._objects, self._slices = objects, self._nulls.size
        # slice, gap, slice, gap, ... to the end of the fields, then the objects without gaps
        slices = np.stack((fields.starts + quoted, fields.stops - quoted), axis=-1).ravel()
        ends = len(fields.buffer) + np.cumsum([0, *map(len, taken)])
        offsets = np.concatenate((slices, ends))
        body = b"".join((fields.texts, *taken))
        self._all = pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(body)])

    def take(self, name: str, rows: Numbers) -> pa.Array:
        """One column."""
        place = _PLACE[name]
        index = 2 * (np.arange(len(self._nulls)) * len(FIELDS) + place)
        if name in self._objects:
            before = sum(len(self._objects[other]) for other in OBJECTS[: OBJECTS.index(name)])
            mine = np.fromiter(self._objects[name], np.int64, len(self._objects[name]))
            index[mine] = 2 * self._slices + before + np.arange(len(mine))
        return self._all.take(pa.array(index[rows], mask=self._nulls[rows, place]))


def _odd_columns(odd: list[tuple[int, Event]]) -> Columns:
    """Events with the offsets of their lines."""
    arrays = {name: pa.array([event.texts[place] for _, event in odd], pa.large_string()) for place, name in enumerate(TEXTS)}
    arrays |= {name: pa.array([getattr(event, name) for _, event in odd], pa.large_string()) for name in (*OBJECTS, "extra")}
    arrays["source_offset"] = pa.array([offset for offset, _ in odd], pa.int64())
    return Columns(np.array([event.time for _, event in odd], np.int64), arrays)


def _holders(array: pa.Array, byte: int) -> Numbers:
    """The rows of an array of texts that hold a byte."""
    _, offsets, body = array.buffers()
    found = np.flatnonzero(np.frombuffer(body, np.uint8) == byte) if body is not None else ()
    if not len(found):
        return np.empty(0, np.int64)
    return np.searchsorted(np.frombuffer(offsets, np.int64), found, side="right") - 1


def _moments(texts: Bytes) -> Numbers | None:
    """Times of 32 characters each as UTC microseconds; nothing when one of them is none."""
    if not len(texts):
        return np.empty(0, np.int64)
    offsets = np.arange(0, texts.size + 1, texts.shape[1])
    array = pa.Array.from_buffers(pa.large_string(), len(texts), [None, pa.py_buffer(offsets), pa.py_buffer(texts)])
    try:
        moments: Numbers = array.cast(TIMESTAMP).cast(pa.int64()).to_numpy()
    except pa.ArrowInvalid:
        return None
    return moments if moments.min() >= FIRST * 1_000_000 and moments.max() < LAST * 1_000_000 else None


def _is_utf8(line: bytes) -> bool:
    try:
        return line.isascii() or bool(line.decode("utf-8"))
    except UnicodeDecodeError:
        return False
