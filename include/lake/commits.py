"""Commits one change to a table exactly once, whatever happens around it.

pyiceberg answers a conflict by applying the same change again to whatever the table has become. That is right for blind appends
and wrong for everything that was decided by looking at the table: whether a run key is there already, which rows a merge must add,
which files an overwrite removes. Here every attempt looks at one snapshot, plans against it and commits only if main still stands there
(``AssertRefSnapshotId``, checked by the catalog's compare-and-swap); after a conflict it looks and plans again.

Why two live attempts of one key cannot both succeed: each commits against the snapshot in which it did not find the key; the first
one moves main, so the second conflicts, looks again, finds the key and stops. Where the catalog is PostgreSQL, keyed writers of a table
also take turns (:func:`include.lake.catalog.turn`), so a busy table is slow for all and impossible for none; nothing above rests on that.

A lost answer is not a failed commit. After a conflict and after a broken connection the table is asked whether our snapshot is there
(its id was chosen before), and files are removed only when it certainly is not.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from botocore.exceptions import BotoCoreError, ClientError
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import AssertTableUUID
from sqlalchemy.exc import SQLAlchemyError

from include.lake import runkeys
from include.lake.catalog import turn
from include.lake.files import delete_files, rows_of, size_of
from include.lake.fitting import table_name

log = logging.getLogger(__name__)

PATIENCE = 120.0
ATTEMPTS = 100
FIRST_WAIT, LONGEST_WAIT = 0.05, 1.0
UNCERTAIN = (SQLAlchemyError, BotoCoreError, ClientError, OSError)
"""Errors after which the catalog may or may not have taken the commit."""


class CommitConflictError(RuntimeError):
    """Other writers were faster until attempts or patience ran out. Nothing was written; trying again later is safe."""


@dataclass(frozen=True)
class WriteResult:
    """What a keyed write did.

    ``committed`` is false when nothing had to be written: the key is there already, or there was no difference to write. ``rows`` and
    ``bytes`` are then those of the first write under the key, or 0. ``rows`` counts rows added, ``replaced`` rows of the table that
    a merge or an overwrite took out. ``snapshot_id`` is main's, ``None`` only for a table that was never written.
    """

    snapshot_id: int | None
    rows: int
    bytes: int
    committed: bool
    replaced: int = 0


@dataclass(frozen=True)
class Change:
    """Files to add and to remove.

    ``planned`` are those of the added files that were written for this plan alone, worthless once the table has moved. ``moved`` rows of the
    added files were in the table before; ``replaced`` rows of the table go.
    """

    added: tuple[DataFile, ...] = ()
    removed: tuple[DataFile, ...] = ()
    planned: tuple[DataFile, ...] = ()
    moved: int = 0
    replaced: int = 0

    @property
    def rows(self) -> int:
        """New rows: those of the added files without the ones that only moved."""
        return rows_of(self.added) - self.moved


Plan = Callable[[Table], Change | None]


class _OneAttempt(Transaction):
    """A transaction that is committed once and never applied again; pyiceberg's internals, pinned at 0.12."""

    def __init__(self, table: Table, change: Change, run_key: str) -> None:
        super().__init__(table)
        update = self.update_snapshot(snapshot_properties={runkeys.SUMMARY_KEY: run_key})
        producer = update.overwrite() if change.removed else update.merge_append()
        for file in change.removed:
            producer.delete_data_file(file)
        for file in change.added:
            producer.append_data_file(file)
        known = runkeys.KnownWrite(producer.snapshot_id, change.rows, size_of(change.added))
        self.snapshot_id = producer.snapshot_id
        self._producer = producer
        producer.commit()
        self.set_properties(runkeys.remember(table.metadata, run_key, known))

    @property
    def table_metadata(self) -> TableMetadata:
        """The table with what is staged. pyiceberg copies all snapshots at every look, some fifteen times a commit: 0.25 s of 0.3 s at 300 snapshots."""
        return super().table_metadata if self._updates else self._table.metadata

    def commit_transaction(self) -> Table:
        requirements = (*self._requirements, AssertTableUUID(uuid=self._table.metadata.table_uuid))
        self._table._do_commit(self._updates, requirements)
        return self._table

    def remove_files(self) -> None:
        """Removes the manifests of an attempt that certainly did not become a snapshot."""
        self._producer._clean_all_uncommitted()


def commit_keyed(table: Table, run_key: str, plan: Plan, *, own: tuple[DataFile, ...] = (), patience: float = PATIENCE) -> WriteResult:
    """Commits what ``plan`` says under ``run_key``, unless the key is there already; ``table`` is refreshed on the way.

    ``plan`` gets the table as it is now and returns the change, or nothing when there is none to make; it is asked again after every
    conflict. ``own`` are files written beforehand: they are part of every plan's change and are removed when they turn out not to be needed.
    Raises :class:`CommitConflictError` after ``patience`` seconds or 100 attempts; other errors go on as they are.
    """
    deadline = time.monotonic() + patience
    work = _Work(table, run_key, plan, own, table.spec().spec_id)
    attempts = 0
    with turn(table.catalog, table.name(), patience / 2):
        while attempts == 0 or (attempts < ATTEMPTS and _wait(attempts, deadline)):
            attempts += 1
            if result := work.once():
                return result
    delete_files(table.io, own)
    raise CommitConflictError(f"{table_name(table)}: other writers were faster {attempts} times in {patience:.0f} s; nothing of {run_key} was written")


@dataclass(frozen=True)
class _Work:
    """One keyed change, to be tried until it is in the table or found there."""

    table: Table
    run_key: str
    plan: Plan
    own: tuple[DataFile, ...]
    spec_id: int

    def once(self) -> WriteResult | None:
        """Looks for the key, plans and commits; nothing after a conflict."""
        table = self.table
        table.refresh()
        if known := runkeys.find(table.metadata, self.run_key):
            delete_files(table.io, self.own)
            return WriteResult(known.snapshot_id, known.rows, known.bytes, committed=False)
        if table.spec().spec_id != self.spec_id:
            delete_files(table.io, self.own)
            raise CommitConflictError(f"{table_name(table)}: its partitioning changed during the write of {self.run_key}; run again")
        change = self.plan(table)
        if change is None:
            return WriteResult(_head(table), 0, 0, committed=False)
        snapshot_id = _attempt(table, change, self.run_key)
        if snapshot_id is None:
            return None
        return WriteResult(snapshot_id, change.rows, size_of(change.added), committed=True, replaced=change.replaced)


def _attempt(table: Table, change: Change, run_key: str) -> int | None:
    """The new snapshot's id, or nothing after a conflict. Raises when the outcome is unknown and the snapshot is not to be seen."""
    attempt = _OneAttempt(table, change, run_key)
    try:
        attempt.commit_transaction()
    except CommitFailedException:
        table.refresh()
        if table.metadata.snapshot_by_id(attempt.snapshot_id) is None:
            attempt.remove_files()
            delete_files(table.io, change.planned)
            return None
        log.warning("%s: the catalog reported a conflict for a commit it had taken (snapshot %d)", table_name(table), attempt.snapshot_id)
    except UNCERTAIN as error:
        if not _landed(table, attempt.snapshot_id):
            raise  # files stay: the commit may still arrive, and then needs them
        log.warning("%s: the answer to a commit was lost (%s); its snapshot %d is there", table_name(table), error, attempt.snapshot_id)
    return attempt.snapshot_id


def _landed(table: Table, snapshot_id: int) -> bool:
    try:
        table.refresh()
    except UNCERTAIN:
        return False
    return table.metadata.snapshot_by_id(snapshot_id) is not None


def _wait(attempt: int, deadline: float) -> bool:
    """Sleeps before the next attempt, up to twice as long each time and never in step with others; false when patience is over."""
    longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(attempt, 10))
    time.sleep(random.uniform(0, longest))  # noqa: S311 - spreads writers, no secret
    return time.monotonic() < deadline


def _head(table: Table) -> int | None:
    snapshot = table.current_snapshot()
    return snapshot.snapshot_id if snapshot else None
