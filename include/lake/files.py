"""Writes and reads a table's data files without committing anything. Memory: one target file's worth of rows at a time.

pyiceberg's own streaming write hands every chunk of a reader to its thread pool at once, which holds the whole input in memory, and
refuses partitioned tables; here one chunk is written before the next is read.
"""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import Iterable, Iterator

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import ArrowScan, _dataframe_to_data_files
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table, TableProperties

CHUNK_BYTES = 256 << 20
SMALL_BATCH = 1 << 16  # rows; below it, casting batch by batch costs more than copying them together


def write_files(table: Table, batches: Iterable[pa.RecordBatch]) -> list[DataFile]:
    """Writes batches of the table's own columns as data files that no snapshot names yet; nothing for no rows.

    When reading the batches or writing fails, the files written so far are removed and the error goes on.
    """
    target = int(table.properties.get(TableProperties.WRITE_TARGET_FILE_SIZE_BYTES, str(TableProperties.WRITE_TARGET_FILE_SIZE_BYTES_DEFAULT)))
    written: list[DataFile] = []
    with contextlib.ExitStack() as undo:
        undo.callback(lambda: delete_files(table.io, written))
        write_id, counter = uuid.uuid4(), itertools.count()
        for chunk in _chunks(batches, min(target, CHUNK_BYTES)):
            # private, as pyiceberg has no public way to write files without committing them: pin 0.12
            written.extend(_dataframe_to_data_files(table.metadata, chunk, table.io, write_id, counter))
        undo.pop_all()
    return written


def delete_files(io: FileIO, files: Iterable[DataFile]) -> None:
    """Removes files that no snapshot names; what is gone already is fine."""
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            io.delete(file.file_path)


def read_file(table: Table, task: FileScanTask, columns: Schema | None = None) -> pa.Table:
    """One data file's live rows in file order, all columns or those of ``columns``."""
    return ArrowScan(table.metadata, table.io, columns or table.schema(), AlwaysTrue()).to_table([task])


def size_of(files: Iterable[DataFile]) -> int:
    """Bytes of the files."""
    return sum(file.file_size_in_bytes for file in files)


def rows_of(files: Iterable[DataFile]) -> int:
    """Rows of the files."""
    return sum(file.record_count for file in files)


def _chunks(batches: Iterable[pa.RecordBatch], target: int) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        if not batch.num_rows:
            continue
        held.append(batch)
        size += batch.nbytes
        if size >= target:
            yield _together(held)
            held, size = [], 0
    if held:
        yield _together(held)


def _together(batches: list[pa.RecordBatch]) -> pa.Table:
    chunk = pa.Table.from_batches(batches)
    return chunk.combine_chunks() if chunk.num_rows < len(batches) * SMALL_BATCH else chunk
