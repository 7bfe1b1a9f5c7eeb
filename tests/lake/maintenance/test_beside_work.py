"""R-15: eight readers of old snapshots and four writers go on while maintenance runs again and again, with nights of seconds instead of days."""

from __future__ import annotations

import re
import subprocess
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trino
from pyiceberg.table import Table
from trino.exceptions import Error as TrinoError

from include.lake.catalog import ensure_table
from include.lake.maintenance.model import Outcome, Policy
from include.lake.maintenance.quarantine import quarantine_of
from include.lake.maintenance.run import Lake, Work
from include.lake.names import TableRef
from include.lake.writes import CommitConflictError, append_once
from include.local.platform import Platform
from tests.dbt.project import command
from tests.lake.conftest import CATALOG, ROWS
from tests.variables import without_platform

from .conftest import POLICY, Night, content, rows

pytestmark = [pytest.mark.lake, pytest.mark.timeout(1800)]

READERS = ("pyiceberg",) * 5 + ("trino",) * 3
WRITES = {"pyiceberg 1": 1000, "pyiceberg 2": 2000, "trino": 3000, "dbt": 4000}  # where each one's numbers begin
ORPHAN_AGE, RETENTION, WRITE = 16.0, 18.0, 0.5  # seconds; on a machine that needs longer for a write than the last one, everything takes longer
LOST = re.compile(r"ICEBERG_COMMIT_ERROR|ICEBERG_CATALOG_ERROR|TRANSACTION_CONFLICT|[Ff]ailed to commit")  # another writer was faster
SHIFT = timedelta(hours=1)  # the rules are longer than an hour, and the run's clock is an hour ahead: what is young here is young by any clock
PROJECT = {
    "dbt_project.yml": "{name: beside, version: '1.0', profile: beside, model-paths: [models]}",
    "models/busy.sql": """{{ config(materialized='incremental', incremental_strategy='append') }}
SELECT CAST({{ var('batch') }} AS bigint) AS batch, CAST(0 AS bigint) AS number, 'dbt' AS text
""",
    "profiles.yml": """beside:
  target: local
  outputs:
    local: {{type: trino, method: none, host: {host}, port: {port}, user: {user}, database: {catalog}, schema: {schema}, http_scheme: http, threads: 1}}
""",
}


@dataclass(frozen=True)
class Hold:
    """A snapshot that a reader holds since a moment of the monotonic clock: the table's metadata as it was, and what the first read has found."""

    table: Table
    snapshot: int
    since: float
    content: list[int]

    @property
    def age(self) -> float:
        """Seconds. However old the snapshot was when its reader came: nobody had replaced it then."""
        return time.monotonic() - self.since


@dataclass
class Busy:
    """One table, and those who work with it."""

    night: Night
    lake: Platform
    ref: TableRef
    project: Path
    slow: float = 1.0
    stop: threading.Event = field(default_factory=threading.Event)
    failures: list[BaseException] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    reads: Counter[int] = field(default_factory=Counter)
    tried: set[int] = field(default_factory=set)
    acknowledged: dict[str, list[int]] = field(default_factory=lambda: {name: [] for name in WRITES})

    @property
    def retention(self) -> float:
        """Seconds."""
        return RETENTION * self.slow

    @property
    def promised(self) -> float:
        """Seconds for which a reader may count on a snapshot. Retention begins when its successor is made, which readers see only when that is committed."""
        return self.retention - 3.0 * self.slow

    @property
    def policy(self) -> Policy:
        ages = {"retention": timedelta(seconds=self.retention) + SHIFT, "orphan_age": timedelta(seconds=ORPHAN_AGE * self.slow) + SHIFT}
        return replace(POLICY, **ages, small_files=6)

    def guarded(self, work: Callable[..., None], *arguments: Any) -> threading.Thread:
        """A thread whose failure is judged at the end."""

        def run() -> None:
            try:
                work(*arguments)
            except BaseException as error:  # noqa: BLE001 - judged at the end
                self.failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def ask(self, statement: str) -> list[list[Any]]:
        """One statement on a connection of its own."""
        where = self.lake.trino
        with trino.dbapi.connect(host=where.host, port=where.port, user=where.user, catalog=where.catalog, http_scheme=where.http_scheme) as opened:
            cursor = opened.cursor()
            cursor.execute(statement)
            return cursor.fetchall()

    # --- readers ------------------------------------------------------------------------------------

    def read_again_and_again(self, number: int, engine: str) -> None:
        """Holds one snapshot after another for as long as anybody promised to keep it."""
        self.stop.wait(number * self.retention / len(READERS))  # so that they hold different ones
        while not self.stop.is_set():
            hold = self._present()
            self.holds.append(hold)
            while hold.age < self.promised and not self.stop.wait(0.2):
                try:
                    found = content(hold.table, hold.snapshot) if engine == "pyiceberg" else self._by_trino(hold.snapshot)
                except Exception:
                    if hold.age < self.promised:
                        raise
                    break
                assert found == hold.content, f"snapshot {hold.snapshot} has changed"
                self.reads[number] += 1

    def _present(self) -> Hold:
        """What the table shows at present."""
        since = time.monotonic()
        table = self.night.catalog.load_table(self.ref.identifier)
        snapshot = table.metadata.current_snapshot_id
        return Hold(table, snapshot, since, content(table, snapshot))

    def _by_trino(self, snapshot: int) -> list[int]:
        return [row[0] for row in self.ask(f"SELECT batch FROM {self.ref.sql} FOR VERSION AS OF {snapshot} ORDER BY 1")]

    # --- writers ------------------------------------------------------------------------------------

    def write_until(self, end: float, writer: str) -> None:
        """Writes one number after the other, and knows which were acknowledged. Each is tried once: after an error it may be there or not."""
        write = {"trino": self.by_trino, "dbt": self.by_dbt}.get(writer, self.by_pyiceberg)
        number = WRITES[writer]
        while time.monotonic() < end or not self.acknowledged[writer]:
            self.tried.add(number)
            if write(number):
                self.acknowledged[writer].append(number)
            number += 1
            time.sleep(0.2)

    def by_pyiceberg(self, number: int) -> bool:
        """Again under the same key after a conflict, as a task's retry would. No write takes as long as files have to be old to be taken away."""
        patience = ORPHAN_AGE * self.slow / 2
        while True:
            with suppress(CommitConflictError):
                return append_once(self.night.catalog.load_table(self.ref.identifier), rows(number), f"beside:{number}", patience=patience).committed

    def by_trino(self, number: int) -> bool:
        """One INSERT."""
        try:
            self.ask(f"INSERT INTO {self.ref.sql} VALUES ({number}, 0, 'trino')")
        except TrinoError as error:
            if not LOST.search(str(error)):
                raise
            return False
        return True

    def by_dbt(self, number: int) -> bool:
        """One run of an incremental model that is this table."""
        run = command(self.project / "target", "run", "--vars", f"{{batch: {number}}}", project=self.project, profiles=self.project)
        done = subprocess.run(run, env=without_platform(DO_NOT_TRACK="1"), capture_output=True, text=True, check=False, timeout=600)
        assert done.returncode == 0 or LOST.search(done.stdout), done.stdout[-3000:] + done.stderr[-2000:]
        return done.returncode == 0

    # --- maintenance --------------------------------------------------------------------------------

    def maintain(self, ahead: timedelta = SHIFT) -> Outcome:
        """One night; nothing may go wrong but that somebody else was faster."""
        lake = Lake(self.night.catalog, self.night.engine, "ol_warehouse")
        tables = lake.tables([self.ref.schema])
        work = [Work(one, self.policy) for one in tables[self.ref.schema] if one.table == self.ref.table]
        (outcome,) = lake.maintain(tables, work, {}, datetime.now(UTC) + ahead).outcomes
        assert not outcome.error or "BusyTable" in outcome.error or LOST.search(outcome.error), outcome.error
        return outcome


@pytest.fixture
def busy(trino_night: Night, lake: Platform, tmp_path: Path) -> Busy:
    """A table with a few snapshots, and how slow writes are on this machine."""
    found = Busy(trino_night, lake, TableRef(CATALOG, trino_night.schema, "busy"), tmp_path)
    where = lake.trino
    address = {"host": where.host, "port": where.port, "user": where.user, "catalog": where.catalog, "schema": trino_night.schema}
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text.format(**address) if name == "profiles.yml" else text, encoding="utf-8")
    ensure_table(trino_night.catalog, found.ref, ROWS)
    for number in range(3):
        begin = time.monotonic()
        assert found.by_trino(number)
        assert found.by_pyiceberg(10 + number)
        found.slow = max(1.0, (time.monotonic() - begin) / (2 * WRITE))
    return found


def test_readers_and_writers_beside_maintenance(busy: Busy) -> None:
    """Nobody within retention loses a file, what was acknowledged is stored once, and quarantine brings back every snapshot that ever was held."""
    before = [0, 1, 2, 10, 11, 12]
    end = time.monotonic() + 1.8 * busy.retention
    writers = [busy.guarded(busy.write_until, end, writer) for writer in WRITES]
    readers = [busy.guarded(busy.read_again_and_again, number, engine) for number, engine in enumerate(READERS)]
    nights = []
    while any(thread.is_alive() for thread in writers) or len(nights) < 3:
        nights.append(busy.maintain())
    busy.stop.set()
    for thread in readers:
        thread.join(120)
    assert not busy.failures, "\n".join("".join(traceback.format_exception(error)) for error in busy.failures)
    assert {number for number, reads in busy.reads.items() if reads} == set(range(len(READERS))), "every reader has read"
    assert sum(night.expired for night in nights) > 0
    assert any("optimise" in night.done for night in nights)

    stored = Counter(content(busy.night.catalog.load_table(busy.ref.identifier)))
    acknowledged = [number for numbers in busy.acknowledged.values() for number in numbers]
    assert {writer for writer, numbers in busy.acknowledged.items() if numbers} == set(WRITES)
    assert {number: stored[number] for number in acknowledged} == dict.fromkeys(acknowledged, 1), "acknowledged is stored, once"
    assert set(stored) - set(before) <= busy.tried
    assert set(stored.values()) == {1}

    nights.append(busy.maintain(SHIFT + timedelta(hours=1)))  # nobody holds anything any more
    table = busy.night.catalog.load_table(busy.ref.identifier)
    gone = [hold for hold in busy.holds if table.metadata.snapshot_by_id(hold.snapshot) is None]
    assert len(gone) >= len(READERS) / 2
    with pytest.raises(FileNotFoundError):
        content(gone[0].table, gone[0].snapshot)
    quarantine = quarantine_of(busy.night.catalog)
    files = [one for one in quarantine.files() if one.origin.startswith(f"{table.location()}/")]
    assert len(files) == sum(night.moved for night in nights)
    assert quarantine.restore(files) == len(files)
    assert [hold.snapshot for hold in busy.holds if content(hold.table, hold.snapshot) != hold.content] == []
    told = ", ".join(f"{writer} {len(numbers)}" for writer, numbers in busy.acknowledged.items())
    print(f"{len(nights)} nights, {len(busy.holds)} snapshots held, {busy.reads.total()} reads, writes: {told}; {len(files)} files back, slow {busy.slow:.1f}")
