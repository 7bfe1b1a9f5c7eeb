"""P14: a forum's collection of 200,000 documents from BSON to JSON lines and to typed Parquet.

Ours is ``forum-load``'s conversion of one collection on two threads, gzip and zstd included. The peer decodes each document with PyMongo and writes
canonical extended JSON with ``bson.json_util``, which is what bsondump writes. The limit walks the length prefixes; beside it stands the decoding in C alone.
"""

from __future__ import annotations

import gzip
import shutil
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import pyarrow as pa
import pyarrow.parquet as pq
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.json_util import JSONMode, JSONOptions, dumps

from benchmarks.forum_documents import DOCUMENTS, RARE_SHARE, SEED, write_collection
from benchmarks.options import Options
from benchmarks.results import Case, Goal, Outcome, Series, alternate, timed
from benchmarks.stage import scratch
from include.jobs.openedx.forum.convert import THREADS, ConvertedCollection, convert_collection

REPEATS = 5
LINES_MB_S, LINES_RATIO = 190, 6.0
PARQUET_MB_S, PARQUET_RATIO = 125, 4.0
CODEC: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO)
JSON = JSONOptions(json_mode=JSONMode.CANONICAL, tz_aware=True, datetime_conversion=DatetimeConversion.DATETIME_AUTO, uuid_representation=0)
TAKEN_AT = datetime(2026, 3, 2, tzinfo=UTC)


def measure(options: Options) -> Outcome:
    """Lines, Parquet, and both in one pass as the job does it."""
    repeats = options.repeats or REPEATS
    with scratch() as folder:
        source = folder / "contents.bson"
        write_collection(source)
        size = source.stat().st_size
        _assert_equal(source, folder)
        variants: dict[str, Callable[[], float]] = {
            "lines": lambda: _ours(source, folder, tables=False),
            "parquet": lambda: _ours(source, folder, lines=False),
            "both": lambda: _ours(source, folder),
            "peer": timed(lambda: _peer(source, folder / "peer.jsonl")),
            "decode": timed(lambda: _decode(source)),
            "walk": timed(lambda: _walk(source)),
        }
        seconds = alternate(repeats, variants)
    megabytes = size / 1e6
    series = {name: Series(found, details={"mb_per_second": round(megabytes / Series(found).median, 1)}) for name, found in seconds.items()}
    lines = _case(series, "lines", "", megabytes, LINES_MB_S, LINES_RATIO)
    parquet = _case(series, "parquet", "parquet", megabytes, PARQUET_MB_S, PARQUET_RATIO)
    both = Case(
        series["both"], series["peer"], series["walk"], None, "both", (f"{series['both'].details['mb_per_second']} MB/s", "lines and Parquet in one pass")
    )
    inputs = {"documents": DOCUMENTS, "bytes": size, "seed": SEED, "rare": RARE_SHARE, "threads": THREADS}
    return Outcome((lines, parquet, both), inputs)


def _case(series: dict[str, Series], name: str, title: str, megabytes: float, goal: float, ratio: float) -> Case:
    ours, peer = series[name], series["peer"]
    found = peer.median / ours.median
    notes = (
        f"{megabytes:.0f} MB of BSON",
        f"{ours.details['mb_per_second']} MB/s, goal {goal} MB/s",
        f"ratio goal {ratio:.0f} {'met' if found >= ratio else 'not met'}",
        f"peer {peer.details['mb_per_second']} MB/s",
        f"C decode alone {series['decode'].details['mb_per_second']} MB/s",
    )
    return Case(ours, peer, series["walk"], Goal(seconds=megabytes / goal), title, notes)


def _ours(source: Path, folder: Path, *, lines: bool = True, tables: bool = True) -> float:
    spool = folder / "spool"
    spool.mkdir()
    try:
        return timed(lambda: _convert(source, spool, lines=lines, tables=tables))()
    finally:
        shutil.rmtree(spool)


def _convert(source: Path, spool: Path, *, lines: bool = True, tables: bool = True) -> ConvertedCollection:
    with source.open("rb") as stream:
        return convert_collection(stream, source.name, spool, TAKEN_AT, lines=lines, tables=tables)


def _peer(source: Path, target: Path) -> None:
    with source.open("rb") as stream, target.open("w", encoding="utf-8") as out:
        for document in bson.decode_file_iter(stream, CODEC):
            out.write(dumps(document, json_options=JSON, separators=(",", ":"), ensure_ascii=False) + "\n")


def _decode(source: Path) -> int:
    with source.open("rb") as stream:
        return sum(1 for _ in bson.decode_file_iter(stream, CODEC))


def _walk(source: Path) -> int:
    data, at, found = source.read_bytes(), 0, 0
    length = struct.Struct("<i").unpack_from
    while at < len(data):
        at += length(data, at)[0]
        found += 1
    return found


def _assert_equal(source: Path, folder: Path) -> None:
    """The same lines, byte by byte; and in Parquet the same values as in the decoded documents. Raises ``AssertionError``."""
    spool = folder / "equal"
    spool.mkdir()
    found = _convert(source, spool)
    _peer(source, folder / "peer.jsonl")
    assert found.lines is not None
    with gzip.open(found.lines, "rb") as ours, (folder / "peer.jsonl").open("rb") as theirs:
        for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
            assert mine == other, f"line {number} differs from the peer's: {mine[:300]!r} and {other[:300]!r}"
    rows = pa.concat_tables([pq.read_table(path) for path in found.parquet]).sort_by("_id")
    with source.open("rb") as stream:
        documents = sorted(bson.decode_file_iter(stream, CODEC), key=lambda document: document["_id"])
    assert rows.num_rows == len(documents) == DOCUMENTS
    values: dict[str, Callable[[dict[str, Any]], Any]] = {
        "_id": lambda document: str(document["_id"]),
        "body": lambda document: document["body"],
        "created_at": lambda document: document["created_at"],
        "votes__up": lambda document: document["votes"]["up"],
        "votes__count": lambda document: document["votes"]["count"],
        "group_id": lambda document: document.get("group_id"),
        "price": lambda document: str(document["price"]) if "price" in document else None,
    }
    for name, value in values.items():
        assert rows.column(name).to_pylist() == [value(document) for document in documents], f"column {name} differs from the documents"
    shutil.rmtree(spool)
