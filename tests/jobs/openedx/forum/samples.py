"""Documents with every type of BSON, and dumps made of documents."""

from __future__ import annotations

import gzip
import json
import random
import struct
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import bson
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.json_util import CANONICAL_JSON_OPTIONS, JSONOptions, dumps

OPTIONS: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO)
CANONICAL = JSONOptions(json_mode=CANONICAL_JSON_OPTIONS.json_mode, tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO, uuid_representation=0)
OID = ObjectId("5f0c1e2d3a4b5c6d7e8f9a0b")


def element(kind: int, name: bytes, payload: bytes) -> bytes:
    return bytes([kind]) + name + b"\0" + payload


def document(*elements: bytes) -> bytes:
    body = b"".join(elements) + b"\0"
    return struct.pack("<i", len(body) + 4) + body


def string(text: bytes) -> bytes:
    return struct.pack("<i", len(text) + 1) + text + b"\0"


ID = element(0x07, b"_id", OID.binary)

# name, what stands after the field's name, its type, and its canonical extended JSON as MongoDB's specification writes it
TYPES: dict[str, tuple[int, bytes, str]] = {
    "double": (0x01, struct.pack("<d", 1.5), '{"$numberDouble":"1.5"}'),
    "whole double": (0x01, struct.pack("<d", 1.0), '{"$numberDouble":"1.0"}'),
    "negative zero": (0x01, struct.pack("<d", -0.0), '{"$numberDouble":"-0.0"}'),
    "nan": (0x01, struct.pack("<d", float("nan")), '{"$numberDouble":"NaN"}'),
    "infinity": (0x01, struct.pack("<d", float("-inf")), '{"$numberDouble":"-Infinity"}'),
    "string": (0x02, string("é\"\\\n\t\x01\u2028😀\0x".encode()), '"é\\"\\\\\\n\\t\\u0001\u2028😀\\u0000x"'),
    "empty string": (0x02, string(b""), '""'),
    "document": (0x03, document(element(0x10, b"b", struct.pack("<i", 1)), element(0x02, b"a", string(b"x"))), '{"b":{"$numberInt":"1"},"a":"x"}'),
    "empty document": (0x03, document(), "{}"),
    "array": (0x04, document(element(0x08, b"0", b"\1"), element(0x0A, b"1", b""), element(0x02, b"2", string(b"x"))), '[true,null,"x"]'),
    "empty array": (0x04, document(), "[]"),
    "strings": (0x04, document(element(0x02, b"0", string(b"x")), element(0x02, b"1", string(b"y"))), '["x","y"]'),
    "documents": (0x04, document(element(0x03, b"0", document(element(0x10, b"n", struct.pack("<i", 3))))), '[{"n":{"$numberInt":"3"}}]'),
    "binary": (0x05, struct.pack("<iB", 3, 0) + b"\0\xff7", '{"$binary":{"base64":"AP83","subType":"00"}}'),
    "function": (0x05, struct.pack("<iB", 1, 1) + b"x", '{"$binary":{"base64":"eA==","subType":"01"}}'),
    "old binary": (0x05, struct.pack("<iBi", 6, 2, 2) + b"\xff\xff", '{"$binary":{"base64":"//8=","subType":"02"}}'),
    "old uuid": (0x05, struct.pack("<iB", 16, 3) + bytes(16), '{"$binary":{"base64":"AAAAAAAAAAAAAAAAAAAAAA==","subType":"03"}}'),
    "uuid": (0x05, struct.pack("<iB", 16, 4) + bytes(range(16)), '{"$binary":{"base64":"AAECAwQFBgcICQoLDA0ODw==","subType":"04"}}'),
    "short uuid": (0x05, struct.pack("<iB", 2, 4) + b"ab", '{"$binary":{"base64":"YWI=","subType":"04"}}'),
    "user binary": (0x05, struct.pack("<iB", 0, 0x80), '{"$binary":{"base64":"","subType":"80"}}'),
    "undefined": (0x06, b"", '{"$undefined":true}'),
    "object id": (0x07, OID.binary, '{"$oid":"5f0c1e2d3a4b5c6d7e8f9a0b"}'),
    "false": (0x08, b"\0", "false"),
    "true": (0x08, b"\1", "true"),
    "date": (0x09, struct.pack("<q", 1_577_836_800_123), '{"$date":{"$numberLong":"1577836800123"}}'),
    "date before 1970": (0x09, struct.pack("<q", -1), '{"$date":{"$numberLong":"-1"}}'),
    "date after 9999": (0x09, struct.pack("<q", 253_402_300_800_000), '{"$date":{"$numberLong":"253402300800000"}}'),
    "least date": (0x09, struct.pack("<q", -(1 << 63)), '{"$date":{"$numberLong":"-9223372036854775808"}}'),
    "null": (0x0A, b"", "null"),
    "regex": (0x0B, b'a"b\0ix\0', '{"$regularExpression":{"pattern":"a\\"b","options":"ix"}}'),
    "dbpointer": (0x0C, string(b"db.c") + OID.binary, '{"$dbPointer":{"$ref":"db.c","$id":{"$oid":"5f0c1e2d3a4b5c6d7e8f9a0b"}}}'),
    "code": (0x0D, string(b"f()"), '{"$code":"f()"}'),
    "symbol": (0x0E, string(b"sym"), '{"$symbol":"sym"}'),
    "code with scope": (0x0F, struct.pack("<i", 21) + string(b"f()") + document(element(0x08, b"a", b"\1")), '{"$code":"f()","$scope":{"a":true}}'),
    "int32": (0x10, struct.pack("<i", -(1 << 31)), '{"$numberInt":"-2147483648"}'),
    "timestamp": (0x11, struct.pack("<II", 4_294_967_295, 123), '{"$timestamp":{"t":123,"i":4294967295}}'),
    "int64": (0x12, struct.pack("<q", 7), '{"$numberLong":"7"}'),
    "least int64": (0x12, struct.pack("<q", -(1 << 63)), '{"$numberLong":"-9223372036854775808"}'),
    "decimal128": (0x13, Decimal128("1.50").bid, '{"$numberDecimal":"1.50"}'),
    "large decimal128": (0x13, Decimal128("-1.25E+400").bid, '{"$numberDecimal":"-1.25E+400"}'),
    "minkey": (0xFF, b"", '{"$minKey":1}'),
    "maxkey": (0x7F, b"", '{"$maxKey":1}'),
}  # fmt: skip


def line_of(raw: bytes) -> str:
    """A document's canonical extended JSON as PyMongo writes it."""
    return dumps(bson.decode(raw, OPTIONS), json_options=CANONICAL, separators=(",", ":"), ensure_ascii=False)


def any_value(rng: random.Random, depth: int = 0) -> Any:
    """A value of a type that PyMongo's objects tell apart."""
    makers = [
        lambda: rng.choice(["", "x", "a longer text, with é and 😀", 'quotes " and \\', "line\nfeed\ttab\r\x00\x1f", "y" * rng.randrange(400)]),
        lambda: rng.randrange(-(1 << 31), 1 << 31),
        lambda: Int64(rng.randrange(-(1 << 63), 1 << 63)),
        lambda: rng.choice([0.0, -0.0, 1.5, 1e300, float("inf"), -1e-9, rng.random()]),
        lambda: rng.random() < 0.5,
        lambda: None,
        lambda: ObjectId(rng.randbytes(12)),
        lambda: datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=rng.randrange(1 << 40)),
        lambda: DatetimeMS(rng.choice([1 << 60, -(1 << 60)])),
        lambda: Binary(rng.randbytes(rng.randrange(30)), rng.choice([0, 5, 128])),
        lambda: Binary.from_uuid(UUID(bytes=rng.randbytes(16))),
        lambda: Regex("^a.*", "im"),
        lambda: Code("function() {}", rng.choice([None, {"a": 1}])),
        lambda: Timestamp(rng.randrange(1 << 32), rng.randrange(1 << 32)),
        lambda: Decimal128(str(rng.randrange(10**9)) + "." + str(rng.randrange(1000))),
        MinKey,
        MaxKey,
        lambda: [rng.choice(["5", "17"]) for _ in range(rng.randrange(4))],
        lambda: [any_value(rng, depth + 1) for _ in range(rng.randrange(4))],
        lambda: {rng.choice(NAMES): any_value(rng, depth + 1) for _ in range(rng.randrange(4))},
    ]
    return rng.choice(makers[: -2 if depth > 4 else None])()


NAMES = ("body", "votes", "up_count", "lastModified", "a.b", "$ref", "course-v1:MITx+6.00x+1T2026", "5f0c1e2d3a4b5c6d7e8f9a0b", "", "document_rest", "x")


def ragged(seed: int, count: int) -> list[bytes]:
    """Documents of which hardly two are alike."""
    rng = random.Random(seed)
    return [bson.encode({"_id": ObjectId(rng.randbytes(12)), **{name: any_value(rng) for name in rng.sample(NAMES, rng.randrange(8))}}) for _ in range(count)]


def write_dump(prefix: Path, collections: Mapping[str, Iterable[bytes]], *, database: str = "forum", gzipped: bool = False) -> Path:
    """A dump as mongodump writes it."""
    folder = prefix / database
    folder.mkdir(parents=True, exist_ok=True)
    for name, documents in collections.items():
        data, metadata = b"".join(documents), json.dumps({"options": {}, "indexes": [], "collectionName": name, "type": "collection"}).encode()
        suffix = ".gz" if gzipped else ""
        (folder / f"{name}.bson{suffix}").write_bytes(gzip.compress(data, 6) if gzipped else data)
        (folder / f"{name}.metadata.json{suffix}").write_bytes(gzip.compress(metadata) if gzipped else metadata)
    return prefix
