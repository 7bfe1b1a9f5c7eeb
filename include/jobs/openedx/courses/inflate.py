"""The bytes inside a gzip file, piece by piece, never more than the limits allow."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO

from isal import igzip_lib, isal_zlib

from include.jobs.openedx.courses.refusals import Limits, RefusedArchiveError

READ_BYTES = 256 << 10
PIECE_BYTES = 1 << 20
MOST_MEMBERS = 10_000
_IsalError: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]  # its annotation is that of an instance
GZIP = 31  # zlib's window bits for a gzip header and trailer
ALLOWED = "a gzip file, whole and unchanged"


class Inflater:
    """Reads a gzip file once. ``sha256`` is that of the file itself, known when :meth:`pieces` has ended.

    Checksums and lengths of the format are verified by ISA-L; several members in a row are one stream, zero bytes may follow the last.
    """

    def __init__(self, stream: BinaryIO, source: str, limits: Limits) -> None:
        self._stream, self._source, self._limits = stream, source, limits
        self._hash = hashlib.sha256()
        self._fed = 0
        self.inflated = 0

    @property
    def sha256(self) -> str:
        """Hex digest of the compressed bytes read so far."""
        return self._hash.hexdigest()

    def pieces(self) -> Iterator[bytes]:
        """The inflated bytes in pieces of at most ``PIECE_BYTES``. Raises :class:`RefusedArchiveError`."""
        data = self._read()
        if not data:
            raise self._refused("an empty file", ALLOWED)
        members = 0
        while data:
            members += 1
            if members > MOST_MEMBERS:  # they may be empty, and cost time all the same
                raise self._refused(f"more than {MOST_MEMBERS} gzip members", f"at most {MOST_MEMBERS}")
            member = isal_zlib.decompressobj(GZIP)
            while not member.eof:
                if not data:
                    raise self._refused("the end of the file inside its data: it was cut", ALLOWED)
                yield from self._inflate(member, data)
                data = b"" if member.eof else self._read()
            data = self._after(member.unused_data)

    def _inflate(self, member: isal_zlib.Decompress, data: bytes) -> Iterator[bytes]:
        """All that follows from ``data``. What a piece has no room for stays inside ISA-L, also when no input is left."""
        full = True
        while not member.eof and (data or full):
            try:
                piece = member.decompress(data, PIECE_BYTES)
            except _IsalError as error:
                raise self._refused(f"damaged data ({error})", ALLOWED) from error
            data = member.unconsumed_tail
            full = len(piece) == PIECE_BYTES
            if piece:
                self._count(len(piece), len(data))
                yield piece

    def _count(self, size: int, waiting: int) -> None:
        limits = self._limits
        self.inflated += size
        if self.inflated > limits.total_bytes:
            raise self._refused(f"more than {limits.total_bytes} bytes inflated", f"at most {limits.total_bytes}")
        consumed = max(1, self._fed - waiting)
        if self.inflated > limits.ratio_from and self.inflated > limits.ratio * consumed:
            raise self._refused(f"{self.inflated} bytes inflated from {consumed}", f"at most {limits.ratio} times as many")

    def _after(self, rest: bytes) -> bytes:
        """The beginning of a further gzip member, or nothing: only zero bytes were left."""
        data = rest.lstrip(b"\0")
        while not data:
            read = self._read()
            if not read:
                break
            data = read.lstrip(b"\0")
        return data

    def _read(self) -> bytes:
        data = self._stream.read(READ_BYTES)
        self._hash.update(data)
        self._fed += len(data)
        if self._fed > self._limits.total_bytes:
            raise self._refused(f"more than {self._limits.total_bytes} bytes", f"at most {self._limits.total_bytes}")
        return data

    def _refused(self, found: str, allowed: str) -> RefusedArchiveError:
        return RefusedArchiveError(self._source, found, allowed, offset=self._fed, compressed=True)
