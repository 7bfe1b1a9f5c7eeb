"""What a table's snapshots say about it, without reading data: for verification after a load and for the metadata of asset events."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot

from include.lake import runkeys
from include.lake.names import TableRef


@dataclass(frozen=True)
class TableState:
    """A table as main's head describes it.

    ``rows`` and ``bytes`` are totals after the head's commit, ``added_rows`` what that commit added; ``None`` where its writer did not
    say. ``run_key`` is the key of the write that made the head, if it had one. All but ``behind`` and ``rolled_back`` are ``None`` for a table
    that was never written.

    ``behind``: branches whose head is newer than main's, so rows were written that readers of main do not see yet (a branch for
    staging that was not published). ``rolled_back``: main stood at a newer snapshot before and was set back.
    """

    snapshot_id: int | None
    committed_at: datetime | None
    operation: str | None
    rows: int | None
    bytes: int | None
    added_rows: int | None
    run_key: str | None
    behind: tuple[str, ...] = ()
    rolled_back: bool = False

    @property
    def main_is_newest(self) -> bool:
        """Whether readers of main see the newest rows there are."""
        return not self.behind and not self.rolled_back


def state_of(table: Table) -> TableState:
    """The state of a loaded table (as loaded: refresh it to see later commits)."""
    metadata = table.metadata
    head = metadata.current_snapshot()
    behind = _newer_branches(metadata, head)
    if head is None:
        return TableState(None, None, None, None, None, None, None, behind, False)
    return TableState(
        snapshot_id=head.snapshot_id,
        committed_at=datetime.fromtimestamp(head.timestamp_ms / 1000, UTC),
        operation=head.summary.operation.value if head.summary else None,
        rows=_rows(head),
        bytes=_number(head, "total-files-size"),
        added_rows=_number(head, "added-records"),
        run_key=runkeys.run_key_of(head),
        behind=behind,
        rolled_back=_rolled_back(metadata, head),
    )


def table_state(catalog: Catalog, table: TableRef) -> TableState:
    """The state of a table as it is now. Raises ``NoSuchTableError``."""
    return state_of(catalog.load_table(table.identifier))


def _rows(head: Snapshot) -> int | None:
    """Rows that a reader sees: those in data files less those that Trino's merges and deletes took out by their position.

    How many rows a delete by value takes out stands nowhere; such a head has no count.
    """
    records, by_value = _number(head, "total-records"), _number(head, "total-equality-deletes")
    return None if records is None or by_value else records - (_number(head, "total-position-deletes") or 0)


def _newer_branches(metadata: TableMetadata, head: Snapshot | None) -> tuple[str, ...]:
    since = _age(head)
    branches = (name for name, ref in metadata.refs.items() if ref.snapshot_ref_type == SnapshotRefType.BRANCH and name != MAIN_BRANCH)
    return tuple(sorted(name for name in branches if _age(metadata.snapshot_by_id(metadata.refs[name].snapshot_id)) > since))


def _rolled_back(metadata: TableMetadata, head: Snapshot) -> bool:
    """The log lists main's heads in order, so a newer one in it means that main was set back. Expired ones no longer count."""
    past = (metadata.snapshot_by_id(entry.snapshot_id) for entry in metadata.snapshot_log)
    return any(_age(snapshot) > _age(head) for snapshot in past if snapshot is not None)


def _age(snapshot: Snapshot | None) -> int:
    """Sequence numbers grow with every commit of any branch; clocks of several writers do not."""
    return -1 if snapshot is None else snapshot.sequence_number or 0


def _number(snapshot: Snapshot, field: str) -> int | None:
    found = snapshot.summary.additional_properties.get(field) if snapshot.summary else None
    return None if found is None else int(found)
