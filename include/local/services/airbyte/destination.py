"""Iceberg commits of one stream: append, replace or merge, in one snapshot that names its job.

As Airbyte's S3 Data Lake destination does, rows go to the branch ``airbyte_staging`` and main is moved there when the stream is complete. Here both
happen in one atomic commit, so a kill never leaves main behind; the fault ``main_behind`` does it on purpose. The next sync goes on from the staging branch.

The snapshot's summary is the truth about what was read: it carries the job (``run-key``), the job's unique ``airbyte-run-id``, cursor and generation, so
a service killed between the commit and saving its state finds both again.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import ArrowScan, _dataframe_to_data_files, bin_pack_record_batches, schema_to_pyarrow
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import AssertRefSnapshotId, AssertTableUUID, SetSnapshotRefUpdate, TableRequirement, TableUpdate, update_table_metadata
from pyiceberg.types import BooleanType, DateType, DecimalType, DoubleType, IcebergType, LongType, NestedField, StringType, TimestampType, TimestamptzType

from include.lake.catalog import ensure_schema, ensure_table
from include.lake.names import TableRef

MAIN = "main"
STAGING = "airbyte_staging"
METADATA_COLUMNS = ("_airbyte_raw_id", "_airbyte_extracted_at", "_airbyte_meta", "_airbyte_generation_id")
FILE_BYTES = 64 * 1024 * 1024  # uncompressed size of one data file: what one stream holds in memory
_PROPERTIES = {"write.target-file-size-bytes": str(FILE_BYTES)}
_UNLIMITED: dict[str, None] = {"max_ref_age_ms": None, "max_snapshot_age_ms": None, "min_snapshots_to_keep": None}
_ROW = "_airbyte_row_number"
_TYPES: tuple[tuple[Callable[[pa.DataType], bool], IcebergType], ...] = (
    (pa.types.is_integer, LongType()),
    (pa.types.is_floating, DoubleType()),
    (pa.types.is_decimal, DecimalType(38, 9)),
    (pa.types.is_boolean, BooleanType()),
    (pa.types.is_date, DateType()),
    (lambda kind: pa.types.is_timestamp(kind) and kind.tz is not None, TimestamptzType()),
    (pa.types.is_timestamp, TimestampType()),
    (pa.types.is_string, StringType()),
)


class DestinationError(RuntimeError):
    """The table cannot take the stream: a column changed its type, or the branches have diverged."""


Summary = Callable[[], Mapping[str, str]]


@dataclass(frozen=True)
class Batches:
    """Rows on their way: their schema, and record batches that are read once."""

    schema: pa.Schema
    rows: Iterator[pa.RecordBatch]


@dataclass(frozen=True)
class Base:
    """A table and the snapshot of its staging branch that the next commit builds on."""

    table: Table
    snapshot: Snapshot | None

    @property
    def summary(self) -> Mapping[str, str]:
        """The summary of the newest snapshot in this lineage that Airbyte wrote; empty if none is left."""
        snapshots = {snapshot.snapshot_id: snapshot for snapshot in self.table.metadata.snapshots}
        current = self.snapshot
        while current is not None:
            properties = current.summary.additional_properties if current.summary else {}
            if "airbyte-run-id" in properties:
                return {**properties, "snapshot-id": str(current.snapshot_id)}
            current = snapshots.get(current.parent_snapshot_id) if current.parent_snapshot_id is not None else None
        return {}


def iceberg_type(kind: pa.DataType) -> IcebergType:
    """The Iceberg type of an Arrow type that a source yields."""
    return next(iceberg for fits, iceberg in _TYPES if fits(kind))


def stream_schema(source: pa.Schema) -> pa.Schema:
    """A raw table's columns: Airbyte's four, then the source's own."""
    own = [field for field in source if field.name not in METADATA_COLUMNS]
    types = (pa.string(), pa.timestamp("us", tz="UTC"), pa.string(), pa.int64())
    return pa.schema([*zip(METADATA_COLUMNS, types, strict=True), *((field.name, field.type) for field in own)])


class Destination:
    """Raw tables of one Iceberg catalog; ``name`` is the catalog's name in :class:`TableRef`.

    Commits raise pyiceberg's ``CommitFailedException`` when somebody else moved a branch meanwhile, and then leave no data file behind.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._creating = threading.Lock()  # two streams that make the same schema at once collide in the catalog's tables

    def open(self, identifier: tuple[str, str], *, discard_staging: bool = False) -> Base | None:
        """A table and the snapshot to build on, or ``None`` when there is no such table.

        Raises ``DestinationError`` for diverged branches, unless ``discard_staging`` says to go on from main whatever staging has.
        """
        try:
            table = self._catalog.load_table(identifier)
        except NoSuchTableError:
            return None
        return Base(table, table.snapshot_by_name(MAIN) if discard_staging else _base(table))

    def create(self, identifier: tuple[str, str], schema: pa.Schema) -> Base:
        """An empty table (and its schema, when absent) with the given columns; somebody else's when they were faster."""
        fields = [NestedField(number, field.name, iceberg_type(field.type), required=False) for number, field in enumerate(schema, start=1)]
        with self._creating:
            ensure_schema(self._catalog, identifier[0])
        table = ensure_table(self._catalog, TableRef(self._catalog.name, *identifier), Schema(*fields), properties=_PROPERTIES)
        return Base(table, _base(table))

    def append(self, base: Base, batches: Batches, summary: Summary, advance_main: bool = True) -> int | None:
        """Adds rows; the new snapshot's id. Commits nothing, and answers ``None``, when there are none and the table already has a snapshot."""
        return self._commit(base, batches, list, summary, advance_main, skip_empty=base.snapshot is not None)

    def replace(self, base: Base, batches: Batches, summary: Summary, advance_main: bool = True) -> int | None:
        """Exchanges all rows for the given ones; readers see the old or the new ones, never less. The new snapshot's id."""
        return self._commit(base, batches, lambda: [task.file for task in _tasks(base)], summary, advance_main, skip_empty=False)

    def merge(self, base: Base, batches: Batches, keys: tuple[str, ...], summary: Summary, advance_main: bool = True) -> int | None:
        """Adds rows and removes those with the same keys: files that hold such rows are written anew without them. The new snapshot's id.

        The keys of the new rows and one file at a time are held in memory, nothing else. The new rows must have distinct keys.
        """
        removed: list[DataFile] = []
        merged = Batches(batches.schema, _merged(base, batches.rows, keys, removed))
        return self._commit(base, merged, lambda: removed, summary, advance_main, skip_empty=base.snapshot is not None)

    def _commit(
        self, base: Base, batches: Batches, removed: Callable[[], list[DataFile]], summary: Summary, advance_main: bool, *, skip_empty: bool
    ) -> int | None:
        """Writes files, then commits them with ``removed()`` and ``summary()``, both asked once all rows have passed."""
        table = base.table
        transaction = _Transaction(table)
        _evolve(transaction, batches.schema)
        added: list[DataFile] = []
        try:
            _write(transaction.table_metadata, table.io, batches.rows, added)
            gone = removed()
            if skip_empty and not added and not gone:
                return None
            snapshot_id = _stage_snapshot(transaction, base, added=added, removed=gone, summary=summary(), advance_main=advance_main)
            requirements = _requirements(transaction, table.metadata)
        except BaseException:  # cancellation included: nothing names these files
            _discard(table, added)
            raise
        try:
            self._catalog.commit_table(table, requirements, transaction._updates)
        except CommitFailedException:  # any other error may have come after the commit: its files must stay
            _discard(table, added)
            raise
        return snapshot_id


class _Transaction(Transaction):
    """pyiceberg copies the whole metadata at every look, twenty times a commit; here once for every staged change."""

    _seen: tuple[tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The table as it will be with the changes staged so far."""
        if not self._updates:
            return self._table.metadata
        if self._seen is None or self._seen[0] is not self._updates:
            self._seen = (self._updates, update_table_metadata(self._table.metadata, self._updates))
        return self._seen[1]


def _write(metadata: TableMetadata, io: FileIO, rows: Iterator[pa.RecordBatch], added: list[DataFile]) -> None:
    """Writes Parquet files of about ``FILE_BYTES`` (uncompressed) one after the other; they are named in ``added`` as soon as they exist."""
    target = schema_to_pyarrow(metadata.schema(), include_field_ids=False)
    write_id, counter = uuid.uuid4(), itertools.count()
    for batches in bin_pack_record_batches((_conformed(batch, target) for batch in rows), FILE_BYTES):
        added.extend(_dataframe_to_data_files(metadata, pa.Table.from_batches(batches), io, write_id, counter))


def _conformed(batch: pa.RecordBatch, target: pa.Schema) -> pa.RecordBatch:
    """A batch in the table's own column order; columns that the source has lost become null."""
    columns = [batch.column(field.name).cast(field.type) if field.name in batch.schema.names else pa.nulls(batch.num_rows, field.type) for field in target]
    return pa.RecordBatch.from_arrays(columns, schema=target)


def _base(table: Table) -> Snapshot | None:
    """The staging branch's snapshot when main is its ancestor (or it has none), otherwise main's."""
    main, staging = table.snapshot_by_name(MAIN), table.snapshot_by_name(STAGING)
    if staging is None or main is None or main.snapshot_id == staging.snapshot_id:
        return staging or main
    snapshots = {snapshot.snapshot_id: snapshot for snapshot in table.metadata.snapshots}
    whole_staging, in_staging = _descends(snapshots, staging, main)
    whole_main, in_main = _descends(snapshots, main, staging)
    if in_staging or in_main:
        return staging if in_staging else main
    if whole_staging and whole_main:
        raise DestinationError(f"{'.'.join(table.name())}: branch {STAGING} and main have diverged: cannot fast-forward main; reset the connection")
    # maintenance has expired the snapshots between the two, so the later one comes after the other
    return max(staging, main, key=lambda snapshot: snapshot.sequence_number or 0)


def _descends(snapshots: dict[int, Snapshot], child: Snapshot, ancestor: Snapshot) -> tuple[bool, bool]:
    """Whether the whole lineage of ``child`` is still there, and whether ``ancestor`` is in it."""
    current: Snapshot | None = child
    while current is not None:
        if current.snapshot_id == ancestor.snapshot_id:
            return True, True
        if current.parent_snapshot_id is None:
            return True, False
        current = snapshots.get(current.parent_snapshot_id)
    return False, False


def _tasks(base: Base) -> list[FileScanTask]:
    if base.snapshot is None:
        return []
    return list(base.table.scan(snapshot_id=base.snapshot.snapshot_id).plan_files())


def _evolve(transaction: Transaction, schema: pa.Schema) -> None:
    """Adds columns that the source has gained. Raises ``DestinationError`` for a column whose type changed."""
    known = {field.name: field.field_type for field in transaction.table_metadata.schema().fields}
    new = [field for field in schema if field.name not in known]
    for field in schema:
        wanted = iceberg_type(field.type)
        if field.name in known and known[field.name] != wanted:
            name = ".".join(transaction._table.name())
            raise DestinationError(f"{name}: column {field.name}: found {wanted} in the source; allowed: {known[field.name]}, as the table has it")
    if new:
        with transaction.update_schema() as update:
            for field in new:
                update.add_column(field.name, iceberg_type(field.type))


def _merged(base: Base, rows: Iterator[pa.RecordBatch], keys: tuple[str, ...], removed: list[DataFile]) -> Iterator[pa.RecordBatch]:
    """The new batches, then what is kept of every file that has rows with the same keys; those files go to ``removed``."""
    seen: list[pa.RecordBatch] = []
    for batch in rows:
        seen.append(batch.select(list(keys)))
        yield batch
    if not seen or base.snapshot is None:
        return
    fresh = pa.Table.from_batches(seen)
    for task in _tasks(base):
        kept = _kept(base.table, task, fresh, keys)
        if kept is not None:
            removed.append(task.file)
            yield from kept.to_batches()


def _kept(table: Table, task: FileScanTask, fresh: pa.Table, keys: tuple[str, ...]) -> pa.Table | None:
    """The rows of a file whose keys are not among the fresh ones; ``None`` when that is all of them."""
    metadata, schema = table.metadata, table.metadata.schema()
    names = list(keys)
    old = ArrowScan(metadata, table.io, schema.select(*names), AlwaysTrue()).to_table([task]).select(names)
    rows = pa.array(range(old.num_rows), pa.int64())
    hit = old.append_column(_ROW, rows).join(fresh.cast(old.schema), names, join_type="left semi").column(_ROW)
    if len(hit) == 0:
        return None
    whole = ArrowScan(metadata, table.io, schema, AlwaysTrue()).to_table([task])
    return whole.filter(pc.invert(pc.is_in(rows, value_set=hit.combine_chunks())))


def _stage_snapshot(
    transaction: Transaction, base: Base, *, added: list[DataFile], removed: list[DataFile], summary: Mapping[str, str], advance_main: bool
) -> int:
    """Stages the snapshot on the staging branch and, unless main is to stay behind, main on the snapshot. Answers the snapshot's id."""
    staging = base.table.metadata.refs.get(STAGING)
    branch = STAGING
    if base.snapshot is None and advance_main:
        branch = MAIN  # a table's first snapshot can only be written to main
    elif base.snapshot is None:
        with transaction.update_snapshot(branch=MAIN).fast_append() as empty:
            pass
        transaction._stage((_reference(STAGING, empty.snapshot_id),))
    elif staging is None or staging.snapshot_id != base.snapshot.snapshot_id:
        transaction._stage((_reference(STAGING, base.snapshot.snapshot_id),))
    update = transaction.update_snapshot(snapshot_properties=dict(summary), branch=branch)
    producer = update.overwrite() if removed else update.merge_append()
    with producer:
        for file in added:
            producer.append_data_file(file)
        for file in removed:
            producer.delete_data_file(file)
    if advance_main:
        transaction._stage((_reference(STAGING if branch == MAIN else MAIN, producer.snapshot_id),))
    return producer.snapshot_id


def _reference(name: str, snapshot_id: int) -> SetSnapshotRefUpdate:
    return SetSnapshotRefUpdate(ref_name=name, type=SnapshotRefType.BRANCH, snapshot_id=snapshot_id, **_UNLIMITED)


def _requirements(transaction: Transaction, before: TableMetadata) -> tuple[TableRequirement, ...]:
    """Neither branch may have moved since the table was read: pyiceberg itself would keep only one such condition per commit."""
    others = [requirement for requirement in transaction._requirements if not isinstance(requirement, AssertRefSnapshotId)]
    names = (MAIN, STAGING) if before.snapshots else (MAIN,)  # pyiceberg refuses a condition on another branch of an empty table
    branches = [AssertRefSnapshotId(ref=name, snapshot_id=before.refs[name].snapshot_id if name in before.refs else None) for name in names]
    return (*others, *branches, AssertTableUUID(uuid=before.table_uuid))


def _discard(table: Table, files: list[DataFile]) -> None:
    for file in files:
        with contextlib.suppress(FileNotFoundError):
            table.io.delete(file.file_path)
