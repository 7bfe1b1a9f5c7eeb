"""Forty awkward lines with what must become of each, written out by hand."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include.jobs.openedx.tracking_logs.blocks import parse_block
from include.jobs.openedx.tracking_logs.events import TEXTS, RefusedError, read_event
from include.jobs.openedx.tracking_logs.reading import Block

from .compare import assert_same_line, compare, rows_of
from .conftest import event
from .plain import BrokenError, parse

NOON = int(datetime(2026, 3, 2, 12, tzinfo=UTC).timestamp()) * 1_000_000
T = '"time": "2026-03-02T12:00:00.000000+00:00"'
Expected = dict[str, Any]

# name: line with @T for noon (@C without a blank), and the columns that are not null beside time at noon (time: microseconds after noon)
KEPT: dict[str, tuple[str | bytes, Expected]] = {
    "an object": ('{"event": {"a": 1}, @T}', {"event": '{"a": 1}'}),
    "an object in a string": (r'{"event": "{\"a\": 1.50}", @T}', {"event": '{"a": 1.50}'}),
    "twice escaped": (r'{"event": "\"{\\\"a\\\": 1}\"", @T}', {"event": '{"a": 1}'}),
    "quotes within": (r'{"event": "{\"a\": \"he said \\\"no\\\"\"}", @T}', {"event": r'{"a": "he said \"no\""}'}),
    "a backslash within": (r'{"event": "{\"a\": \"\\\\\"}", @T}', {"event": r'{"a": "\\"}'}),
    "several lines in a string": (r'{"event": "{\n  \"a\": 1\r\n}", @T}', {"event": '{   "a": 1  }'}),
    "blanks around an object in a string": (r'{"event": " {\"a\": 1} ", @T}', {"event": '{"a": 1}'}),
    "no JSON in a string": ('{"event": "input_1=a&b=%22", @T}', {"event": '"input_1=a&b=%22"'}),
    "an object that is cut in a string": (r'{"event": "{\"a\": ", @T}', {"event": r'"{\"a\": "'}),
    "an array in a string": (r'{"event": "[1, {}]", @T}', {"event": '"[1, {}]"'}),
    "a number in a string": ('{"event": "17", @T}', {"event": '"17"'}),
    "an empty string": ('{"event": "", @T}', {"event": '""'}),
    "an array": ('{"event": [1, 2], @T}', {"event": "[1, 2]"}),
    "null": ('{"event": null, @T}', {}),
    "context from itself": (r'{"context": "{\"c\": 1}", "event": {"e": 1}, @T}', {"context": '{"c": 1}', "event": '{"e": 1}'}),
    "the same key inside": (
        r'{"context": {"event": "{\"x\": 1}"}, "event": "{\"y\": 2}", @T}',
        {"context": r'{"event": "{\"x\": 1}"}', "event": '{"y": 2}'},
    ),
    "a lone surrogate in an object": (r'{"event": {"a": "\ud800"}, @T}', {"event": r'{"a": "\ud800"}'}),
    "a lone surrogate in a string's object": (r'{"event": "{\"a\": \"\ud800\"}", @T}', {"event": r'{"a": "\ud800"}'}),
    "a lone surrogate in a text": (r'{"agent": "x\udfff", @T}', {"extra": r'{"agent": "x\udfff"}'}),
    "a pair of surrogates": (r'{"agent": "\ud83d\ude00", @T}', {"agent": "\U0001f600"}),
    "NUL": (r'{"page": "a\u0000b", "event": "{\"a\": \"\\u0000\"}", @T}', {"page": "a\x00b", "event": r'{"a": "\u0000"}'}),
    "letters as they are": ('{"name": "café", "event": {"a": "陽"}, @T}', {"name": "café", "event": '{"a": "陽"}'}),
    "escapes in a text": (r'{"page": "a\/b\t\"c\"\\", @T}', {"page": 'a/b\t"c"\\'}),
    "an empty text": ('{"username": "", @T}', {"username": ""}),
    "a number as a name": ('{"username": 12.50, @T}', {"extra": '{"username": 12.50}'}),
    "unknown fields": ('{"zeta": [1.0], "a b": null, @T}', {"extra": '{"zeta": [1.0], "a b": null}'}),
    "our own separator's name": ('{"_0": 5, "host": "h", @T}', {"extra": '{"_0": 5}', "host": "h"}),
    "NaN": ('{"event": {"a": NaN, "b": -Infinity, "c": "NaN"}, @T}', {"event": '{"a": "NaN", "b": "-Infinity", "c": "NaN"}'}),
    "long numbers": ('{"event": {"a": ' + "9" * 5000 + ', "b": 1e999}, @T}', {"event": '{"a": ' + "9" * 5000 + ', "b": 1e999}'}),
    "no blanks": (r'{"event":"{\"a\":1}","host":"h",@C}', {"event": '{"a":1}', "host": "h"}),
    "many blanks": ('  { "host" :\t"h" , @T }\r', {"host": "h"}),
    "a byte order mark": ("\ufeff{@T}", {}),
    "an escaped name": (r'{"\u0068ost": "h", @T}', {"host": "h"}),
    "seconds": ('{"time": 1772452800}', {}),
    "milliseconds": ('{"time": 1772452800123}', {"time": 123_000}),
    "fractions of seconds": ('{"time": 1772452800.1234565}', {"time": 123_456}),
    "an exponent": ('{"time": 1.7724528001e9}', {"time": 100_000}),
    "seconds in a string": ('{"time": "1772452800"}', {}),
    "a blank for T, no zone": ('{"time": "2026-03-02 12:00:00.000001"}', {"time": 1}),
    "another zone": ('{"time": "2026-03-02T17:45:00+05:45"}', {}),
    "more digits": ('{"time": "2026-03-02T12:00:00.123456789Z"}', {"time": 123_456}),
}
# name: line, and a part of the reason
REFUSED: dict[str, tuple[str | bytes, str]] = {
    "cut": ('{"event": {"a": 1}, "ti', "not JSON"),
    "a comma too many": ("{@T,}", "not JSON"),
    "two in a line": ("{@T}{@T}", "more after the object's end"),
    "zeros": (b"\x00\x00{@T}", "no JSON object"),
    "a control character": ('{"host": "a\x01b", @T}', "not JSON"),
    "no UTF-8": (b'{"host": "\xff", @T}', "not UTF-8 at byte 10"),
    "no object": ("[1]", "no JSON object"),
    "nested too deeply": ('{"event": ' + "[" * 100_000 + "1" + "]" * 100_000 + ", @T}", "nested too deeply"),
    "a name twice": ('{"host": "a", "host": "b", @T}', "'host' comes twice"),
    "no time": ('{"host": "a"}', "no time"),
    "null time": ('{"time": null}', "no time"),
    "a word for a time": ('{"time": "yesterday"}', "'yesterday'"),
    "a day that is not": ('{"time": "2026-02-30T12:00:00Z"}', "2026-02-30"),
    "a small number": ('{"time": 12}', "no epoch"),
    "a huge number": ('{"time": 1e99}', "no epoch"),
    "an object for a time": ('{"time": {"a": 1}}', "no time"),
    "a time before computers": ('{"time": "0001-01-01T00:00:00.000000+00:00"}', "2000 to 2099"),
    "a long time": ('{"time": "%s"}' % ("1" * 100_000), "100000 characters"),
}


def as_bytes(line: str | bytes) -> bytes:
    data = line if isinstance(line, bytes) else line.encode()
    return data.replace(b"@T", T.encode()).replace(b"@C", T.replace(" ", "").encode())


def test_there_are_forty() -> None:
    assert len(KEPT) >= 40
    assert len(REFUSED) >= 15


@pytest.mark.parametrize("name", KEPT)
def test_what_survives(name: str) -> None:
    """000-16, A6-1: alone, by the rule for one event, and within a block by the rule for many; the second reading agrees."""
    line, expected = as_bytes(KEPT[name][0]), KEPT[name][1]
    found = read_event(line)
    columns = {**dict(zip(TEXTS, found.texts, strict=True)), "event": found.event, "context": found.context, "extra": found.extra}
    wanted = {**dict.fromkeys(columns), **expected}
    time = NOON + wanted.pop("time", 0)
    assert (found.time, columns) == (time, wanted)
    block = Block(1000, event(1) + line + b"\n" + event(2))
    row = rows_of(parse_block(block))[1000 + len(event(1))]
    assert {key: value for key, value in row.items() if key != "source_offset"} == {"time": time, **wanted}
    assert_same_line(found.line, parse(line))
    assert compare([block]) == (3, 0, 0)


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name: str) -> None:
    line, reason = as_bytes(REFUSED[name][0]), REFUSED[name][1]
    with pytest.raises(RefusedError, match=re.escape(reason)):
        read_event(line)
    with pytest.raises(BrokenError):
        parse(line)
    block = Block(7, event(1) + line + b"\n\n" + event(2))
    (refused,) = parse_block(block).refused
    assert (refused.offset, refused.length) == (7 + len(event(1)), len(line))
    assert json.loads(refused.record("s3://b/k"))["offset"] == refused.offset
    assert compare([block]) == (2, 1, 1)


TEXT = st.text(max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
STRINGS = JSON.map(json.dumps) | JSON.map(lambda value: json.dumps({"a": value})) | JSON.map(lambda value: json.dumps(json.dumps({"a": value}, indent=1)))
TIMES = (
    st.datetimes(datetime(1999, 12, 31), datetime(2100, 1, 2), timezones=st.just(UTC)).map(datetime.isoformat)
    | st.integers(-10, 5 * 10**15)
    | st.floats(9e8, 5e9)
    | st.just("2026-03-02T12:00:00.000001+00:00")
)
NAMES = st.sampled_from([*TEXTS, "event", "context", "_0", "other"])
EVENTS = st.fixed_dictionaries({"time": TIMES}, optional={"event": JSON | STRINGS, "context": JSON | STRINGS, "name": JSON, "page": TEXT}) | st.dictionaries(
    NAMES | st.just("time"), JSON | STRINGS | TIMES
)


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A line as some program may have written it, whole or damaged."""
    separators = draw(st.sampled_from([(", ", ": "), (",", ":"), (" , ", ":")]))
    text = json.dumps(draw(EVENTS), ensure_ascii=draw(st.booleans()), separators=separators)
    data = text.encode("utf-8", "surrogatepass").replace(b"\n", b" ")
    if draw(st.integers(0, 5)) == 0 and data:
        place = draw(st.integers(0, len(data) - 1))
        data = data[:place] + draw(st.binary(max_size=2)).replace(b"\n", b"") + data[place + draw(st.integers(0, 2)) :]
    return data


@settings(max_examples=60)
@given(st.lists(lines(), min_size=1, max_size=8))
def test_many_at_once_are_what_each_is_alone(found: list[bytes]) -> None:
    """Whatever comes, the rule for many agrees with the second reading, line by line."""
    compare([Block(0, b"\n".join(found) + b"\n"), Block(0, b"\n".join([*found, event(1).rstrip()]))])
