"""Writes and reads a table's data files without committing anything. Memory: one target file's worth of rows at a time.

pyiceberg's own streaming write hands every chunk of a reader to its thread pool at once, which holds the whole input in memory, and
refuses partitioned tables; here one chunk is written before the next is read.
"""

from __future__ import annotations

import contextlib
import itertools
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io import FileIO
from pyiceberg.io.fileformat import FileFormatFactory, FileFormatWriter
from pyiceberg.io.pyarrow import ArrowScan, _dataframe_to_data_files, schema_to_pyarrow
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.partitioning import PartitionFieldValue, PartitionKey
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table, TableProperties
from pyiceberg.table.locations import load_location_provider
from pyiceberg.table.metadata import TableMetadata

CHUNK_BYTES = 256 << 20
SMALL_BATCH = 1 << 16  # rows; below it, casting batch by batch costs more than copying them together
GROUP_BYTES = 64 << 20
FILE_BYTES = 2 << 30


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


class PartitionWriter:
    """Writes batches of one partition as data files that no snapshot names yet, a row group at a time; several may write for one commit.

    Takes a table's metadata and file access instead of the table, so that it works in a process without a catalog. ``partition`` gives
    the value of every partition field's source column, which all rows must have. Batches need the table's columns in the
    table's order. Memory: ``group_bytes`` of Arrow data and their compressed form. A file ends after ``file_bytes`` of Arrow data.
    """

    def __init__(
        self, metadata: TableMetadata, io: FileIO, partition: Mapping[str, Any], *, group_bytes: int = GROUP_BYTES, file_bytes: int = FILE_BYTES
    ) -> None:
        self._metadata, self._io = metadata, io
        self._schema = metadata.schema()
        self._columns = schema_to_pyarrow(self._schema)
        values = [PartitionFieldValue(field, partition[self._schema.find_column_name(field.source_id) or ""]) for field in metadata.spec().fields]
        self._key = PartitionKey(values, metadata.spec(), self._schema)
        self._locations = load_location_provider(metadata.location, metadata.properties)
        self._group_bytes, self._file_bytes = group_bytes, file_bytes
        self._id, self._numbers = uuid.uuid4(), itertools.count()
        self._held: list[pa.RecordBatch] = []
        self._held_bytes = self._file_so_far = 0
        self._writer: FileFormatWriter | None = None
        self._location = ""
        self.files: list[DataFile] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Adds rows."""
        if not batch.num_rows:
            return
        self._held.append(pa.RecordBatch.from_arrays(batch.columns, schema=self._columns))
        self._held_bytes += batch.nbytes
        if self._held_bytes >= self._group_bytes:
            self._flush()
            if self._file_so_far >= self._file_bytes:
                self._finish()

    def close(self) -> list[DataFile]:
        """Finishes the last file; all files written, none for no rows."""
        self._flush()
        self._finish()
        return self.files

    def abort(self) -> None:
        """Removes what was written; for when the rows are not wanted after all."""
        self._held.clear()
        with contextlib.suppress(OSError):  # a store that is away now keeps a file that no snapshot names; maintenance removes it
            self._finish()
            delete_files(self._io, self.files)
        self.files = []

    def _flush(self) -> None:
        if not self._held:
            return
        if self._writer is None:
            name = f"00000-{next(self._numbers)}-{self._id}.parquet"
            self._location = self._locations.new_data_location(name, self._key if self._key.field_values else None)
            model = FileFormatFactory.get(FileFormat.PARQUET)
            self._writer = model.create_writer(self._io.new_output(self._location), self._schema, self._metadata.properties)
        self._writer.write(pa.Table.from_batches(self._held))
        self._file_so_far += self._held_bytes
        self._held, self._held_bytes = [], 0

    def _finish(self) -> None:
        if self._writer is None:
            return
        writer, self._writer, self._file_so_far = self._writer, None, 0
        statistics = writer.close()
        self.files.append(
            DataFile.from_args(
                content=DataFileContent.DATA,
                file_path=self._location,
                file_format=FileFormat.PARQUET,
                partition=self._key.partition,
                file_size_in_bytes=len(self._io.new_output(self._location)),
                sort_order_id=None,
                spec_id=self._metadata.default_spec_id,
                equality_ids=None,
                key_metadata=None,
                **statistics.to_serialized_dict(),
            )
        )


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
