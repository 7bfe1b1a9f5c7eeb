"""A run that dies after any of its changes, a store that is away, a full disk: the table is whole, and the next run finishes."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest
from pyiceberg.table import Table

from include.lake.maintenance.quarantine import quarantine_of
from include.lake.objects import store_of

from .conftest import Night, content, files_of, rows

Make = Callable[..., Table]
CHANGES = ("create", "move", "delete")


class CrashError(BaseException):
    """Not an ``Exception``: nothing on the way may take it for an ordinary failure, as it would not survive a kill either."""


class Dying:
    """A store whose process dies before or after its n-th change."""

    def __init__(self, store: Any, at: int, *, after: bool) -> None:
        self.store, self.left, self.after = store, at, after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)
        return method if name not in CHANGES else lambda *arguments: self._change(method, *arguments)

    def _change(self, method: Any, *arguments: Any) -> Any:
        self.left -= 1
        if self.left > 0:
            return method(*arguments)
        if self.left == 0 and self.after:
            method(*arguments)
        raise CrashError


class Failing:
    """A store that answers with an error for a while; ``left`` counts down."""

    def __init__(self, store: Any, error: OSError, left: int, names: tuple[str, ...]) -> None:
        self.store, self.error, self.left, self.names = store, error, left, names

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)
        return method if name not in self.names else lambda *arguments: self._answer(method, *arguments)

    def _answer(self, method: Any, *arguments: Any) -> Any:
        self.left -= 1
        if self.left >= 0:
            raise self.error
        return method(*arguments)


def reference(night: Night, new: Make) -> tuple[Table, list[int]]:
    table = new(3)
    table.overwrite(rows(40))
    table.append(rows(41))
    return table, content(table)


def finish(night: Night, table: Table, expected: list[int]) -> None:
    """The next run makes the table what an undisturbed one would have left."""
    night.store = None
    for _ in range(2):  # what the dead run wrote was not in this run's listing
        assert not [one.error for one in night.run(only=table.name()[1]).outcomes if one.error]
    table = night.catalog.load_table(table.name())
    assert content(table) == expected
    assert len(table.metadata.snapshots) == 1
    data = [name for name in files_of(night, table) if name.endswith(".parquet")]
    assert len(data) == 2
    assert len([name for name in files_of(night, table) if name.endswith(".avro")]) == len(
        [table.metadata.current_snapshot().manifest_list, *table.metadata.current_snapshot().manifests(table.io)]
    )


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_killed_at_every_step(night: Night, new: Make, after: bool) -> None:
    at, died = 1, True
    while died:
        table, expected = reference(night, new)
        night.store = Dying(store_of(night.catalog), at, after=after)
        try:
            night.run(only=table.name()[1])
            died = False
        except CrashError:
            pass
        assert content(night.catalog.load_table(table.name())) == expected, f"change {at}"
        finish(night, table, expected)
        at += 1 if at < 4 else 3
    assert at > 2


def test_killed_between_the_commit_and_the_files(night: Night, new: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    table, expected = reference(night, new)
    monkeypatch.setattr("include.lake.maintenance.tables.TableMaintenance._take_away", lambda *_: (_ for _ in ()).throw(CrashError()))
    with pytest.raises(CrashError):
        night.run(only=table.name()[1])
    monkeypatch.undo()
    assert len(night.catalog.load_table(table.name()).metadata.snapshots) == 1
    finish(night, table, expected)


@pytest.mark.parametrize(
    ("error", "names"),
    [
        (OSError("503 SlowDown"), ("read",)),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), ("create",)),
        (OSError("503 SlowDown"), ("move", "create")),
    ],
    ids=["503 for reads", "disk full", "503 for changes"],
)
def test_a_store_that_is_away_for_a_while(night: Night, new: Make, error: OSError, names: tuple[str, ...]) -> None:
    table, expected = reference(night, new)
    night.store = Failing(store_of(night.catalog), error, 2, names)
    failed = night.run(only=table.name()[1]).outcomes[0]
    assert str(error) in failed.error
    assert not failed.permanent
    assert content(night.catalog.load_table(table.name())) == expected
    assert table.name()[1] not in {name.partition(".")[2] for name in night.known}
    finish(night, table, expected)


def test_whatever_a_dead_run_took_away_can_be_restored(night: Night, new: Make) -> None:
    table, _ = reference(night, new)
    before = set(files_of(night, table))
    night.store = Dying(store_of(night.catalog), 4, after=True)
    with pytest.raises(CrashError):
        night.run(only=table.name()[1])
    quarantine = quarantine_of(night.catalog)
    quarantine.restore([one for one in quarantine.files() if one.origin.startswith(f"{table.location()}/")])
    assert before <= set(files_of(night, table))
