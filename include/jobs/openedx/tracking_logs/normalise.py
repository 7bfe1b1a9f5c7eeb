"""One log file after the other: read, normalised, written, counted. Reading, compressing and writing happen in threads beside the parsing,
since their libraries let Python go on meanwhile; a single file thus uses about two cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pyarrow as pa

from include.jobs.openedx.tracking_logs.blocks import TIMESTAMP, Parsed, parse_block
from include.jobs.openedx.tracking_logs.landing import EventsWriter, Landing, QuarantineWriter
from include.jobs.openedx.tracking_logs.reading import GZIP, Block, Refused, UnreadableError, read_blocks
from include.jobs.openedx.tracking_logs.sources import Prefix, Source
from include.jobs.openedx.tracking_logs.table import COLUMNS
from include.lake.files import PartitionWriter

DEPTH = 1
"""Blocks that reading may be ahead of the parsing, and writing behind it."""
FETCH_BYTES = 8 << 20
_DAY = 86_400_000_000  # microseconds

T = TypeVar("T")
P = ParamSpec("P")
_END: Any = object()


@dataclass(frozen=True)
class FileOutcome:
    """What one log file held. ``bytes`` are those of its text, times ISO texts; ``unreadable`` says why the whole file was refused.

    ``other_day`` counts events whose own day, in UTC, is not the file's. ``objects`` and ``quarantine`` are addresses.
    """

    name: str
    size: int
    tag: str
    bytes: int = 0
    lines: int = 0
    events: int = 0
    quarantined: int = 0
    blank: int = 0
    other_day: int = 0
    first: str | None = None
    last: str | None = None
    objects: tuple[str, ...] = ()
    quarantine: tuple[str, ...] = ()
    unreadable: str | None = None

    def to_json(self) -> dict[str, Any]:
        """For results and manifests."""
        return asdict(self)


@dataclass(frozen=True)
class Rows:
    """Where the events of a day's files become rows of the table."""

    writer: PartitionWriter
    day: date
    retrieved_at: datetime

    def write(self, source: str, parsed: Parsed) -> None:
        """Adds the events of a block of the file ``source``."""
        for part in parsed.columns:
            count = len(part.times)
            columns = part.arrays | {
                "log_day": pa.repeat(pa.scalar(self.day, pa.date32()), count),
                "time": pa.array(part.times).cast(TIMESTAMP),
                "source_object": pa.repeat(pa.scalar(source, pa.large_string()), count),
                "retrieved_at": pa.repeat(pa.scalar(self.retrieved_at, TIMESTAMP), count),
            }
            self.writer.write(pa.RecordBatch.from_arrays([columns[name] for name in COLUMNS], names=list(COLUMNS)))


def normalise(prefix: Prefix, source: Source, landing: Landing, rows: Rows | None) -> FileOutcome:
    """Reads one file to its end and writes what it holds. A file that cannot be read leaves nothing in ``landing`` but its record in the
    quarantine; the rows that were written before must not be committed."""
    fs, _ = prefix.open()
    address = prefix.name_of(source)
    events, quarantine = EventsWriter(landing.data), QuarantineWriter(landing.quarantine)
    count = _Count(landing.day)
    try:
        with fs.open(source.path, "rb", block_size=FETCH_BYTES) as stream, Behind() as to_landing, Behind() as to_table:
            gzip = stream.read(len(GZIP)) == GZIP or source.name.endswith(".gz")
            stream.seek(0)
            for item in ahead(read_blocks(stream, address, gzip=gzip)):
                if isinstance(item, Refused):
                    quarantine.write([item.record(address)])
                    count.refused(item)
                    continue
                parsed = parse_block(item)
                if not gzip:
                    _check_end(address, item, parsed)
                quarantine.write(one.record(address) for one in parsed.refused)
                count.block(item, parsed)
                pa.default_memory_pool().release_unused()  # of the block before; or an event of 10 MB leaves its buffers behind in every process
                to_landing.do(events.write, parsed.text)
                if rows is not None:
                    to_table.do(rows.write, source.name, parsed)
    except UnreadableError as error:
        events.abort()
        quarantine.write([Refused(error.offset, source.size, f"{error.reason}; {error.position} bytes of the object were read", b"").record(address)])
        return FileOutcome(source.name, source.size, source.tag, quarantine=tuple(quarantine.close()), unreadable=str(error))
    except BaseException:
        events.abort()
        raise
    return count.outcome(source, tuple(events.close()), tuple(quarantine.close()))


def _check_end(address: str, block: Block, parsed: Parsed) -> None:
    """Raises :class:`UnreadableError` when a plain file ends within a line: it was cut, or is still being written."""
    end = block.offset + len(block.data)
    if block.open_end and parsed.refused and parsed.refused[-1].offset + parsed.refused[-1].length >= end:
        last = parsed.refused[-1]
        raise UnreadableError(address, last.offset, end, f"the file ends within a line ({last.reason})")


class _Count:
    def __init__(self, day: date) -> None:
        self._begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
        self.bytes = self.lines = self.events = self.quarantined = self.blank = self.other_day = 0
        self.first: int | None = None
        self.last: int | None = None

    def refused(self, line: Refused) -> None:
        self.bytes += line.length + 1
        self.lines += 1
        self.quarantined += 1

    def block(self, block: Block, parsed: Parsed) -> None:
        self.bytes += len(block.data)
        self.lines += parsed.events + len(parsed.refused) + parsed.blank
        self.events += parsed.events
        self.quarantined += len(parsed.refused)
        self.blank += parsed.blank
        for times in (part.times for part in parsed.columns if len(part.times)):
            first, last = int(times.min()), int(times.max())
            self.first = first if self.first is None else min(self.first, first)
            self.last = last if self.last is None else max(self.last, last)
            self.other_day += int(np.count_nonzero((times < self._begin) | (times >= self._begin + _DAY)))

    def outcome(self, source: Source, objects: tuple[str, ...], quarantine: tuple[str, ...]) -> FileOutcome:
        return FileOutcome(
            name=source.name,
            size=source.size,
            tag=source.tag,
            bytes=self.bytes,
            lines=self.lines,
            events=self.events,
            quarantined=self.quarantined,
            blank=self.blank,
            other_day=self.other_day,
            first=_iso(self.first),
            last=_iso(self.last),
            objects=objects,
            quarantine=quarantine,
        )


def _iso(microseconds: int | None) -> str | None:
    return None if microseconds is None else datetime.fromtimestamp(microseconds / 1_000_000, UTC).isoformat(timespec="milliseconds")


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The items, made in a thread of their own, at most ``DEPTH`` of them before they are asked for."""
    with ThreadPoolExecutor(1, "ahead") as pool:
        pending = deque(pool.submit(next, items, _END) for _ in range(DEPTH))
        while (item := pending.popleft().result()) is not _END:
            pending.append(pool.submit(next, items, _END))
            yield item


class Behind:
    """Does things in a thread of its own, in their order, at most ``DEPTH`` behind; an error comes up at the next call or at the end."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "behind")
        self._pending: deque[Future[None]] = deque()

    def do(self, function: Callable[P, None], *arguments: P.args, **options: P.kwargs) -> None:
        """Calls the function, some time later."""
        self._pending.append(self._pool.submit(function, *arguments, **options))
        if len(self._pending) > DEPTH:
            self._pending.popleft().result()

    def __enter__(self) -> Behind:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        while self._pending and kind is None:
            self._pending.popleft().result()
