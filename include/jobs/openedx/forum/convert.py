"""One collection of a dump becomes a file of JSON lines and files of Parquet in a local folder.

The file is read once, in order; several threads convert its chunks side by side (numpy and Arrow work outside the interpreter's lock). Which columns
there are is known only at the end, so chunks wait as Arrow files in the folder and are arranged then. Memory: a few chunks of 4 MiB and one Parquet
file's rows for each thread.
"""

from __future__ import annotations

import base64
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from isal import igzip

from include.jobs.openedx.forum import kinds as k
from include.jobs.openedx.forum.chunks import Converted, convert
from include.jobs.openedx.forum.columns import Variant
from include.jobs.openedx.forum.elements import WrongLengthError
from include.jobs.openedx.forum.frames import CHUNK_BYTES, CutFileError, FrameReader, Frames
from include.jobs.openedx.forum.names import DOCUMENT_KEY, RETRIEVED_AT, SOURCE_SHA256
from include.jobs.openedx.forum.schema import Column, arrange, choose_columns, counts_of, schema_of

THREADS = 2
CHUNKS_OF_A_FILE = 8
"""Chunks in one Parquet file: about 32 MiB of BSON."""
GZIP_LEVEL = 1  # ISA-L's own scale: 1 GB/s; without the time of day, so that equal lines are equal objects

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True)
class ConvertedCollection:
    """What became of one collection. ``sha256``, ``size`` and ``documents`` describe its BSON; ``refused`` are lines for the quarantine.

    ``repeated`` counts documents whose ``_id`` a later document of the file has as well: all of them are in the files, the last one goes into the table.
    """

    sha256: str
    size: int
    documents: int
    repeated: int
    lines: Path | None
    parquet: tuple[Path, ...]
    refused: tuple[dict[str, Any], ...]


def convert_collection(
    stream: BinaryIO,
    source: str,
    spool: Path,
    taken_at: datetime,
    *,
    gzipped: bool = False,
    threads: int = THREADS,
    chunk_bytes: int = CHUNK_BYTES,
    lines: bool = True,
    tables: bool = True,
) -> ConvertedCollection:
    """Converts a whole collection; ``spool`` is an empty folder for its files. Raises :class:`.frames.CutFileError`; nothing of the file counts then."""
    reader = FrameReader(stream, source, gzipped=gzipped, chunk_bytes=chunk_bytes)
    counts: Counter[Variant] = Counter()
    refused: list[dict[str, Any]] = []
    path = spool / "lines.jsonl.gz" if lines else None
    waiting: list[Path] = []
    with ThreadPoolExecutor(threads) as pool:
        numbered = ((number, frames, spool) for number, frames in enumerate(reader))
        work = _Work(source, lines, tables)
        with (path or spool / "nothing").open("wb") as out:
            for done in _in_order(pool, work.chunk, numbered, threads + 2):
                out.write(done.lines)
                counts.update(done.counts)
                refused += done.refused
                waiting += done.tables
            if path is not None and not out.tell():
                out.write(igzip.compress(b"", GZIP_LEVEL, mtime=0))
        parquet = _Files(choose_columns(counts), spool, taken_at, reader.sha256).write_all(pool, waiting) if tables else []
    repeated = _repeated(parquet) if parquet else 0
    return ConvertedCollection(reader.sha256, reader.size, reader.documents, repeated, path, tuple(parquet), tuple(refused))


@dataclass(frozen=True)
class _Done:
    """One chunk: compressed lines, values of each variant, files of its tables, lines for the quarantine."""

    lines: bytes
    counts: Counter[Variant]
    tables: list[Path]
    refused: list[dict[str, Any]]


@dataclass(frozen=True)
class _Work:
    """What a thread does with a chunk."""

    source: str
    lines: bool
    tables: bool

    def chunk(self, given: tuple[int, Frames, Path]) -> _Done:
        number, frames, spool = given
        found = convert(frames.data, frames.starts, lines=self.lines, tables=self.tables)
        refused = list(self._refused(frames, found))
        counts: Counter[Variant] = Counter()
        files = []
        for part, table in enumerate(found.tables):
            counts.update(counts_of(table))
            files.append(spool / f"chunk-{number:06}-{part}.arrow")
            with pa.OSFile(str(files[-1]), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
                writer.write_table(table)
        return _Done(igzip.compress(found.lines, GZIP_LEVEL, mtime=0) if found.lines else b"", counts, files, refused)

    def _refused(self, frames: Frames, found: Converted) -> Iterator[dict[str, Any]]:
        for one in found.refused:
            offset = frames.offset + one.start
            if isinstance(one.error, WrongLengthError):
                raise CutFileError(self.source, offset, f"{one.error.reason}; its length is wrong, so what follows may be wrong as well")
            where = {"source": self.source, "offset": offset, "at": offset + one.error.at}
            yield {**where, "reason": one.error.reason, "document": base64.b64encode(one.raw).decode()}


def _in_order(pool: ThreadPoolExecutor, work: Callable[[Given], Made], given: Iterable[Given], ahead: int) -> Iterator[Made]:
    """Results in the order of what was given, at most ``ahead`` pieces of work at a time."""
    waiting: deque[Future[Made]] = deque()
    try:
        for one in given:
            waiting.append(pool.submit(work, one))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


@dataclass(frozen=True)
class _Files:
    """Writes a collection's Parquet files from its chunks' tables."""

    columns: tuple[Column, ...]
    spool: Path
    taken_at: datetime
    sha256: str

    def write_all(self, pool: ThreadPoolExecutor, chunks: list[Path]) -> list[Path]:
        """The files, several chunks in each; one without rows when there are no documents, since it still has a schema."""
        groups = [tuple(chunks[start : start + CHUNKS_OF_A_FILE]) for start in range(0, len(chunks), CHUNKS_OF_A_FILE)]
        return list(_in_order(pool, self._write, enumerate(groups or [()]), THREADS))

    def _write(self, given: tuple[int, tuple[Path, ...]]) -> Path:
        number, chunks = given
        path = self.spool / f"part-{number:06}.parquet"
        schema = schema_of(self.columns)
        pq.write_table(pa.concat_tables([schema.empty_table(), *(self._table(chunk).cast(schema) for chunk in chunks)]), path, compression="zstd")
        return path

    def _table(self, chunk: Path) -> pa.Table:
        with pa.memory_map(str(chunk)) as mapped:
            table = arrange(pa.ipc.open_file(mapped).read_all(), self.columns)
        chunk.unlink()
        moments = pa.repeat(pa.scalar(self.taken_at, k.TYPES[k.DATE]), table.num_rows)
        digests = pa.repeat(pa.scalar(self.sha256), table.num_rows)
        return table.append_column(RETRIEVED_AT, moments).append_column(SOURCE_SHA256, digests)


def _repeated(files: Iterable[Path]) -> int:
    keys = pa.chunked_array([chunk for file in files for chunk in pq.read_table(file, columns=[DOCUMENT_KEY]).column(0).chunks], pa.string())
    return len(keys) - int(pc.count_distinct(keys).as_py())
