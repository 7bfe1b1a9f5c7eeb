"""Every type of BSON as a line and as columns; the quick way and the slow way agree with each other and with PyMongo."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Sequence
from typing import Any

import bson
import numpy as np
import pyarrow as pa
import pytest
from bson.json_util import loads

from include.jobs.openedx.forum import elements as e
from include.jobs.openedx.forum import kinds as k
from include.jobs.openedx.forum.chunks import Converted, convert
from include.jobs.openedx.forum.columns import flatten
from include.jobs.openedx.forum.names import DOCUMENT_KEY, REST, column_name, names_a_field
from include.jobs.openedx.forum.schema import Column, arrange, choose_columns, counts_of
from tests.jobs.openedx.forum.samples import CANONICAL, ID, OID, OPTIONS, TYPES, document, element, line_of, ragged, string

UNTOLD_BY_PYMONGO = {"undefined", "symbol", "dbpointer"}  # its objects do not tell them from null, text and DBRef


def converted(documents: Sequence[bytes]) -> Converted:
    return convert(b"".join(documents), np.cumsum([0, *map(len, documents)]))


def lines(documents: Sequence[bytes]) -> list[str]:
    return converted(documents).lines.decode().splitlines(keepends=False) if documents else []


def arranged(documents: Sequence[bytes]) -> tuple[tuple[Column, ...], list[dict[str, Any]]]:
    """Columns and rows as they go to Parquet."""
    tables = converted(documents).tables
    counts = sum((counts_of(table) for table in tables), start=counts_of(tables[0].slice(0, 0)))
    columns = choose_columns(counts)
    rows = [row for table in tables for row in pa.table(arrange(table, columns)).cast(_plain(arrange(table, columns).schema)).to_pylist()]
    return columns, rows


def _plain(schema: pa.Schema) -> pa.Schema:
    """Times as numbers of microseconds: Python's dates end too early for some tests."""
    moments = {k.TYPES[k.DATE]: pa.int64(), k.arrow_type(k.LIST + k.DATE): pa.list_(pa.int64())}
    return pa.schema([field.with_type(moments.get(field.type, field.type)) for field in schema])


@pytest.mark.parametrize("name", TYPES)
def test_every_type_becomes_its_canonical_text(name: str) -> None:
    kind, payload, text = TYPES[name]
    raw = document(ID, element(kind, b"v", payload))
    expected = f'{{"_id":{{"$oid":"{OID}"}},"v":{text}}}'
    assert e.document_text(e.parse(raw)) == expected
    assert converted([raw]).lines.decode() == expected + "\n"
    assert json.loads(expected)["v"] is not ...
    if name not in UNTOLD_BY_PYMONGO:
        assert line_of(raw) == expected
        assert bson.encode(loads(expected, json_options=CANONICAL)) == raw, "the line gives back the very bytes"


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("form", ["field", "nested", "item"])
def test_every_type_comes_back_from_columns(name: str, form: str) -> None:
    kind, payload, text = TYPES[name]
    value = element(kind, b"v", payload)
    raw = document(ID, {"field": value, "nested": element(3, b"a", document(value)), "item": element(4, b"v", document(value))}[form])
    columns, rows = arranged([raw])
    expected = {"field": text, "nested": text, "item": f"[{text}]"}[form]
    path = ("a", "v") if form == "nested" else ("v",)
    if text == "null" and form != "item":
        assert all(column.path != path for column in columns)
        return
    if name == "empty document" and form != "item":
        assert Column(path, k.EJSON) in columns
    column = next(column for column in columns if column.path[: len(path)] == path)
    found = rebuilt(columns, rows[0])
    for part in path:
        found = found[part]
    assert found == widened(json.loads(expected)), (column, rows[0])
    assert rows[0][REST] is None


def rebuilt(columns: tuple[Column, ...], row: dict[str, Any]) -> dict[str, Any]:
    """The document that a row's columns and rest say, as canonical extended JSON."""
    found: dict[str, Any] = json.loads(row[REST]) if row[REST] else {}
    for column in columns:
        value = row[column.name]
        if value is not None:
            place = found
            for name in column.path[:-1]:
                place = place.setdefault(name, {})
            assert column.path[-1] not in place, "a value in its column and in the rest"
            place[column.path[-1]] = widened(k.to_json(column.kind, value))
    return widened(found)


def widened(value: Any) -> Any:
    """Without what columns do not tell: the width of whole numbers, whole numbers among doubles, nulls of fields (not of items)."""
    if isinstance(value, dict):
        if len(value) == 1 and value.keys() <= {"$numberInt", "$numberLong", "$numberDouble"}:
            (name, text), *_ = value.items()
            whole = name != "$numberDouble" or (text.endswith(".0") and text != "-0.0" and abs(float(text)) < 1 << 31)
            return {"number": int(float(text)) if name == "$numberDouble" and whole else int(text) if whole else text}
        return {name: widened(item) for name, item in value.items() if item is not None}
    return [widened(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("seed", range(12))
def test_ragged_documents_lose_nothing(seed: int) -> None:
    documents = ragged(seed, 150)
    assert lines(documents) == [line_of(raw) for raw in documents]
    assert [bson.encode(loads(line, json_options=CANONICAL), codec_options=OPTIONS) for line in lines(documents)] == documents
    columns, rows = arranged(documents)
    assert len({column.name for column in columns}) == len(columns)
    by_key = {row[DOCUMENT_KEY]: row for row in rows}
    assert len(by_key) == len(documents)
    for raw in documents:
        expected = json.loads(line_of(raw))
        assert rebuilt(columns, by_key[json.dumps(expected["_id"], separators=(",", ":"))]) == widened(expected)


@pytest.mark.parametrize("seed", range(4))
def test_taken_alone_or_together_a_document_has_the_same_variants(seed: int) -> None:
    documents = ragged(100 + seed, 60)
    together = converted(documents).tables
    assert len(together) == 1, "none was odd"
    for raw, row in zip(documents, together[0].cast(_plain(together[0].schema)).to_pylist(), strict=True):
        alone = {json.dumps(variant): value for variant, value in flatten(e.parse(raw))}
        assert {name: value for name, value in row.items() if value is not None and name != DOCUMENT_KEY} == alone


def test_thousands_of_names_in_one_document_and_long_arrays_are_read_too() -> None:
    wide = bson.encode({"_id": 1, "last_read": {f"5f0c1e2d3a4b5c6d7e8f{number:04x}": number for number in range(3000)}, "ids": list(range(5000))})
    plain = [bson.encode({"_id": number, "ids": [number]}) for number in range(2, 40)]
    assert lines([wide, *plain]) == [line_of(raw) for raw in (wide, *plain)]
    columns, rows = arranged([wide, *plain])
    assert {column.name: column.kind for column in columns} == {"_id": "int", "ids": "list:int", "last_read": "ejson"}
    assert len(rows) == 39


def nested(depth: int, array: bool = False) -> bytes:
    raw = document(element(0x10, b"0", struct.pack("<i", 1)))
    for _ in range(depth):
        raw = document(element(4 if array else 3, b"0", raw))
    return document(ID, element(3, b"d", raw))


@pytest.mark.parametrize("array", [False, True])
def test_deep_documents(array: bool) -> None:
    documents = [nested(depth, array) for depth in (0, 2, 5, 10, 11, 12, 13, 60, 150)]
    assert lines(documents) == [line_of(raw) for raw in documents]
    refused = converted([nested(300, array), documents[0]])
    assert [one.error.reason for one in refused.refused] == ["found more than 180 documents inside each other; allowed: 180"]
    assert refused.lines.decode().splitlines() == [line_of(documents[0])]


BAD: dict[str, tuple[bytes, str]] = {
    "no _id": (document(element(0x10, b"n", struct.pack("<i", 1))), "found no _id"),
    "null _id": (document(element(0x0A, b"_id", b"")), "found no _id"),
    "unknown type": (document(ID, element(0x20, b"v", b"")), "found a value of type 0x20"),
    "text": (document(ID, element(0x02, b"v", string(b"ab\xff"))), "found bytes ff00"),
    "surrogate": (document(ID, element(0x02, b"v", string(b"\xed\xa0\x80"))), "in a string; allowed: UTF-8"),
    "name": (document(ID, element(0x10, b"\xc3", struct.pack("<i", 1))), "in the name of a field; allowed: UTF-8"),
    "string too long": (document(ID, element(0x02, b"v", struct.pack("<i", 900) + b"a\0")), "found a length of 900"),
    "string of no length": (document(ID, element(0x02, b"v", struct.pack("<i", 0) + b"\0")), "found a length of 0"),
    "string not closed": (document(ID, element(0x02, b"v", struct.pack("<i", 2) + b"ab")), "at the end of a string; allowed: a zero byte"),
    "boolean": (document(ID, element(0x08, b"v", b"\2")), "found 0x02 as a boolean"),
    "number cut": (document(ID, element(0x12, b"v", b"\1\2")), "allowed: 8 for a value of this type"),
    "nested too long": (document(ID, element(0x03, b"v", struct.pack("<i", 90) + b"\0")), "found a length of 90"),
    "nested ends early": (document(ID, element(0x03, b"v", struct.pack("<i", 7) + b"\0\0\0")), "found the end of the elements"),
    "nested not closed": (document(ID, element(0x03, b"v", struct.pack("<i", 5) + b"\1")), "at the end of a nested document"),
    "field twice": (document(ID, element(0x10, b"v", struct.pack("<i", 1)), element(0x02, b"v", string(b"x"))), "found the field 'v' twice"),
    "field twice inside": (document(ID, element(3, b"d", document(element(0x0A, b"v", b""), element(0x0A, b"v", b"")))), "found the field 'v' twice"),
    "old binary": (document(ID, element(0x05, b"v", struct.pack("<iBi", 5, 2, 9) + b"x")), "as the inner length of old binary data"),
    "binary too long": (document(ID, element(0x05, b"v", struct.pack("<iB", 50, 0) + b"x")), "found a length of 50"),
    "regex": (document(ID, element(0x0B, b"v", b"abc")), "found no end of"),
    "regex text": (document(ID, element(0x0B, b"v", b"\xff\0\0")), "in a regular expression; allowed: UTF-8"),
    "code text": (document(ID, element(0x0D, b"v", string(b"\xff"))), "allowed: UTF-8"),
    "scope": (document(ID, element(0x0F, b"v", struct.pack("<i", 20) + string(b"f()") + struct.pack("<i", 5) + b"\0abc")), "found a scope of 5 bytes"),
    "bad inside an array": (document(ID, element(4, b"v", document(element(0x02, b"0", string(b"\xff"))))), "allowed: UTF-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_document_is_refused_with_its_reason_and_the_others_are_kept(name: str) -> None:
    raw, reason = BAD[name]
    good = ragged(7, 5)
    found = converted([*good[:3], raw, *good[3:]])
    assert [(one.start, one.raw) for one in found.refused] == [(sum(map(len, good[:3])), raw)]
    assert reason in found.refused[0].error.reason
    assert found.documents == 5
    assert found.lines.decode().splitlines() == [line_of(one) for one in good]
    assert sum(table.num_rows for table in found.tables) == 5
    if name not in ("no _id", "null _id"):
        with pytest.raises(e.DocumentError):
            e.parse(raw)


def test_flipped_bytes_never_make_the_two_ways_differ() -> None:
    """Whatever a byte becomes, a document is read the same way with its neighbours and alone, or refused both times."""
    rng = random.Random(3)
    for raw in ragged(5, 40) + [document(ID, element(kind, b"v", payload)) for kind, payload, _ in TYPES.values()]:
        damaged = []
        for _ in range(40):
            changed = bytearray(raw)
            changed[rng.randrange(4, len(raw) - 1)] = rng.randrange(256)
            damaged.append(bytes(changed))
        found = converted(damaged)
        refused = {one.start // len(raw) for one in found.refused}
        expected = []
        for number, changed in enumerate(damaged):
            try:
                parsed = e.parse(changed)
            except e.DocumentError:
                assert number in refused
                continue
            if number not in refused:
                expected.append(e.document_text(parsed))
            else:
                assert not any(one.key == "_id" and one.type not in (e.NULL, e.UNDEFINED) for one in parsed)
        assert found.lines.decode().split("\n")[:-1] == expected


def test_the_commonest_kind_of_a_path_has_the_column_and_the_others_are_in_the_rest() -> None:
    documents = [bson.encode({"_id": 1, "x": "a", "n": 1}), bson.encode({"_id": 2, "x": "b", "n": 1.5}), bson.encode({"_id": 3, "x": 7, "n": bson.Int64(5)})]
    columns, rows = arranged(documents[:2])
    assert {column.name: column.kind for column in columns} == {"_id": "int", "n": "double", "x": "string"}
    assert [row["n"] for row in rows] == [1.0, 1.5]
    columns, rows = arranged(documents)
    assert {column.name: column.kind for column in columns} == {"_id": "int", "n": "int", "x": "string"}
    assert [row[REST] for row in rows] == [None, '{"n":{"$numberDouble":"1.5"}}', '{"x":{"$numberInt":"7"}}']


def test_more_fields_than_columns_go_to_the_rest() -> None:
    documents = [bson.encode({"_id": number, "common": 1, **{f"field_{number}_{place}": place for place in range(60)}}) for number in range(20)]
    columns, rows = arranged(documents)
    assert len(columns) == 500
    assert {"_id", "common"} <= {column.name for column in columns}
    assert sorted(rebuilt(columns, row)["_id"]["number"] for row in rows) == list(range(20))
    assert all(len(rebuilt(columns, row)) == 62 for row in rows)


def test_columns_have_names_of_their_own() -> None:
    paths = [("a", "b"), ("a__b",), ("a_", "b"), ("a", "_b"), ("A",), ("a",), ("a.b",), ("retrieved_at",), ("document_rest",), ("é",), ("",), ("x" * 70,)]
    names = [column_name(path) for path in paths]
    assert len(set(names)) == len(names)
    assert names[0] == "a__b"
    assert all(name.replace("_", "a").isalnum() and name == name.lower() for name in names)
    assert [names_a_field(name) for name in ("up_count", "course-v1:MITx+6.00x", OID.__str__(), "42", "")] == [True, False, False, False, False]
