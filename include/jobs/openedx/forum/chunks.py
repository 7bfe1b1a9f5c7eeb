"""One chunk of a collection's documents: lines, columns, and what has to go to the quarantine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from include.jobs.openedx.forum import elements as e
from include.jobs.openedx.forum.columns import ID, Columns, Variant, flatten, table_of
from include.jobs.openedx.forum.texts import Texts
from include.jobs.openedx.forum.walk import Chunk, Flags, Ints, Level, walk


@dataclass(frozen=True)
class Refused:
    """A document that is not loaded: where it begins in the chunk, its bytes, where in it the reason lies, and the reason."""

    start: int
    raw: bytes
    error: e.DocumentError


@dataclass(frozen=True)
class Converted:
    """A chunk's documents. ``lines`` are in their order; the tables' rows are not where a document had to be taken apart alone."""

    documents: int
    lines: bytes
    tables: tuple[pa.Table, ...]
    refused: tuple[Refused, ...]


def convert(data: bytes, starts: Ints, *, lines: bool = True, tables: bool = True) -> Converted:
    """Converts documents that follow each other in ``data``; ``starts`` are where they begin and, last, where the data ends.

    ``lines`` and ``tables`` leave one of the two out. Nothing is raised for what is wrong in a document; it is among ``refused``.
    """
    chunk = Chunk(data, starts)
    levels = walk(chunk)
    texts = Texts(levels)
    _find_ids(levels[0])
    table = Columns(levels, texts).table() if tables else None
    rows = texts.rows(0) if lines else None
    odd = [_alone(data, start, end) for start, end in zip(starts[:-1][chunk.odd].tolist(), starts[1:][chunk.odd].tolist(), strict=True)]
    good = [parsed for parsed in odd if not isinstance(parsed, Refused)]
    refused = tuple(parsed for parsed in odd if isinstance(parsed, Refused))
    found: list[pa.Table] = []
    if table is not None:
        found = [table.filter(pa.array(~chunk.odd)) if odd else table] + ([_table(good)] if good else [])
    return Converted(chunk.odd.size - len(refused), b"" if rows is None else _lines(rows, chunk.odd, odd), tuple(found), refused)


def _find_ids(level: Level) -> None:
    """Marks documents without an ``_id``."""
    numbers, meanings = level.names
    is_id = np.array([name == ID and kind not in (e.NULL, e.UNDEFINED) for kind, name in meanings], dtype=bool)
    has_id = np.zeros(len(level.counts), dtype=bool)
    if len(numbers):
        has_id[level.row[is_id[numbers]]] = True
    level.chunk.odd |= ~has_id


def _alone(data: bytes, start: int, end: int) -> list[e.Element] | Refused:
    raw = data[start:end]
    try:
        elements = e.parse(raw)
        if not any(element.key == ID and element.type not in (e.NULL, e.UNDEFINED) for element in elements):
            raise e.DocumentError(0, f"found no {ID}; allowed: documents with one, which is their key")
    except e.DocumentError as error:
        return Refused(start, raw, error)
    return elements


def _table(documents: list[list[e.Element]]) -> pa.Table:
    keys = [e.value_text(element.type, element.value) for document in documents for element in document if element.key == ID]
    rows: list[Mapping[Variant, Any]] = [dict(flatten(document)) for document in documents]
    return table_of(rows, keys)


def _lines(rows: pa.Array, odd: Flags, parsed: list[list[e.Element] | Refused]) -> bytes:
    """The documents' lines in their order, without those of refused ones."""
    if parsed:
        texts = [None if isinstance(one, Refused) else e.document_text(one) + "\n" for one in parsed]
        order = np.arange(len(odd))
        order[odd] = len(odd) + np.arange(len(texts))
        rows = pa.concat_arrays([rows, pa.array(texts, pa.binary())]).take(pa.array(order))
    if not len(rows):
        return b""
    bounds = np.frombuffer(rows.buffers()[1], np.int32)  # rows follow each other in memory without a gap, so their lines need no joining
    text: bytes = rows.buffers()[2].slice(bounds[0], bounds[len(rows)] - bounds[0]).to_pybytes()
    return text
