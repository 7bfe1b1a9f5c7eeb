"""One BSON document taken apart step by step: the exact reason when it is not one, and the text of every type.

This is the rule book: it checks what MongoDB's specification of BSON demands and knows every type, the deprecated ones included. It handles
some ten to twenty megabytes a second, so :mod:`.walk` does the work for whole chunks and asks here only about what it finds odd.

The text of a value is canonical extended JSON, version 2 (``{"$numberInt":"1"}``), compact and in UTF-8: what MongoDB's own tools read and write, and
exact about types.
"""

from __future__ import annotations

import base64
import json
import math
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from bson.decimal128 import Decimal128

DOUBLE, STRING, DOCUMENT, ARRAY, BINARY, UNDEFINED, OBJECT_ID, BOOLEAN, DATE, NULL = range(1, 11)
REGEX, DB_POINTER, CODE, SYMBOL, CODE_WITH_SCOPE, INT32, TIMESTAMP, INT64, DECIMAL128 = range(11, 20)
MIN_KEY, MAX_KEY = 0xFF, 0x7F

SMALLEST_DOCUMENT = 5
LARGEST_DOCUMENT = (16 << 20) + (16 << 10)  # 16 MiB for users, and what the server itself may add
DEEPEST = 180  # the server stores 100 levels; twice that still fits Python's stack

_LENGTH = struct.Struct("<i")
_FIXED = {
    DOUBLE: struct.Struct("<d"),
    DATE: struct.Struct("<q"),
    INT32: struct.Struct("<i"),
    INT64: struct.Struct("<q"),
    TIMESTAMP: struct.Struct("<II"),
    OBJECT_ID: struct.Struct("12s"),
    DECIMAL128: struct.Struct("16s"),
}
_EMPTY = {NULL, UNDEFINED, MIN_KEY, MAX_KEY}
OLD_BINARY, UUID = 2, 4


class DocumentError(ValueError):
    """A document whose content is not BSON: ``reason`` says what was found and what is allowed, ``at`` the offset in the document."""

    def __init__(self, at: int, reason: str) -> None:
        self.at, self.reason = at, reason
        super().__init__(f"byte {at} of the document: {reason}")


class WrongLengthError(DocumentError):
    """A document that ends before its own length says so. Which bytes belong to which document is then unknown, from here to the end of the file."""


class Element(NamedTuple):
    """One field of a document or item of an array.

    ``value`` by type: ``str`` of strings, symbols and code; a list of elements of documents and arrays; ``(subtype, bytes)`` of binary data; ``bytes`` of
    object ids and decimals; ``(counter, seconds)`` of timestamps, as they lie in the bytes; ``(pattern, options)``; ``(namespace, object id)``;
    ``(code, scope)``; ``None`` where there is none.
    """

    key: str
    type: int
    value: Any


def parse(raw: bytes) -> list[Element]:
    """The elements of one whole document. Raises :class:`DocumentError`."""
    if len(raw) < SMALLEST_DOCUMENT or _LENGTH.unpack_from(raw)[0] != len(raw):
        raise DocumentError(0, f"found {len(raw)} bytes that begin with {raw[:4].hex()}; allowed: a document with its own length in front")
    return _Reader(raw).document(0, len(raw), 0, DOCUMENT)


class _Reader:
    """A document's bytes. Positions count from its first byte."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def document(self, start: int, end: int, depth: int, container: int) -> list[Element]:
        """The elements between a length prefix at ``start`` and the closing zero before ``end``, of a document or an array (whose names mean nothing)."""
        if depth > DEEPEST:
            raise DocumentError(start, f"found more than {DEEPEST} documents inside each other; allowed: {DEEPEST}")
        raw, at, found = self._raw, start + 4, []
        keys: set[str] = set()
        while True:
            kind = raw[at] if at < end else 0
            if kind == 0:
                break
            key, value_at = self._cstring(at + 1, end - 1, "the name of a field")
            value, following = self._value(kind, value_at, end - 1, depth)
            if key in keys and container == DOCUMENT:
                raise DocumentError(at, f"found the field {key!r} twice; allowed: each name once, since JSON and tables keep one")
            keys.add(key)
            found.append(Element(key, kind, value))
            at = following
        if at != end - 1:
            error = WrongLengthError if depth == 0 and start == 0 else DocumentError
            raise error(at, f"found the end of the elements; allowed: at byte {end - 1}, as the length of {end - start} says")
        return found

    def _cstring(self, at: int, end: int, what: str) -> tuple[str, int]:
        zero = self._raw.find(b"\0", at, end)
        if zero < 0:
            raise DocumentError(at, f"found no end of {what} inside the document; allowed: text that a zero byte ends")
        return self._text(at, zero, what), zero + 1

    def _text(self, at: int, end: int, what: str) -> str:
        try:
            return self._raw[at:end].decode()
        except UnicodeDecodeError as error:
            found = self._raw[at + error.start : at + error.start + 4].hex()
            raise DocumentError(at + error.start, f"found bytes {found} in {what}; allowed: UTF-8") from None

    def _value(self, kind: int, at: int, end: int, depth: int) -> tuple[Any, int]:
        if kind in _EMPTY:
            return None, at
        if kind in _FIXED:
            shape = _FIXED[kind]
            self._inside(at, shape.size, end)
            values = shape.unpack_from(self._raw, at)
            return values if kind == TIMESTAMP else values[0], at + shape.size
        if kind in (STRING, CODE, SYMBOL):
            return self._string(at, end)
        if kind in (DOCUMENT, ARRAY):
            length = self._length(at, SMALLEST_DOCUMENT, end - at)
            if self._raw[at + length - 1]:
                raise DocumentError(at + length - 1, f"found {self._raw[at + length - 1]:#04x} at the end of a nested document; allowed: a zero byte")
            return self.document(at, at + length, depth + 1, kind), at + length
        return self._rare(kind, at, end, depth)

    def _rare(self, kind: int, at: int, end: int, depth: int) -> tuple[Any, int]:
        if kind == BOOLEAN:
            self._inside(at, 1, end)
            if self._raw[at] > 1:
                raise DocumentError(at, f"found {self._raw[at]:#04x} as a boolean; allowed: 0x00, 0x01")
            return bool(self._raw[at]), at + 1
        if kind == BINARY:
            return self._binary(at, end)
        if kind == REGEX:
            pattern, then = self._cstring(at, end, "a regular expression")
            options, following = self._cstring(then, end, "the options of a regular expression")
            return (pattern, options), following
        if kind == DB_POINTER:
            namespace, then = self._string(at, end)
            self._inside(then, 12, end)
            return (namespace, self._raw[then : then + 12]), then + 12
        if kind == CODE_WITH_SCOPE:
            length = self._length(at, 14, end - at)
            code, then = self._string(at + 4, at + length)
            scope = self._length(then, SMALLEST_DOCUMENT, at + length - then)
            if then + scope != at + length:
                raise DocumentError(then, f"found a scope of {scope} bytes; allowed: {at + length - then}, as the length of the code with scope says")
            return (code, self.document(then, then + scope, depth + 1, DOCUMENT)), at + length
        raise DocumentError(at, f"found a value of type {kind:#04x}; allowed: the types of BSON 1.1, 0x01 to 0x13, 0x7f and 0xff")

    def _binary(self, at: int, end: int) -> tuple[tuple[int, bytes], int]:
        length = self._length(at, 0, end - at - 5)
        subtype, data = self._raw[at + 4], self._raw[at + 5 : at + 5 + length]
        if subtype == OLD_BINARY:
            if length < 4 or _LENGTH.unpack_from(data)[0] != length - 4:
                raise DocumentError(at + 5, f"found {data[:4].hex()} as the inner length of old binary data; allowed: {length - 4}")
            data = data[4:]
        return (subtype, data), at + 5 + length

    def _string(self, at: int, end: int) -> tuple[str, int]:
        length = self._length(at, 1, end - at - 4)
        last = at + 4 + length - 1
        if self._raw[last]:
            raise DocumentError(last, f"found {self._raw[last]:#04x} at the end of a string; allowed: a zero byte")
        return self._text(at + 4, last, "a string"), last + 1

    def _length(self, at: int, least: int, most: int) -> int:
        self._inside(at, 4, len(self._raw))
        length: int = _LENGTH.unpack_from(self._raw, at)[0]
        if not least <= length <= most:
            raise DocumentError(at, f"found a length of {length}; allowed: {least} to {most}, what is left of the document")
        return length

    def _inside(self, at: int, size: int, end: int) -> None:
        if at + size > end:
            raise DocumentError(at, f"found {max(end - at, 0)} bytes; allowed: {size} for a value of this type")


def value_at(raw: bytes, kind: int, at: int, size: int) -> Any:
    """The value of one element whose place and size are known. Raises :class:`DocumentError` with positions in ``raw``."""
    value, following = _Reader(raw)._value(kind, at, at + size, 1)
    if following != at + size:
        raise DocumentError(at, f"found a value of {following - at} bytes; allowed: {size}")
    return value


def double_text(number: float) -> str:
    """``1.5``, ``1e+16``, ``NaN``, ``-Infinity``: the shortest text that reads back as the same number."""
    if math.isfinite(number):
        return repr(number)
    return "NaN" if math.isnan(number) else "Infinity" if number > 0 else "-Infinity"


def quoted(text: str) -> str:
    """A JSON string."""
    return json.dumps(text, ensure_ascii=False)


def document_text(elements: list[Element]) -> str:
    """A document's text."""
    return "{" + ",".join(f"{quoted(element.key)}:{value_text(element.type, element.value)}" for element in elements) + "}"


def value_text(kind: int, value: Any) -> str:  # noqa: PLR0911 - one line a type
    """A value's text."""
    if kind in _PLAIN:
        return _PLAIN[kind]
    if kind in WRAPPED:
        before, after = WRAPPED[kind]
        return f"{before}{double_text(value) if kind == DOUBLE else value.hex() if kind == OBJECT_ID else value}{after}"
    if kind == STRING:
        return quoted(value)
    if kind == DOCUMENT:
        return document_text(value)
    if kind == ARRAY:
        return "[" + ",".join(value_text(element.type, element.value) for element in value) + "]"
    if kind == BOOLEAN:
        return "true" if value else "false"
    return "".join(_rare_text(kind, value))


def _rare_text(kind: int, value: Any) -> Iterator[str]:
    if kind == BINARY:
        yield f'{{"$binary":{{"base64":"{base64.b64encode(value[1]).decode()}","subType":"{value[0]:02x}"}}}}'
    elif kind == REGEX:
        yield f'{{"$regularExpression":{{"pattern":{quoted(value[0])},"options":{quoted(value[1])}}}}}'
    elif kind == DB_POINTER:
        yield f'{{"$dbPointer":{{"$ref":{quoted(value[0])},"$id":{{"$oid":"{value[1].hex()}"}}}}}}'
    elif kind == CODE:
        yield f'{{"$code":{quoted(value)}}}'
    elif kind == CODE_WITH_SCOPE:
        yield f'{{"$code":{quoted(value[0])},"$scope":{document_text(value[1])}}}'
    elif kind == SYMBOL:
        yield f'{{"$symbol":{quoted(value)}}}'
    elif kind == TIMESTAMP:  # the counter comes first in the bytes
        yield f'{{"$timestamp":{{"t":{value[1]},"i":{value[0]}}}}}'
    elif kind == DECIMAL128:
        yield f'{{"$numberDecimal":"{decimal_text(value)}"}}'


def decimal_text(raw: bytes) -> str:
    """A decimal's text: ``1.50``, ``1E+400``, ``NaN``."""
    return str(Decimal128.from_bid(raw))


_PLAIN = {NULL: "null", UNDEFINED: '{"$undefined":true}', MIN_KEY: '{"$minKey":1}', MAX_KEY: '{"$maxKey":1}'}
WRAPPED = {
    DOUBLE: ('{"$numberDouble":"', '"}'),
    OBJECT_ID: ('{"$oid":"', '"}'),
    DATE: ('{"$date":{"$numberLong":"', '"}}'),
    INT32: ('{"$numberInt":"', '"}'),
    INT64: ('{"$numberLong":"', '"}'),
}
