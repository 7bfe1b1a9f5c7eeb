"""The kinds of values a column can hold, and the extended JSON of each."""

from __future__ import annotations

import base64
import json
import uuid
from typing import Any

import pyarrow as pa

from include.jobs.openedx.forum import elements as e

STRING, OBJECT_ID, UUID, DECIMAL, EJSON = "string", "objectId", "uuid", "decimal128", "ejson"
INT32, INT64, INT, DOUBLE, BOOLEAN, DATE, BINARY = "int32", "int64", "int", "double", "bool", "date", "binary"
LIST = "list:"
EMPTY_LIST = "list:empty"

TYPES = {
    **dict.fromkeys((STRING, OBJECT_ID, UUID, DECIMAL, EJSON, "empty"), pa.string()),
    **dict.fromkeys((INT32, INT64, INT), pa.int64()),
    DOUBLE: pa.float64(),
    BOOLEAN: pa.bool_(),
    DATE: pa.timestamp("us", tz="UTC"),
    BINARY: pa.binary(),
}

FIRST_DATE, LAST_DATE = -62_135_596_800_000, 253_402_300_799_999
"""Milliseconds since 1970 of the years 1 and 9999, between which every reader can show a date."""

OF_TYPE = {e.STRING: STRING, e.OBJECT_ID: OBJECT_ID, e.INT32: INT32, e.INT64: INT64, e.DOUBLE: DOUBLE, e.BOOLEAN: BOOLEAN, e.DATE: DATE}
"""The types whose values a column or a list holds as they are."""

_INT32_RANGE = range(-(1 << 31), 1 << 31)


def arrow_type(kind: str) -> pa.DataType:
    """The Arrow type of a column of this kind."""
    return pa.list_(pa.field("element", TYPES[kind.removeprefix(LIST)])) if kind.startswith(LIST) else TYPES[kind]


def kind_and_value(kind: int, value: Any) -> tuple[str, Any]:  # noqa: PLR0911 - one line a kind
    """The kind of a parsed value (see :class:`.elements.Element`) and the value as Arrow takes it. Documents are ``ejson`` here."""
    if kind == e.DATE and not FIRST_DATE <= value <= LAST_DATE:
        return EJSON, e.value_text(kind, value)
    if kind in OF_TYPE:
        return OF_TYPE[kind], value.hex() if kind == e.OBJECT_ID else value * 1000 if kind == e.DATE else value
    if kind == e.BINARY and value[0] == 0:
        return BINARY, value[1]
    if kind == e.BINARY and value[0] == e.UUID and len(value[1]) == 16:
        return UUID, str(uuid.UUID(bytes=value[1]))
    if kind == e.DECIMAL128:
        return DECIMAL, e.decimal_text(value)
    if kind == e.ARRAY:
        items = [kind_and_value(item.type, item.value) for item in value if item.type != e.NULL]
        found = {item[0] for item in items}
        if not value:
            return EMPTY_LIST, []
        if len(found) == 1 and found <= set(OF_TYPE.values()):
            rest = iter(items)
            return LIST + found.pop(), [None if item.type == e.NULL else next(rest)[1] for item in value]
    return EJSON, e.value_text(kind, value)


def to_json(kind: str, value: Any) -> Any:  # noqa: PLR0911 - one line a kind
    """The canonical extended JSON of a column's value, as plain Python objects. Dates are microseconds since 1970."""
    if kind.startswith(LIST):
        return [None if item is None else to_json(kind.removeprefix(LIST), item) for item in value]
    if kind in (STRING, BOOLEAN):
        return value
    if kind == EJSON:
        return json.loads(value)
    if kind == OBJECT_ID:
        return {"$oid": value}
    if kind == DOUBLE:
        return {"$numberDouble": e.double_text(value)}
    if kind == DATE:
        return {"$date": {"$numberLong": str(value // 1000)}}
    if kind == DECIMAL:
        return {"$numberDecimal": value}
    if kind in (BINARY, UUID):
        data, subtype = (value, "00") if kind == BINARY else (uuid.UUID(value).bytes, "04")
        return {"$binary": {"base64": base64.b64encode(data).decode(), "subType": subtype}}
    return {"$numberInt" if kind == INT32 or (kind == INT and value in _INT32_RANGE) else "$numberLong": str(value)}
