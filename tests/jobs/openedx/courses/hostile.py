"""Archives that nobody should send: each with what must become of it. All are made in memory, from headers written by hand."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from include.local.data.olx.archive import BLOCK, header, tar_parts

from .made import ROOT_FILE, RUN_FILE, archive_of, packed

REFUSED, TAKEN = "refused", "taken"
TARGETS = ("../../etc/passwd", "/etc/passwd", "course/course.xml", "..", "C:\\windows\\win.ini")
TRAVERSALS = (
    "../escape.xml", "course/../../escape.xml", "course/problem/../../../escape.xml", "..", "course/..", "course/problem/..", "./../escape.xml",
    "course/./../escape.xml", "course/problem/./a.xml", "course//a.xml", "course/problem//a.xml", ".//course/a.xml", "course/static/../../../../tmp/x",
    "..\\escape.xml", "course\\..\\..\\escape.xml", "course/..\\..\\escape.xml", "course/problem\\a.xml",
)  # fmt: skip
ABSOLUTES = (
    "/escape.xml",
    "//escape.xml",
    "/etc/passwd",
    "/course/problem/a.xml",
    "C:/escape.xml",
    "c:escape.xml",
    "C:\\escape.xml",
    "\\\\host\\share\\a.xml",
    "/proc/self/mem",
)
TRICKS = (
    "course/static/\u202egnp.exe", "course/static/a\u200bb.txt", "course/static/\ufeffa.txt", "course/static/a\u2028b.txt", "course/static/a\u2066b.txt",
    "course/static/a\x07b.txt", "course/static/a\x1b[31mb.txt", "course/static/a\nb.txt", "course/static/a\rb.txt", "course/static/a\x7fb.txt",
    "course/static/a\x00b.txt", "course/static/a\u0085b.txt", "course/static/a\u00adb.txt", "course/static/\uffff.txt", "course/static/\U000e0041.txt",
)  # fmt: skip


@dataclass(frozen=True)
class Hostile:
    """``outcome`` is ``REFUSED`` or ``TAKEN``; ``quarantined`` counts members of a taken one that must be in the quarantine."""

    name: str
    archive: bytes
    outcome: str = REFUSED
    quarantined: int = 0


def member(name: bytes, data: bytes = b"x", **fields: object) -> bytes:
    """A member without an extended header."""
    return header(name, fields.pop("size", len(data)), **fields) + data + bytes(-len(data) % BLOCK)  # type: ignore[arg-type]


def pax(data: bytes, kind: bytes = b"x") -> bytes:
    return member(b"././@PaxHeader", data, kind=kind)


def record(key: str, value: bytes) -> bytes:
    body = b" " + key.encode() + b"=" + value + b"\n"
    length = next(size for size in itertools.count(len(body)) if len(str(size)) + len(body) == size)
    return str(length).encode() + body


def _start() -> bytes:
    return b"".join([member(b"course/course.xml", ROOT_FILE), member(b"course/course/1T2026.xml", RUN_FILE)])


def _with(*parts: bytes) -> bytes:
    return packed(_start(), *parts)


def _ways(name: str) -> Iterator[tuple[str, bytes]]:
    """A member of this name, said in every way a tar can say it."""
    raw = name.encode("utf-8", "surrogateescape")
    if len(raw) <= 100:
        yield "plain", member(raw)
        yield "folder", member(raw, b"", kind=b"5")
        yield "folder with a slash", member(raw[:99].rstrip(b"/") + b"/", b"", kind=b"5")
        yield "old", member(raw, magic=b"\0" * 8)
    yield "pax", pax(record("path", raw)) + member(b"course/harmless.xml")
    yield "gnu", member(b"././@LongLink", raw + b"\0", kind=b"L") + member(b"course/harmless.xml")
    if "/" in name.strip("/"):
        folder, _, last = raw.rpartition(b"/")
        if last and folder and len(last) <= 100:
            yield "prefix", member(last, prefix=folder[:155])


def corpus() -> Iterator[Hostile]:
    """More than three hundred."""
    for group in (_names, _links_and_devices, _doubles, _sizes, _extended, _ends, _files, _many, _taken):
        yield from group()


def _names() -> Iterator[Hostile]:
    for family, names in (("traversal", TRAVERSALS), ("absolute", ABSOLUTES), ("unicode", TRICKS)):
        for name in names:
            for way, parts in _ways(name):
                if "\0" in name and way not in ("pax", "gnu"):  # a plain name ends there
                    continue
                yield Hostile(f"{family} {name!r} ({way})", _with(parts))
    for raw in (b"course/static/\xff.txt", b"course/static/\xc3\x28.txt", b"course/static/\xed\xa0\x80.txt", b"\x80", b"course/\xe2\x82"):
        yield Hostile(f"not UTF-8 {raw!r}", _with(member(raw)))
        yield Hostile(f"not UTF-8 {raw!r} (pax)", _with(pax(record("path", raw)), member(b"course/harmless")))
        yield Hostile(f"not UTF-8 {raw!r} (gnu)", _with(member(b"././@LongLink", raw + b"\0", kind=b"L"), member(b"course/harmless")))
    yield Hostile("empty name", _with(member(b"")))
    for size in (1_025, 10_240, 60_000):
        long = b"course/static/" + b"n" * (size - 18) + b".txt"
        yield Hostile(f"name of {size} bytes (pax)", _with(pax(record("path", long)), member(b"course/harmless")))
        yield Hostile(f"name of {size} bytes (gnu)", _with(member(b"././@LongLink", long + b"\0", kind=b"L"), member(b"course/harmless")))
        deep = b"course/" + b"d/" * (size // 2) + b"x"
        yield Hostile(f"{size // 2} folders deep", _with(pax(record("path", deep)), member(b"course/harmless")))
    yield Hostile("outside the folder", _with(member(b"other/a.xml", b"<a/>")))
    yield Hostile("beside the folder", _with(member(b"course.xml", b"<a/>")))
    yield Hostile("folder that begins alike", _with(member(b"course2/a.xml", b"<a/>")))


def _links_and_devices() -> Iterator[Hostile]:
    for target in TARGETS:
        for kind, what in ((b"1", "hard link"), (b"2", "symbolic link")):
            yield Hostile(f"{what} to {target}", _with(member(b"course/static/link", b"", kind=kind, link=target.encode())))
            yield Hostile(
                f"{what} to {target}, written through", _with(member(b"course/static", b"", kind=kind, link=target.encode()), member(b"course/static/a"))
            )
            yield Hostile(f"{what} to {target} (pax)", _with(pax(record("linkpath", target.encode())), member(b"course/link", b"", kind=kind)))
    for kind in (b"3", b"4", b"6", b"S", b"D", b"M", b"V", b"N", b"X", b"A", b"K", b"Z", b"8", b"9", b"\x01", b"\xff", b" ", b"!"):
        yield Hostile(f"type {kind!r}", _with(member(b"course/static/thing", b"", kind=kind)))


def _doubles() -> Iterator[Hostile]:
    twice = member(b"course/problem/a.xml", b"<problem/>")
    yield Hostile("the same member twice", _with(twice, twice))
    yield Hostile("the same name again, other content", _with(twice, member(b"course/problem/a.xml", b"<other/>")))
    yield Hostile("the same name again (pax)", _with(twice, pax(record("path", b"course/problem/a.xml")), member(b"course/b.xml", b"<b/>")))
    yield Hostile("the same name again (gnu)", _with(twice, member(b"././@LongLink", b"course/problem/a.xml\0", kind=b"L"), member(b"b", b"<b/>")))
    yield Hostile("the same name again (prefix)", _with(twice, member(b"a.xml", b"<b/>", prefix=b"course/problem")))
    yield Hostile("the same name again (./)", _with(twice, member(b"./course/problem/a.xml", b"<b/>")))
    yield Hostile("course.xml twice", _with(member(b"course/course.xml", ROOT_FILE)))
    yield Hostile("the run's file twice", _with(member(b"course/course/1T2026.xml", RUN_FILE)))
    yield Hostile("a file and a folder of one name", _with(member(b"course/static", b"x"), member(b"course/static/a.txt")))
    yield Hostile("a folder and a file of one name", _with(member(b"course/static/a/b.txt"), member(b"course/static/a", b"x")))
    yield Hostile("a file and a folder of one name but for case", _with(member(b"course/Static", b"x"), member(b"course/static/a.txt")))


def _sizes() -> Iterator[Hostile]:
    whole = member(b"course/static/a.bin", b"x" * 600)
    for size in (601 + 512, 1 << 20, 1 << 27, 8**11 - 1):
        yield Hostile(f"{size} bytes said, 600 there", _with(member(b"course/static/a.bin", b"x" * 600, size=size)))
    yield Hostile("fewer bytes said than there are", _with(member(b"course/static/a.bin", b"x" * 1600, size=10)))
    checksummed = {
        "an 8 in the size": b"00000000018\0", "a 9 in the size": b"00000000091\0", "letters in the size": b"0000000abcd\0", "a minus": b"-0000000012\0",
        "a plus": b"+0000000012\0", "an underscore": b"000000_0012\0", "0x": b"0x000000012\0", "digits after the end": b"0000012\0 999",
        "full-width digits": "٣٣".encode().ljust(12, b"\0"), "negative binary": b"\xff" * 12, "the longest binary": b"\x80" + b"\xff" * 11,
        "a binary size beyond the stream": b"\x80" + bytes(7) + b"\x01\x00\x00\x00", "no terminator": b"777777777777",
    }  # fmt: skip
    for what, field in checksummed.items():
        yield Hostile(f"size: {what}", _with(_resized(whole, field)))
    yield Hostile("size beyond the limit", _with(header(b"course/static/a.bin", 300 << 20)))
    yield Hostile("a folder with content", _with(member(b"course/static/", b"x" * 20, kind=b"5")))
    yield Hostile("an old folder with content", _with(member(b"course/static/", b"x" * 20)))
    for value in (b"-5", b"1e3", b"", b"9" * 30, b"0x10", b" 5", "٣".encode(), b"300000000"):
        yield Hostile(f"pax size {value!r}", _with(pax(record("size", value)), member(b"course/static/a.bin")))
    yield Hostile("pax size beyond the member", _with(pax(record("size", b"5000")), member(b"course/static/a.bin")))
    yield Hostile("checksum of another header", _with(whole[:148] + b"012345\0 " + whole[156:]))
    yield Hostile("checksum that is no number", _with(whole[:148] + b"zzzzzz\0 " + whole[156:]))
    yield Hostile("noise for a header", _with(bytes(range(256)) * 2))


def _resized(whole: bytes, field: bytes) -> bytes:
    changed = whole[:124] + field + whole[136:148] + b" " * 8 + whole[156:]
    return changed[:148] + b"%06o\0 " % sum(changed[:BLOCK]) + changed[156:]


def _extended() -> Iterator[Hostile]:
    last = member(b"course/static/a.txt")
    for what, data in {
        "no length": b"path=a\n", "length too long": b"99 path=a\n", "length too short": b"5 path=a\n", "length zero": b"0 path=a\n",
        "no line feed": b"8 path=a", "no equals sign": b"7 patha\n", "nothing": b"3 \n", "half": b"10 pa", "negative": b"-9 path=a\n",
        "a billion": b"1000000000 path=a\n", "zeros": bytes(20),
    }.items():  # fmt: skip
        yield Hostile(f"extended header: {what}", _with(pax(data), last))
    for key in ("GNU.sparse.map", "GNU.sparse.major", "GNU.sparse.name", "GNU.sparse.size", "GNU.sparse.realsize"):
        yield Hostile(f"sparse by {key}", _with(pax(record(key, b"0,1")), last))
        yield Hostile(f"sparse for all by {key}", _with(pax(record(key, b"0,1"), kind=b"g"), last))
    yield Hostile("a path for all members", _with(pax(record("path", b"course/all"), kind=b"g"), last))
    yield Hostile("a size for all members", _with(pax(record("size", b"7"), kind=b"g"), last))
    yield Hostile("an extended header of a megabyte", _with(pax(record("comment", b"c" * (1 << 20))), last))
    yield Hostile("a long name of a megabyte", _with(member(b"././@LongLink", b"n" * (1 << 20), kind=b"L"), last))
    yield Hostile("an extended header at the end", _with(pax(record("path", b"course/a"))))
    yield Hostile("five extended headers in a row", _with(*[pax(record("mtime", b"1.5"))] * 5, member(b"course/a")))


def _ends() -> Iterator[Hostile]:
    whole = b"".join(tar_parts("course", {"course.xml": ROOT_FILE, "course/1T2026.xml": RUN_FILE, "static/a.txt": b"x" * 700}))
    plain = whole.rstrip(b"\0")
    plain += bytes(-len(plain) % BLOCK)
    for what, data in {
        "no end": plain, "one zero block": plain + bytes(BLOCK), "one zero block and a member": plain + bytes(BLOCK) + member(b"course/b"),
        "half a zero block": plain + bytes(1000), "a member after the end": plain + bytes(1024) + member(b"course/b"), "text after the end": whole + b"text",
        "another archive after the end": whole + whole, "a byte after the end": whole + b"\x01", "cut in a header": plain + member(b"course/b")[:200],
        "cut in a member": plain + member(b"course/b", b"x" * 5000)[:2000], "nothing": b"", "a zero block": bytes(BLOCK), "only the end": bytes(10240),
        "only a header": whole[:BLOCK],
    }.items():  # fmt: skip
        yield Hostile(f"tar: {what}", gzip.compress(data, 1, mtime=0))
    good = gzip.compress(whole, 6, mtime=0)
    for what, data in {
        "empty": b"", "one byte": b"\x1f", "only the magic": b"\x1f\x8b", "only a header": good[:10], "not compressed": whole, "text": b"<Error/>",
        "no trailer": good[:-8], "half a trailer": good[:-4], "wrong checksum": good[:-8] + bytes(4) + good[-4:], "wrong length": good[:-4] + b"\1\2\3\4",
        "text after it": good + b"text", "half of another after it": good + good[:30], "another after it": good + good, "zlib": zlib.compress(whole),
        "bzip2": bz2.compress(whole), "zip": _zip(), "gzip in gzip": gzip.compress(good),
    }.items():  # fmt: skip
        yield Hostile(f"gzip: {what}", data)


def _zip() -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("course/course.xml", ROOT_FILE)
    return target.getvalue()


def _files() -> Iterator[Hostile]:
    for what, data in {
        "no XML": b"x", "cut": b"<course", "another root": ROOT_FILE.replace(b"<course", b"<library"), "another run": ROOT_FILE.replace(b"1T", b"3T"),
        "another organisation": ROOT_FILE.replace(b"MITxT", b"xPRO"), "no attributes": b"<course/>",
        "a document type": b"<!DOCTYPE course><course/>", "UTF-16": ROOT_FILE.decode().encode("utf-16"),
        "too long": b"<course>" + b" " * (5 << 20) + b"</course>",
    }.items():  # fmt: skip
        yield Hostile(f"course.xml: {what}", archive_of({"course.xml": data}))


def _many() -> Iterator[Hostile]:
    empty = header(b"course/static/000000", 0)
    numbered = [_numbered(empty, number) for number in range(200_000)]
    yield Hostile("100,000 empty members", packed(_start(), *numbered[:100_000]), TAKEN)
    yield Hostile("200,002 members", packed(_start(), *numbered))
    yield Hostile("200,001 folders", packed(*[header(b"course/static/", 0, kind=b"5")] * 200_001))


def _numbered(blank: bytes, number: int) -> bytes:
    changed = blank[:14] + b"%06d" % number + blank[20:148] + b" " * 8 + blank[156:]
    return changed[:148] + b"%06o\0 " % sum(changed) + changed[156:]


def _taken() -> Iterator[Hostile]:
    """Odd, and still a course's archive."""
    yield Hostile("names that differ by case", archive_of({"html/a.xml": b"<html/>", "html/A.xml": b"<html/>", "static/X": b"", "static/x": b""}), TAKEN, 2)
    yield Hostile("names that differ by Unicode form", archive_of({"static/\u00e9": b"1", "static/e\u0301": b"2", "static/E\u0301": b"3"}), TAKEN, 2)
    yield Hostile("sharp s and double s", archive_of({"static/straße": b"1", "static/STRASSE": b"2"}), TAKEN, 1)
    yield Hostile("a name of 1,024 bytes", _with(pax(record("path", b"course/static/" + b"n" * 1010)), member(b"course/x")), TAKEN)
    yield Hostile(
        "names in many scripts",
        archive_of({f"static/{name}": b"x" for name in ("日本語.txt", "файл.txt", "ملف.txt", "می‌خواهم.txt", "👩‍🔬.png", "naïve")}),
        TAKEN,
    )
    yield Hostile(
        "hidden files",
        archive_of({"static/.htaccess": b"x", ".DS_Store": b"x", "static/...": b"x", "static/a b&c;d|e$(f)`g`": b"x", "static/-rf": b"x"}),
        TAKEN,
    )
    yield Hostile("two gzip members", gzip.compress(_start(), mtime=0) + gzip.compress(bytes(1024), mtime=0), TAKEN)
    yield Hostile("zero bytes after gzip", packed(_start()) + bytes(100_000), TAKEN)
    yield Hostile("a comment for all", packed(pax(record("comment", b"x"), kind=b"g"), _start()), TAKEN)
    gnu = member(b"course/course.xml", ROOT_FILE, magic=b"ustar  \0", prefix=b"\x0012345670123")  # times stand where POSIX has the prefix
    yield Hostile("GNU format", packed(gnu), TAKEN)
    yield Hostile("a leading ./", packed(member(b"./", b"", kind=b"5"), member(b"./course/", b"", kind=b"5"), member(b"./course/course.xml", ROOT_FILE)), TAKEN)
    nested = b"x"
    for _ in range(10):
        nested = archive_of({"static/inner.tar.gz": nested})
    yield Hostile("archives ten deep", nested, TAKEN)
    yield Hostile("a bomb as a static file", archive_of({"static/bomb.gz": gzip.compress(bytes(50 << 20), 1), "static/bomb.zip": _zip()}), TAKEN)
