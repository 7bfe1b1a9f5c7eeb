"""P5: a day of 400,000 tracking-log events, gzip to normalised gzip, and further into rows of an Iceberg table.

Ours is the job's own work on the day's files, in two processes that run already; the peer does the forerunner's statements in DuckDB
(:mod:`benchmarks.peers.tracking_logs_duckdb`); the limit inflates the same files with ISA-L in two processes. All on local files.
One event in a hundred is of an odd shape, but none is broken: DuckDB does not read a file with a line that is no object.
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import psutil
from isal import igzip
from pyiceberg.table.metadata import TableMetadata, new_table_metadata
from pyiceberg.table.sorting import UNSORTED_SORT_ORDER

from benchmarks.options import Options
from benchmarks.peers import tracking_logs_duckdb
from benchmarks.results import Case, Goal, Outcome, Series, alternate, seconds_text
from include.jobs.openedx.tracking_logs.landing import Landing
from include.jobs.openedx.tracking_logs.sources import Prefix, Source
from include.jobs.openedx.tracking_logs.table import PROPERTIES, SCHEMA, SPEC
from include.jobs.openedx.tracking_logs.workers import Done, Target, Task, Workers, share_out
from include.lake.catalog import TABLE_PROPERTIES
from include.lake.storage import LakeFileIO
from include.local.data.openedx_logs import DayLogs, invented_roster, write_day

EVENTS, SEED, DAY = 400_000, 5, date(2026, 3, 2)
FILES = (8, 1)
RATE = 450e6  # bytes of text a second
RATIO = 8.0
MEMORY = 600e6
REPEATS = 5
_TEXTS = ("username", "event_type", "event_source", "name", "session", "page", "host", "ip", "agent", "accept_language", "referer")


def measure(options: Options) -> Outcome:
    """Eight files, the case with the goal; one file; both also with the table."""
    with tempfile.TemporaryDirectory(prefix="ol-bench-") as folder, Workers() as workers, ProcessPoolExecutor(2, multiprocessing.get_context("fork")) as limit:
        cases = [case for files in FILES for case in _cases(Path(folder) / str(files), files, workers, limit, options.repeats or REPEATS)]
    return Outcome(tuple(cases), {"events": EVENTS, "seed": SEED, "files": FILES, "day": str(DAY)})


def _cases(folder: Path, files: int, workers: Workers, limit: ProcessPoolExecutor, repeats: int) -> Iterator[Case]:
    logs = write_day(folder / "source", invented_roster("mitxonline", seed=SEED, learners=4_000), DAY, seed=SEED, events=EVENTS, files=files, broken=False)
    bench = _Bench(folder, logs, workers, limit)
    bench.assert_equal()
    main = files == FILES[0]
    series = alternate(repeats, {"ours": bench.landing, "table": bench.table, "limit": bench.inflate})
    series |= alternate(min(3, repeats), {"peer": bench.peer})
    series |= {"plain": (bench.plain(),)} if main else {}
    inflate = Series(series["limit"], "ISA-L, two processes, into 1 MB buffers")
    peer = Series(series["peer"], "DuckDB, both steps")
    for name, seconds in (("", series["ours"]), ("table", series["table"])):
        memory = bench.memory(bench.table if name else bench.landing)
        ours = Series(seconds, "NDJSON.gz and the quarantine" + (", and data files of the table" if name else ""), details={"memory_bytes": memory})
        notes = _notes(ours, inflate, logs, memory) + ([f"plain Python with orjson {seconds_text(series['plain'][0])}"] if main and not name else [])
        goal = Goal(seconds=logs.bytes / RATE, ratio=RATIO) if not name else None
        label = "-".join(part for part in ("" if main else "1-file", name) if part)
        yield Case(ours, peer, inflate, goal if main else None, label, tuple(notes))
    shutil.rmtree(folder)


def _notes(ours: Series, limit: Series, logs: DayLogs, memory: int) -> list[str]:
    packed = sum(path.stat().st_size for path in logs.files)
    return [
        f"{logs.bytes / 1e6:.0f} MB of text in {packed / 1e6:.0f} MB, {len(logs.files)} files",
        f"{logs.bytes / ours.median / 1e6:.0f} MB/s of text",
        f"{limit.median / ours.median:.2f} of the inflate limit ({logs.bytes / limit.median / 1e6:.0f} MB/s)",
        f"memory {memory / 1e6:.0f} MB of {MEMORY / 1e6:.0f}",
    ]


@dataclass
class _Bench:
    """One set of files and all that is done with it."""

    folder: Path
    logs: DayLogs
    workers: Workers
    limit: ProcessPoolExecutor

    def landing(self) -> float:
        """Ours without a table."""
        return self._ours(None)[0]

    def table(self) -> float:
        """Ours with the data files of the table, but for the commit."""
        io = LakeFileIO({"local.root": str(self.folder / "lake")})
        seconds, _ = self._ours(Target(_metadata(), io, datetime.now(UTC)))
        shutil.rmtree(self.folder / "lake")
        return seconds

    def _ours(self, target: Target | None) -> tuple[float, Done]:
        shutil.rmtree(self.folder / "landing", ignore_errors=True)
        prefix = Prefix(str(self.folder / "source"))
        task = Task(prefix, prefix.list(DAY), Landing(str(self.folder / "landing"), "mitxonline", DAY), target)
        begin = time.perf_counter()
        done = self.workers.run(task)
        seconds = time.perf_counter() - begin
        assert sum(one.events for one in done.outcomes) == self.logs.events, "events were lost"
        assert sum(one.quarantined for one in done.outcomes) == self.logs.broken.total(), "broken lines were lost"
        return seconds, done

    def inflate(self) -> float:
        """The limit."""
        sources = [Source(str(path), str(path), path.stat().st_size, "") for path in self.logs.files]
        parts = [[source.path for source in part] for part in share_out(sources, 2)]
        begin = time.perf_counter()
        total = sum(self.limit.map(_inflate, parts))
        seconds = time.perf_counter() - begin
        assert total == self.logs.bytes
        return seconds

    def peer(self) -> float:
        """DuckDB; its output is gone afterwards."""
        begin = time.perf_counter()
        tracking_logs_duckdb.run(self.logs.files, self.folder / "peer")
        seconds = time.perf_counter() - begin
        shutil.rmtree(self.folder / "peer")
        return seconds

    def plain(self) -> float:
        """One process, a line at a time, Python's gzip and orjson."""
        import gzip

        begin = time.perf_counter()
        for path in self.logs.files:
            with gzip.open(path) as lines, gzip.open(self.folder / "plain.gz", "wb", compresslevel=1) as out:
                for line in lines:
                    try:
                        event = orjson.loads(line)
                    except orjson.JSONDecodeError:
                        continue
                    if isinstance(event, dict):
                        payload = event.get("event")
                        event["event"] = orjson.loads(payload) if isinstance(payload, str) and payload.startswith("{") else payload
                        out.write(orjson.dumps(event) + b"\n")
        return time.perf_counter() - begin

    def memory(self, work: Any) -> int:
        """The most memory that the benchmark's two reading processes have while they work, in bytes; pages that both share count once."""
        found, stop = [0], threading.Event()

        def sample() -> None:
            while not stop.wait(0.02):
                found[0] = max(found[0], sum(_memory(child.pid) for child in psutil.Process().children()))

        watcher = threading.Thread(target=sample)
        watcher.start()
        work()
        stop.set()
        watcher.join()
        return found[0]

    def assert_equal(self) -> None:
        """Ours and the peer's first step tell the same of every event but, at most, the awkward ones, which the peer gets wrong or leaves out."""
        _, done = self._ours(None)
        tracking_logs_duckdb.run(self.logs.files, self.folder / "peer")
        ours = _summary(Path(name) for one in done.outcomes for name in one.objects)
        theirs = _summary(self.folder / "peer" / "valid" / path.name for path in self.logs.files)
        shutil.rmtree(self.folder / "peer")
        odd = self.logs.awkward.total() + self.logs.broken.total()
        missing, wrong = (ours - theirs).total(), (theirs - ours).total()
        assert missing <= self.logs.awkward.total(), f"{missing} events of ours are not the peer's, though only {self.logs.awkward.total()} are awkward"
        assert wrong <= odd, f"{wrong} events of the peer are not ours, though only {odd} lines are odd"


def _inflate(paths: list[str]) -> int:
    buffer, total = bytearray(1 << 20), 0
    for path in paths:
        with igzip.open(path, "rb") as stream:
            while count := stream.readinto(buffer):
                total += count
    return total


def _metadata() -> TableMetadata:
    return new_table_metadata(SCHEMA, SPEC, UNSORTED_SORT_ORDER, "local:///logs", {**TABLE_PROPERTIES, **PROPERTIES})


def _memory(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)


def _summary(paths: Iterable[Path]) -> Counter[int]:
    """Events by a number that tells two apart: moment, texts, payload and context, however they are escaped."""
    found: Counter[int] = Counter()
    for path in paths:
        with igzip.open(path) as lines:
            for line in lines:
                event = json.loads(line)
                objects = [json.dumps(_object(event.get(name)), sort_keys=True) for name in ("event", "context")]
                found[hash((_moment(event["time"]), *(event.get(name) for name in _TEXTS), *objects))] += 1
    return found


def _object(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value


def _moment(text: str | None) -> Any:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return text
    return (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
