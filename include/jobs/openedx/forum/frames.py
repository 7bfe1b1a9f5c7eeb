"""A collection's bytes, cut into chunks of whole documents.

Documents follow each other with nothing between: each begins with its length. Where one is cut short or has an impossible length, nobody can say where the next
one begins, so the file is refused as a whole (:class:`CutFileError`), with the offset of that document in the uncompressed bytes.

**The rule.** A file is loaded when its documents' lengths lead from its first byte to its last, and refused otherwise. In a file that is loaded, a
document whose content is not BSON goes to the quarantine and the others are kept; when such a document shows that its length was wrong (it ends before
its length says), the file is refused after all. Nothing of a refused file is loaded.
"""

from __future__ import annotations

import gzip
import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from isal import igzip
from isal.igzip_lib import IsalError

from include.jobs.openedx.forum.elements import LARGEST_DOCUMENT, SMALLEST_DOCUMENT
from include.jobs.openedx.forum.walk import Ints

CHUNK_BYTES = 4 << 20  # larger ones leave the processor's caches, smaller ones feel each step's own cost
_length_at = struct.Struct("<i").unpack_from


class CutFileError(ValueError):
    """A file that cannot be loaded: its name, the ``offset`` in its uncompressed bytes, and the ``reason``."""

    def __init__(self, source: str, offset: int, reason: str) -> None:
        self.source, self.offset, self.reason = source, offset, reason
        super().__init__(f"{source}: byte {offset}: {reason}; nothing of the file is loaded")


@dataclass(frozen=True)
class Frames:
    """Whole documents: their bytes, where each begins and where the last one ends, and where the first one lies in the file."""

    data: bytes
    starts: Ints
    offset: int


class FrameReader:
    """Reads one collection. After the last chunk ``sha256``, ``size`` (bytes) and ``documents`` describe the whole, uncompressed."""

    def __init__(self, stream: BinaryIO, source: str, *, gzipped: bool, chunk_bytes: int = CHUNK_BYTES) -> None:
        opened = igzip.IGzipFile(fileobj=stream) if gzipped else stream
        self._read_some: Callable[[int], bytes] = opened.read
        self._source, self._chunk_bytes = source, chunk_bytes
        self._digest = hashlib.sha256()
        self.size = self.documents = 0

    @property
    def sha256(self) -> str:
        """Of what was read."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[Frames]:
        rest, offset = b"", 0
        while block := self._read(offset + len(rest)):
            data = rest + block
            starts = self._starts(data, offset)
            rest = data[starts[-1] :]
            if len(starts) > 1:
                self.documents += len(starts) - 1
                yield Frames(data[: starts[-1]], np.array(starts, dtype=np.int64), offset)
                offset += starts[-1]
        if rest:
            found = f"a document of {_length_at(rest)[0]} bytes" if len(rest) >= 4 else "the length of a document"
            raise CutFileError(self._source, offset, f"found the end of the file after {len(rest)} bytes of {found}; allowed: whole documents")

    def _read(self, offset: int) -> bytes:
        try:
            block = self._read_some(self._chunk_bytes)
        except (EOFError, zlib.error, gzip.BadGzipFile, IsalError) as error:  # type: ignore[misc]
            raise CutFileError(self._source, offset, f"found damaged gzip data behind this byte: {error}; allowed: whole gzip members") from error
        self._digest.update(block)
        self.size += len(block)
        return block

    def _starts(self, data: bytes, offset: int) -> list[int]:
        """Where the whole documents of ``data`` begin, and where they end. Raises :class:`CutFileError`."""
        starts, at, end = [0], 0, len(data)
        while at + 4 <= end:
            length = _length_at(data, at)[0]
            if not SMALLEST_DOCUMENT <= length <= LARGEST_DOCUMENT:
                allowed = f"{SMALLEST_DOCUMENT} to {LARGEST_DOCUMENT}"
                raise CutFileError(self._source, offset + at, f"found {length} as the length of a document; allowed: {allowed}")
            if at + length > end:
                break
            at += length
            if data[at - 1]:
                reason = f"found {data[at - 1]:#04x} at the end of a document of {length} bytes; allowed: a zero byte"
                raise CutFileError(self._source, offset + starts[-1], reason)
            starts.append(at)
        return starts
