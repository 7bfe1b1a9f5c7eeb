"""An object's bytes in blocks of whole lines, inflated on the way; never more than a block and the longest allowed line in memory.

A gzip stream vouches for itself: when it is cut, altered or followed by something else, the whole object is refused, and so is one
that inflates beyond all proportion. A plain file cannot tell that it was cut, but for a last line without an end that is no event
(:class:`UnreadableError` also, raised by who parses the line).
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from isal import igzip, igzip_lib

from include.contract import PermanentError

BLOCK_BYTES = 2 << 20
LINE_LIMIT = 16 << 20
"""A longer line is refused without being held in memory."""
RATIO_LIMIT, RATIO_FROM = 250, 64 << 20
"""Logs inflate 7 to 20 times, zeros 1,030 times; the ratio is looked at once so many bytes are out."""
FOUND_LIMIT = 64 << 10
"""Bytes of a refused line that its record holds; offset and length tell where the rest is."""
GZIP = b"\x1f\x8b"


class Readable(Protocol):
    """An opened object."""

    def readinto(self, room: memoryview, /) -> int | None:
        """Fills at most ``room``; 0 at the end."""
        ...


class UnreadableError(PermanentError):
    """An object that cannot be read to its end, or must not be, and is refused whole.

    ``offset`` bytes of text came before, ``position`` bytes of the object were read.
    """

    def __init__(self, source: str, offset: int, position: int, reason: str) -> None:
        self.source, self.offset, self.position, self.reason = source, offset, position, reason
        super().__init__(source, offset, position, reason)

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}, after {self.offset:,} bytes of text ({self.position:,} bytes of the object)"


@dataclass(frozen=True)
class Block:
    """Whole lines, as they stand in the inflated object from ``offset`` on; only an object's last block may lack its last line's end."""

    offset: int
    data: bytes

    @property
    def open_end(self) -> bool:
        """Whether the last line has no end."""
        return not self.data.endswith(b"\n")


@dataclass(frozen=True)
class Refused:
    """A line that is no event: where it stands in the inflated object, its length in bytes without its end, why, and its first bytes."""

    offset: int
    length: int
    reason: str
    found: bytes

    def record(self, source: str) -> bytes:
        """One line of the quarantine."""
        found: dict[str, str]
        try:
            found = {"found": self.found.decode("utf-8")}
        except UnicodeDecodeError:
            found = {"found_base64": base64.b64encode(self.found).decode()}
        line = {"source": source, "offset": self.offset, "length": self.length, "reason": self.reason, **found}
        return json.dumps(line, ensure_ascii=False).encode("utf-8") + b"\n"


def refuse(offset: int, line: bytes, reason: str) -> Refused:
    """The record of a refused line."""
    return Refused(offset, len(line), reason, line[:FOUND_LIMIT])


def read_blocks(stream: Readable, source: str, *, gzip: bool) -> Iterator[Block | Refused]:
    """The object's lines in order, over-long ones as refused. The cuts depend on the text alone, not on how it was packed or fetched.

    Raises :class:`UnreadableError`; blocks given before it belong to an object that is refused.
    """
    reader = _Reader(stream, source, gzip=gzip)
    while reader.fill():
        yield from reader.take()
    yield from reader.rest()


class _Counted(io.RawIOBase):
    """Counts what is read from a stream."""

    def __init__(self, stream: Readable) -> None:
        super().__init__()
        self._stream = stream
        self.position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, room: Any, /) -> int:
        count = self._stream.readinto(room) or 0
        self.position += count
        return count


class _Reader:
    """A buffer that is filled from the stream and emptied line by line."""

    def __init__(self, stream: Readable, source: str, *, gzip: bool) -> None:
        self._raw = _Counted(stream)
        self._inflated = igzip.IGzipFile(fileobj=self._raw, mode="rb") if gzip else None
        self._source = source
        self._buffer = bytearray(BLOCK_BYTES)
        self._filled = 0
        self._offset = 0  # of the buffer's first byte
        self._skipped = 0  # bytes of an over-long line that are gone from the buffer
        self._head = b""

    def fill(self) -> bool:
        """Reads until the buffer is full; false at the object's end."""
        while self._filled < len(self._buffer):
            count = self._read_into(memoryview(self._buffer)[self._filled :])
            if not count:
                return False
            self._filled += count
        return True

    def take(self) -> Iterator[Block | Refused]:
        """The full buffer's whole lines, or room for a longer one."""
        if self._skipped:
            yield from self._skip()
            return
        cut = self._buffer.rfind(b"\n", 0, self._filled) + 1
        if cut:
            yield Block(self._offset, bytes(memoryview(self._buffer)[:cut]))
            self._drop(cut)
        elif len(self._buffer) < LINE_LIMIT:
            self._buffer.extend(bytes(len(self._buffer)))
        else:
            self._head = bytes(self._buffer[:FOUND_LIMIT])
            self._skipped, self._filled = self._filled, 0

    def rest(self) -> Iterator[Block | Refused]:
        """What is left at the object's end."""
        if self._skipped:
            yield from self._skip()
        if self._skipped and self._inflated is None:
            raise UnreadableError(self._source, self._offset, self._raw.position, "the object ends within a line")
        if self._skipped:
            yield self._too_long()
        elif self._filled:
            yield Block(self._offset, bytes(self._buffer[: self._filled]))

    def _skip(self) -> Iterator[Refused]:
        end = self._buffer.find(b"\n", 0, self._filled)
        if end < 0:
            self._skipped, self._filled = self._skipped + self._filled, 0
            return
        self._skipped += end
        yield self._too_long()
        self._offset += self._skipped - end  # the buffer's first byte
        self._skipped = 0
        self._drop(end + 1)

    def _too_long(self) -> Refused:
        return Refused(self._offset, self._skipped, f"longer than {LINE_LIMIT:,} bytes", self._head)

    def _drop(self, count: int) -> None:
        """Takes lines out of the buffer, and its growth with them."""
        left = self._filled - count
        self._buffer[:left] = self._buffer[count : self._filled]
        self._filled, self._offset = left, self._offset + count
        if len(self._buffer) > BLOCK_BYTES > left:
            del self._buffer[BLOCK_BYTES:]

    def _read_into(self, room: memoryview) -> int:
        if self._inflated is None:
            return self._raw.readinto(room)
        try:
            count: int = self._inflated.readinto(room)
        except (EOFError, igzip.BadGzipFile, igzip_lib.IsalError) as error:  # type: ignore[misc]  # any other OSError is the store's trouble, not the object's
            raise UnreadableError(self._source, self._so_far, self._raw.position, f"no whole gzip stream: {error}") from None
        if not self._raw.position:
            raise UnreadableError(self._source, 0, 0, "no whole gzip stream: the object is empty")
        if self._so_far + count > RATIO_FROM and self._so_far + count > RATIO_LIMIT * self._raw.position:
            raise UnreadableError(self._source, self._so_far, self._raw.position, f"inflates to more than {RATIO_LIMIT} times its size")
        return count

    @property
    def _so_far(self) -> int:
        return self._offset + self._skipped + self._filled
