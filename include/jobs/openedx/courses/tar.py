"""Reads the members of a tar.gz as a stream: nothing is extracted, and nothing is believed that another reader could see differently.

The standard library's ``tarfile`` in stream mode gives the same members at about ten times the cost a member (30 µs), skips headers that it cannot
read, takes links, and knows no limits. Known here are POSIX (pax) and GNU archives with directories and regular files; everything else is refused.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from isal import isal_zlib

from include.jobs.openedx.courses.ahead import ahead
from include.jobs.openedx.courses.inflate import Inflater
from include.jobs.openedx.courses.names import folded, is_plain, problem_of
from include.jobs.openedx.courses.refusals import Limits, RefusedArchiveError, shown

BLOCK = 512
AHEAD = 4  # pieces of a megabyte
MOST_SEEN = 20
LONGEST_RECORDS = 64 << 10  # beside a name
MOST_EXTENDED = 4  # one for the archive, a pax one, and GNU's two
# name, size, checksum, type, magic, prefix
_HEADER = struct.Struct("100s24x12s12x8sc100x8s80x155s12x")
_POSIX = b"ustar\x0000"
_ADLER = 65521
_ONLY_TIMES = re.compile(rb"(?:\d\d [amc]time=\d+(?:\.\d+)?\n)+")  # what Studio's exports carry before every member
_PAX_RECORD = re.compile(rb"(\d{1,8}) ([^=\n]+)=")
_DECIMAL = re.compile(r"[0-9]{1,20}")
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*")
_FILE, _DIRECTORY, _PAX, _PAX_GLOBAL, _GNU_NAME = b"0", b"5", b"x", b"g", b"L"
_KINDS = {_FILE: _FILE, b"\0": _FILE, b"7": _FILE, _DIRECTORY: _DIRECTORY, _PAX: _PAX, _PAX_GLOBAL: _PAX_GLOBAL, _GNU_NAME: _GNU_NAME}
_EXTENDED = (_PAX, _PAX_GLOBAL, _GNU_NAME)
_REFUSED_TYPES = {
    b"1": "a hard link", b"2": "a symbolic link", b"3": "a character device", b"4": "a block device", b"6": "a named pipe",
    b"S": "a sparse file", b"K": "a link's long name", b"D": "a directory dump", b"M": "a part of a file from another volume", b"V": "a volume label",
}  # fmt: skip
ALLOWED_TYPES = "directories and regular files"
WHOLE = "a whole tar archive, ended by two zero blocks"


class Member(NamedTuple):
    """A regular file: its path (relative, with single slashes), its size in bytes, and where its first header begins in the tar stream.

    ``clash`` is the path of an earlier member that differs in letter case or Unicode form alone; empty when there is none.
    """

    name: str
    size: int
    offset: int
    clash: str = ""


class ArchiveReader:
    """Gives the regular files of a tar.gz, in order.

    For each the caller takes the content by :meth:`whole` or :meth:`pieces`, or leaves it. ``sha256`` is the file's and is right once
    :meth:`members` has ended, which is when the archive is known to be whole. ``depth`` is 1 for an archive that is in no other one.
    Raises :class:`RefusedArchiveError`.
    """

    def __init__(self, stream: BinaryIO, source: str, limits: Limits | None = None, depth: int = 1) -> None:
        self._source, self._limits = source, limits or Limits()
        self._inflater = Inflater(stream, source, self._limits)
        self._pieces = ahead(self._inflater.pieces(), AHEAD)
        self._piece = b""
        self._at = 0  # in the piece
        self._behind = 0  # bytes of the stream before the piece
        self._left = self._padding = 0
        self._count = 0
        self._longest = self._limits.name_bytes + LONGEST_RECORDS
        self._seen: dict[bytes, tuple[bytes, str, int]] = {}  # extended headers, which are the same before most members
        if depth > self._limits.depth:
            raise self._refused(f"an archive inside {depth - 1} others", f"at most {self._limits.depth} levels", 0)

    @property
    def sha256(self) -> str:
        """Hex digest of the archive's file."""
        return self._inflater.sha256

    @property
    def inflated(self) -> int:
        """Bytes of the tar stream so far."""
        return self._inflater.inflated

    def members(self) -> Iterator[Member]:
        """The regular files. What the caller left of one is skipped before the next is given."""
        seen: dict[str, Member] = {}
        limits = self._limits
        while entry := self._next():
            kind, path, size, offset = entry
            if not is_plain(path, limits.name_bytes):
                path = self._checked(path, offset)
            if kind == _DIRECTORY:
                if size:
                    raise self._refused(f"a directory of {size} bytes", "directories without content", offset, path)
                continue
            member = Member(path, size, offset)
            first = seen.setdefault(folded(path), member)
            if first is not member:
                if first.name == path:
                    raise self._refused(f"a second member of this name, the first at byte {first.offset}", "each name once", offset, path)
                member = member._replace(clash=first.name)
            if size > limits.member_bytes:
                raise self._refused(f"{size} bytes", f"at most {limits.member_bytes} a member", offset, path)
            self._left, self._padding = size, -size % BLOCK
            yield member
        self._check_folders(seen)

    def _checked(self, path: str, offset: int) -> str:
        if problem := problem_of(path, self._limits.name_bytes):
            raise self._refused(*problem, offset, shown(path))
        return path.removeprefix("./")

    def _next(self) -> tuple[bytes, str, int, int] | None:
        """Type, name, size and offset of the next file or directory; nothing when the archive has ended well."""
        self._skip_rest()
        offset = self._behind + self._at
        self._count += 1
        if self._count > self._limits.members:
            raise self._refused(f"more than {self._limits.members} members", f"at most {self._limits.members}", offset)
        name, size = "", -1  # what extended headers say about the member; -1: nothing
        self._skip_times()
        extended = 0
        while extended <= MOST_EXTENDED:
            header = self._take(BLOCK, offset)
            if header[0] == 0 and not header.strip(b"\0"):
                self._end(offset, extended > 0 or offset != self._behind + self._at - BLOCK)
                return None
            kind, own_name, own_size = self._header(header, offset)
            if kind not in _EXTENDED:
                return kind, name or own_name, own_size if size < 0 else size, offset
            name, size = self._extended(kind, own_size, offset, (name, size))
            extended += 1
        raise self._refused("one extended header after the other", f"at most {MOST_EXTENDED} before a member", offset)

    def _skip_times(self) -> None:
        """Passes over an extended header that says nothing but times, if it is one that was seen before: Studio's exports have one before each member."""
        end = self._at + 2 * BLOCK
        if end <= len(self._piece):
            kind, _, size = self._seen.get(self._piece[self._at : self._at + BLOCK], (b"", "", 0))
            if kind == _PAX and size <= BLOCK and _ONLY_TIMES.fullmatch(self._piece, end - BLOCK, end - BLOCK + size):
                self._at = end

    def _check_folders(self, seen: dict[str, Member]) -> None:
        """No file may stand where other members have a folder: an archive like that can be unpacked nowhere."""
        for folder in {form.rpartition("/")[0] for form in seen}:
            parent = folder
            while parent:
                if file := seen.get(parent):
                    raise self._refused("a file where other members have a folder", "files beside folders", file.offset, file.name)
                parent = parent.rpartition("/")[0]

    def close(self) -> None:
        """Stops reading; for archives that are not read to their end."""
        self._pieces.close()

    def whole(self) -> bytes:
        """The content of the present member."""
        data = self._take(self._left, self._behind + self._at)
        self._left = 0
        return data

    def pieces(self) -> Iterator[bytes]:
        """The content of the present member, in pieces of at most some megabytes."""
        while self._left:
            data = self._some(self._left, self._behind + self._at)
            self._left -= len(data)
            yield data

    def _header(self, header: bytes, offset: int) -> tuple[bytes, str, int]:
        """Type, name and size. The checksum is the sum of the header's bytes, its own field taken as blanks."""
        raw_name, raw_size, raw_checksum, raw_kind, magic, prefix = _HEADER.unpack(header)
        # Adler-32's lower half is 1 + the sum, modulo a prime; the stored sum is compared modulo the same prime, at a tenth of sum()'s cost
        total = (isal_zlib.adler32(header) & 0xFFFF) + 255 - sum(raw_checksum)
        checksum = self._number(raw_checksum[:7] if raw_checksum[6:] == b"\0 " else raw_checksum, offset)
        if (total - checksum) % _ADLER:
            raise self._refused("a damaged header (its checksum differs)", "tar headers", offset)
        size = self._number(raw_size, offset)
        kind = _KINDS.get(raw_kind)
        if kind in _EXTENDED:
            if len(self._seen) < MOST_SEEN:
                self._seen[header] = raw_kind, "", size
            return raw_kind, "", size
        try:
            name = raw_name.split(b"\0", 1)[0].decode()
            if prefix[0] and magic == _POSIX:
                name = f"{prefix.split(bytes(1), 1)[0].decode()}/{name}"
        except UnicodeDecodeError as error:
            raise self._refused(f"a name that is not UTF-8: {shown(raw_name.rstrip(bytes(1)))}", "names in UTF-8", offset) from error
        if not kind:
            raise self._refused(_REFUSED_TYPES.get(raw_kind, f"a member of type {shown(raw_kind)}"), ALLOWED_TYPES, offset, shown(name))
        if kind == _FILE and name[-1:] == "/":  # as archives before POSIX name directories
            kind = _DIRECTORY
        return kind, name, size

    def _number(self, field: bytes, offset: int) -> int:
        """An octal number, or GNU's binary form. Raises for anything else and for negative numbers."""
        digits = field[:-1]
        if digits.isdigit() and field[-1] in (0, 0x20):
            try:
                return int(digits, 8)
            except ValueError:  # 8 or 9
                pass
        elif field[0] == 0x80:
            return int.from_bytes(field[1:], "big")
        elif match := _OCTAL.fullmatch(field):
            return int(match[1] or b"0", 8)
        raise self._refused(f"the number {shown(field)} in a header", "octal digits", offset)

    def _extended(self, kind: bytes, size: int, offset: int, known: tuple[str, int]) -> tuple[str, int]:
        """Name and size that the next member gets from this header, as far as known; an empty name and -1 say that its own ones are right."""
        if size > self._longest:
            raise self._refused(f"an extended header of {size} bytes", f"at most {self._longest}", offset)
        data = self._take(size + -size % BLOCK, offset)
        if kind == _PAX and _ONLY_TIMES.fullmatch(data, 0, size):
            return known
        data = data[:size]
        try:
            if kind == _GNU_NAME:
                return data.rstrip(b"\0").decode(), known[1]
            records = self._records(data, offset)
            if kind == _PAX_GLOBAL:
                records = {key: value for key, value in records.items() if key in ("path", "size") or key.startswith("GNU.sparse")}
                if records:
                    raise self._refused(f"{', '.join(records)} for all members", "a name and a size of each member's own", offset)
                return known
            return records.get("path", known[0]), self._pax_size(records, known[1], offset)
        except UnicodeDecodeError as error:
            raise self._refused(f"an extended header that is not UTF-8: {shown(data)}", "UTF-8", offset) from error

    def _records(self, data: bytes, offset: int) -> dict[str, str]:
        """Records of the form ``<length> <key>=<value>\\n``, the length counting all of it."""
        found: dict[str, str] = {}
        at = 0
        while at < len(data):
            match = _PAX_RECORD.match(data, at)
            end = at + int(match[1]) if match else 0
            if not match or not match.end() < end <= len(data) or data[end - 1] != 0x0A:
                raise self._refused(f"the record {shown(data[at : at + 80])} in an extended header", "<length> <key>=<value> and a line feed", offset)
            found[match[2].decode()] = data[match.end() : end - 1].decode()
            at = end
        if any(key.startswith("GNU.sparse") for key in found):
            raise self._refused("a sparse file", ALLOWED_TYPES, offset)
        return found

    def _pax_size(self, records: dict[str, str], known: int, offset: int) -> int:
        if "size" not in records:
            return known
        if not _DECIMAL.fullmatch(records["size"]):
            raise self._refused(f"the size {shown(records['size'])}", "decimal digits", offset)
        return int(records["size"])

    def _skip_rest(self) -> None:
        left = self._left + self._padding
        self._left = self._padding = 0
        if self._at + left <= len(self._piece):
            self._at += left
            return
        while left:
            left -= len(self._some(left, self._behind + self._at))

    def _take(self, size: int, offset: int) -> bytes:
        """The next ``size`` bytes. Raises when the stream ends before."""
        begin = self._at
        end = begin + size
        if end <= len(self._piece):
            self._at = end
            return self._piece[begin:end]
        parts = []
        while size:
            parts.append(self._some(size, offset))
            size -= len(parts[-1])
        return b"".join(parts)

    def _some(self, most: int, offset: int) -> bytes:
        """At least one and at most ``most`` of the next bytes."""
        if self._at == len(self._piece):
            self._behind += len(self._piece)
            self._at = 0
            self._piece = next(self._pieces, b"")
            if not self._piece:
                raise self._refused("the end of the stream inside a member or before the end of the archive", WHOLE, offset)
        begin = self._at
        self._at = min(begin + most, len(self._piece))
        return self._piece[begin : self._at]

    def _end(self, offset: int, extended: bool) -> None:
        """After the first zero block: a second one, and then nothing but zero bytes up to the end of the file, which proves its checksums."""
        if extended:
            raise self._refused("the end of the archive after an extended header", WHOLE, offset)
        rest = self._take(BLOCK, offset) + self._piece[self._at :]
        for piece in itertools.chain((rest,), self._pieces):
            if piece.strip(b"\0"):
                raise self._refused("data after the end of the archive", WHOLE, offset)

    def _refused(self, found: str, allowed: str, offset: int, member: str = "") -> RefusedArchiveError:
        return RefusedArchiveError(self._source, found, allowed, offset=offset, member=member)
