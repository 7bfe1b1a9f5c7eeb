"""The files of a course that are no blocks: one tar.gz of them, written while the archive passes by, and the manifest."""

from __future__ import annotations

import hashlib
import mimetypes
import struct
import tarfile
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import IO, Any

import msgspec
from isal import isal_zlib

from include.jobs.openedx.courses.rows import StaticFile

BLOCK = 512
BATCH_BYTES, BATCH_FILES = 1 << 20, 1_000
LEVEL = 1  # ISA-L's 1 is within 2 % of zlib's 6 on course files and 10 times as fast
_TYPES = mimetypes.MimeTypes()  # Python's own table: that of the machine would change the manifest from one machine to the next
for _ending, _type in ((".srt", "application/x-subrip"), (".sjson", "application/json"), (".vtt", "text/vtt"), (".md", "text/markdown")):
    _TYPES.add_type(_type, _ending)
_HEADER = struct.Struct("100s8s8s8s12s12s8s1s100x8s247x")  # name, mode, owner, group, size, time, checksum, type, magic
_UNKNOWN = "application/octet-stream"


class StaticTar:
    """Writes files into a tar.gz as they come; the same files in the same order give the same bytes.

    ``target`` is where the compressed bytes go. Files are read-only, of nobody and without a time, since none of that is content. Hashing and
    compressing are done in a thread, a batch at a time: they need no interpreter lock.
    """

    def __init__(self, target: IO[bytes]) -> None:
        self._target = target
        self._gzip = isal_zlib.compressobj(LEVEL, isal_zlib.DEFLATED, 31)
        self._worker = ThreadPoolExecutor(1)
        self._working: Future[None] | None = None
        self._waiting: list[tuple[str, int] | bytes] = []  # a file's path and size, then its content
        self._size = 0
        self._open: tuple[str, int, Any] | None = None  # the file that the worker is at, and the hash of its content so far
        self.files: list[StaticFile] = []

    def add(self, path: str, size: int, pieces: Iterable[bytes]) -> None:
        """One file of ``size`` bytes. ``files`` knows it when the archive is closed."""
        self._waiting.append((path, size))
        for piece in pieces:
            self._waiting.append(piece)
            self._size += len(piece)
            if self._size >= BATCH_BYTES:
                self._hand_over()
        if len(self._waiting) >= BATCH_FILES:
            self._hand_over()

    def close(self) -> None:
        """Ends the archive."""
        self._hand_over()
        self._worker.shutdown()
        self._done()
        self._target.write(self._gzip.compress(self._finished() + bytes(2 * BLOCK)))
        self._target.write(self._gzip.flush())

    def release(self) -> None:
        """Ends the thread; for archives that are not finished."""
        self._worker.shutdown(cancel_futures=True)

    def _hand_over(self) -> None:
        self._done()
        self._working = self._worker.submit(self._put, self._waiting)
        self._waiting, self._size = [], 0

    def _done(self) -> None:
        """Waits for the batch before."""
        if self._working:
            self._working.result()

    def _put(self, batch: list[tuple[str, int] | bytes]) -> None:
        parts: list[bytes] = []
        for item in batch:
            if isinstance(item, bytes):
                parts.append(item)
                if self._open:
                    self._open[2].update(item)
            else:
                parts += (self._finished(), _header(*item))
                self._open = (*item, hashlib.sha256())
        self._target.write(self._gzip.compress(b"".join(parts)))

    def _finished(self) -> bytes:
        """Notes the file that ends here; what fills its last block."""
        if not self._open:
            return b""
        path, size, digest = self._open
        self._open = None
        self.files.append(StaticFile(path, mime_type(path), size, digest.hexdigest()))
        return bytes(-size % BLOCK)


def data_version(files: Iterable[StaticFile]) -> str:
    """SHA-256 over path and content of all files, whatever their order: it changes when a file changes, comes, goes or is renamed."""
    digest = hashlib.sha256()
    for file in sorted(files, key=lambda one: one.path):
        digest.update(f"{file.sha256} {len(file.path.encode())} {file.path}\n".encode())
    return digest.hexdigest()


def manifest(files: Iterable[StaticFile], version: str) -> dict[str, Any]:
    """The manifest's content: version, number of files, and each file with its size in bytes and hash, by path."""
    listed = sorted(files, key=lambda one: one.path)
    return {"data_version": version, "file_count": len(listed), "files": [msgspec.structs.asdict(file) for file in listed]}


def mime_type(path: str) -> str:
    """By the name's ending, as far as Python and we know it."""
    name = path.rpartition("/")[2]
    dot = name.rfind(".")
    return _by_ending(name[dot:].lower()) if dot > 0 else _UNKNOWN


@cache
def _by_ending(ending: str) -> str:
    known, encoding = _TYPES.guess_type(f"x{ending}")
    return known or {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}.get(encoding or "", _UNKNOWN)


def _header(path: str, size: int) -> bytes:
    name = path.encode()
    if len(name) > 100 or not path.isascii():
        info = tarfile.TarInfo(path)
        info.size = size
        return info.tobuf(tarfile.PAX_FORMAT)
    # byte for byte what tarfile makes, at a tenth of its cost; the sum of such a header is below Adler-32's prime, so its lower half is the sum + 1
    header = _HEADER.pack(name, b"0000644", b"0000000", b"0000000", b"%011o" % size, b"0" * 11, b" " * 8, b"0", b"ustar\x0000")
    total = (isal_zlib.adler32(header) & 0xFFFF) - 1
    return header[:148] + b"%06o\0 " % total + header[156:]
