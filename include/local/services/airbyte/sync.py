"""One stream of one job: read the source, commit to the lake, save the cursor. Doing it twice for one job changes nothing."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa
from pyiceberg.exceptions import CommitFailedException

from include.config.units import Stream
from include.config.vocabulary import SyncMode
from include.local.services.airbyte.connections import Connection
from include.local.services.airbyte.destination import Base, Batches, Destination, DestinationError, stream_schema
from include.local.services.airbyte.source import Boundary, CopyReader, Source, SourceError, SourceTable
from include.local.services.airbyte.store import Job, StreamResult, StreamState

COMMIT_ATTEMPTS = 5


@dataclass(frozen=True)
class Step:
    """What a stream needs: its job and connection, the source's address, the lake, its last state, and a check that raises to stop it.

    ``check`` is called between batches and right before the commit.
    """

    job: Job
    connection: Connection
    stream: Stream
    source_dsn: str = field(repr=False)
    destination: Destination
    state: StreamState | None
    check: Callable[[], None]


def run_stream(step: Step) -> StreamResult:
    """Brings one stream up to date and answers what was written.

    Raises ``SourceError`` and ``DestinationError`` for what no further attempt can mend, ``psycopg.OperationalError`` and ``OSError`` for what
    one may, and whatever ``step.check`` raises. The stream is read again when somebody else moved the table's branches meanwhile.
    """
    for attempt in range(1, COMMIT_ATTEMPTS + 1):
        try:
            return _attempt(step)
        except CommitFailedException as error:
            if attempt == COMMIT_ATTEMPTS:
                raise DestinationError(f"stream {step.stream.name}: {COMMIT_ATTEMPTS} commits lost against other writers: {error}") from error
            time.sleep(random.uniform(0.05, 0.1) * 2**attempt)
    raise AssertionError("unreachable")


def _attempt(step: Step) -> StreamResult:
    identifier = step.connection.identifier(step.stream)
    base = step.destination.open(identifier, discard_staging=step.job.job_type == "reset")
    if base is not None and base.summary.get("airbyte-run-id") == str(step.job.run_id):
        return _committed_before(step.stream, base.summary)
    if step.job.job_type == "reset":
        return _reset(step, base)
    with Source(step.source_dsn) as source:
        table = source.table(step.stream.name)
        if base is None:
            base = step.destination.create(identifier, stream_schema(table.schema()))
        return _Transfer(step, source, table, base, _state(step, base)).run()


def _state(step: Step, base: Base) -> StreamState | None:
    """The stream's state as its table tells it, else as the service saved it; none for a table that never had a snapshot."""
    if base.snapshot is None:
        return None
    summary = base.summary
    return _state_of(summary) if summary else step.state


def _state_of(summary: Mapping[str, str]) -> StreamState:
    return StreamState(
        cursor_value=summary.get("airbyte-cursor"),
        cursor_rows=int(summary.get("airbyte-cursor-rows", "0")),
        generation_id=int(summary["airbyte-generation-id"]),
        job_id=int(summary["airbyte-job-id"]),
    )


def _committed_before(stream: Stream, summary: Mapping[str, str]) -> StreamResult:
    """An earlier attempt of this job committed the stream and was killed before it could say so."""
    return StreamResult(stream.name, int(summary["airbyte-rows"]), int(summary["airbyte-bytes"]), int(summary["snapshot-id"]), _state_of(summary))


def _reset(step: Step, base: Base | None) -> StreamResult:
    """Removes all rows and forgets the cursor; the next sync starts from nothing, with a new generation."""
    generation = (step.state.generation_id if step.state else 1) + 1
    state = StreamState(None, 0, generation, step.job.job_id)
    if base is None or base.snapshot is None:
        return StreamResult(step.stream.name, 0, 0, None, state)
    step.check()
    snapshot_id = step.destination.replace(base, Batches(pa.schema([]), iter(())), lambda: _summary(step, state, 0, 0))
    return StreamResult(step.stream.name, 0, 0, snapshot_id, state)


def _summary(step: Step, state: StreamState, rows: int, size: int) -> dict[str, str]:
    summary = {
        "run-key": f"airbyte-job-{step.job.job_id}",
        "airbyte-job-id": str(step.job.job_id),
        "airbyte-run-id": str(step.job.run_id),
        "airbyte-sync-mode": step.stream.sync_mode.value,
        "airbyte-generation-id": str(state.generation_id),
        "airbyte-cursor-rows": str(state.cursor_rows),
        "airbyte-rows": str(rows),
        "airbyte-bytes": str(size),
    }
    if state.cursor_value is not None:
        summary["airbyte-cursor"] = state.cursor_value
    return summary


class _Transfer:
    """One read of a source table and one commit."""

    def __init__(self, step: Step, source: Source, table: SourceTable, base: Base, before: StreamState | None) -> None:
        self._step, self._source, self._table, self._base, self._before = step, source, table, base, before
        self._mode = step.stream.sync_mode
        self._duplicates = bool(step.job.faults.get("duplicate_rows")) and self._mode is not SyncMode.INCREMENTAL_DEDUPED
        self._rows = 0

    def run(self) -> StreamResult:
        """Reads, commits, and answers what was written."""
        stream, step = self._step.stream, self._step
        boundary = self._boundary()
        state = StreamState(boundary.value, boundary.rows, self._generation(), step.job.job_id)
        reader = self._reader(boundary)
        rows = self._decorated(reader, state.generation_id)
        batches = Batches(stream_schema(reader.schema), rows)
        advance_main = stream.name not in _behind(step)

        def summary() -> dict[str, str]:
            step.check()
            return _summary(step, state, self._rows, reader.bytes)

        if self._mode is SyncMode.FULL_REFRESH_OVERWRITE:
            snapshot_id = step.destination.replace(self._base, batches, summary, advance_main)
        elif self._mode is SyncMode.INCREMENTAL_DEDUPED:
            snapshot_id = step.destination.merge(self._base, batches, stream.primary_key, summary, advance_main)
        else:
            snapshot_id = step.destination.append(self._base, batches, summary, advance_main)
        return StreamResult(stream.name, self._rows, reader.bytes, snapshot_id, state if snapshot_id or self._before is None else self._before)

    def _generation(self) -> int:
        """A full refresh that overwrites starts a new generation every time; every other mode stays in its own."""
        before = self._before.generation_id if self._before else (self._step.state.generation_id if self._step.state else 0)
        return before + 1 if self._mode is SyncMode.FULL_REFRESH_OVERWRITE else max(before, 1)

    def _boundary(self) -> Boundary:
        cursor = self._step.stream.cursor
        if not self._mode.incremental or cursor is None:
            return Boundary(None, 0)
        found = self._source.boundary(self._table, cursor)
        if found.value is None and self._before is not None:  # every row with a cursor is gone from the source
            return Boundary(self._before.cursor_value, 0)
        return found

    def _reader(self, boundary: Boundary) -> CopyReader:
        """As Airbyte's PostgreSQL source does: rows above the saved cursor, and those at it again when their number has changed."""
        stream, before = self._step.stream, self._before
        distinct = stream.primary_key if self._mode is SyncMode.INCREMENTAL_DEDUPED else ()
        if stream.cursor is None or before is None or before.cursor_value is None or not self._mode.incremental:
            return self._source.read(self._table, stream.cursor, distinct=distinct)
        at = boundary if boundary.value == before.cursor_value else self._source.boundary(self._table, stream.cursor, at=before.cursor_value)
        if at.rows == before.cursor_rows and not self._duplicates:
            return self._source.read(self._table, stream.cursor, above=before.cursor_value, distinct=distinct)
        return self._source.read(self._table, stream.cursor, at_least=before.cursor_value, distinct=distinct)

    def _decorated(self, reader: CopyReader, generation: int) -> Iterator[pa.RecordBatch]:
        """The reader's batches with Airbyte's columns in front; every batch twice under the fault ``duplicate_rows``."""
        schema = stream_schema(reader.schema)
        extracted = datetime.now(UTC)
        meta = json.dumps({"sync_id": self._step.job.job_id, "changes": []})
        for batch in reader:
            self._step.check()
            count = batch.num_rows
            constants = [pa.repeat(pa.scalar(extracted, schema.types[1]), count), pa.repeat(meta, count), pa.repeat(pa.scalar(generation, pa.int64()), count)]
            decorated = pa.RecordBatch.from_arrays([batch.column(0), *constants, *batch.columns[1:]], schema=schema)
            for _ in range(2 if self._duplicates else 1):
                self._rows += count
                yield decorated


def _behind(step: Step) -> frozenset[str]:
    """Streams for which the fault ``main_behind`` leaves main where it is: those it lists, or all."""
    asked = step.job.faults.get("main_behind")
    if not asked:
        return frozenset()
    return frozenset(asked) if isinstance(asked, list) else frozenset(stream.name for stream in step.connection.unit.streams)


__all__ = ["DestinationError", "SourceError", "Step", "run_stream"]
