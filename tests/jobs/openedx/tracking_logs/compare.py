"""Asks the product and the second reading the same question."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from include.jobs.openedx.tracking_logs.blocks import Parsed, parse_block
from include.jobs.openedx.tracking_logs.reading import Block

from .plain import BLANK, TEXT_COLUMNS, BrokenError, Plain, load, parse


def rows_of(parsed: Parsed) -> dict[int, dict[str, Any]]:
    """The product's rows by the offset of their line."""
    found = {}
    for part in parsed.columns:
        for array in part.arrays.values():
            array.validate(full=True)
            assert len(array) == len(part.times)
        columns = {name: array.to_pylist() for name, array in part.arrays.items()}
        for number, offset in enumerate(columns["source_offset"]):
            found[offset] = {"time": int(part.times[number])} | {name: values[number] for name, values in columns.items()}
    return found


def assert_same_row(row: dict[str, Any], plain: Plain) -> None:
    """A row of the table says what the second reading says."""
    assert row["time"] == plain.time
    assert {name: row[name] for name in TEXT_COLUMNS} == plain.texts
    for name, value in (("event", plain.event), ("context", plain.context), ("extra", plain.extra or None)):
        assert (None if row[name] is None else load(row[name])) == value, name


def assert_same_line(line: bytes, plain: Plain) -> None:
    """A normalised line has every field, its time in the one form."""
    fields = load(line)
    assert line.isascii() or line.decode("utf-8")
    assert len(fields["time"]) == 32
    assert fields["time"].endswith("+00:00")
    again = parse(line)
    assert again.time == plain.time
    assert {**fields, "time": None} == {**plain.fields, "time": None}


def lines_of(text: bytes, offset: int = 0) -> Iterator[tuple[int, bytes]]:
    """The lines of a text with their offsets."""
    for line in text.split(b"\n")[: None if not text.endswith(b"\n") else -1]:
        yield offset, line
        offset += len(line) + 1


def compare(blocks: Iterable[Block]) -> tuple[int, int, int]:
    """Events, refused and blank lines, after both readings have agreed on each."""
    events = refused = blank = 0
    for block in blocks:
        parsed = parse_block(block)
        rows, gone = rows_of(parsed), {one.offset: one for one in parsed.refused}
        assert len(rows) == parsed.events
        normal = iter(parsed.text.splitlines() if b"\r" not in parsed.text else parsed.text.split(b"\n"))
        for offset, line in lines_of(block.data, block.offset):
            try:
                plain = parse(line)
            except BrokenError as error:
                assert offset not in rows, (line, rows[offset])
                if str(error) == BLANK:
                    blank += 1
                else:
                    assert gone[offset].length == len(line), line
                    refused += 1
                continue
            assert offset in rows, (line, gone.get(offset))
            assert_same_row(rows[offset], plain)
            assert_same_line(next(normal), plain)
            events += 1
        assert (len(rows), len(gone), parsed.blank) == (parsed.events, len(parsed.refused), parsed.blank)
    return events, refused, blank
