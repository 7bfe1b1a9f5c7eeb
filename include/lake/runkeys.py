"""Which runs have already written to a table.

A run key stands in the summary of the snapshot that it wrote (``run-key``). Expiry forgets snapshots, so the newest keys stand in the
table property ``ol.run-keys`` as well, written by the same commit. A key is therefore known while its snapshot is kept (seven days or
more by our maintenance) and for at least ``KEPT`` later keyed writes, whichever is longer: a retry comes hours after its first attempt, not
months. The property was preferred to a table of keys beside the data because it changes in the same atomic commit; it costs about
50 bytes a key in the metadata file.

A key on a snapshot that main was rolled back from is not known: the operator who takes a batch out may load it again under its key.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot

SUMMARY_KEY = "run-key"
PROPERTY = "ol.run-keys"
KEPT = 500


@dataclass(frozen=True)
class KnownWrite:
    """A finished write: its snapshot (which may have been expired since), rows added and bytes of the files added."""

    snapshot_id: int
    rows: int
    bytes: int


def check_key(run_key: str) -> str:
    """The key itself. Raises ``ValueError`` for an empty one: all writes without a key would be the same write."""
    if not run_key.strip():
        raise ValueError(f"run key: found {run_key!r}; allowed: a text that names the run and its output, for example 'airbyte__xpro:2026-11-20T06:00:00'")
    return run_key


def find(metadata: TableMetadata, run_key: str) -> KnownWrite | None:
    """The write on main that carries ``run_key``, or nothing."""
    line = Line(metadata)
    for snapshot in reversed(metadata.snapshots):
        if run_key_of(snapshot) == run_key and line.may_hold(snapshot):
            return KnownWrite(snapshot.snapshot_id, added(snapshot, "added-records"), added(snapshot, "added-files-size"))
    digest = _digest(run_key)
    for entry in _entries(metadata):
        if entry[0] == digest and line.may_hold(line.kept.get(entry[1])):
            return KnownWrite(*entry[1:])
    return None


def remember(metadata: TableMetadata, run_key: str, write: KnownWrite) -> dict[str, str]:
    """The table property that also knows ``run_key``: newest first, at most ``KEPT``, without keys of snapshots that were rolled back."""
    line = Line(metadata)
    kept = [entry for entry in _entries(metadata) if line.may_hold(line.kept.get(entry[1]))][: KEPT - 1]
    newest = (_digest(run_key), write.snapshot_id, write.rows, write.bytes)
    return {PROPERTY: " ".join(":".join(str(part) for part in entry) for entry in [newest, *kept])}


def run_key_of(snapshot: Snapshot) -> str | None:
    """The key in a snapshot's summary."""
    return snapshot.summary.additional_properties.get(SUMMARY_KEY) if snapshot.summary else None


def added(snapshot: Snapshot, field: str) -> int:
    """A number of the snapshot's summary, 0 when the writer left it out."""
    return int(snapshot.summary.additional_properties.get(field, "0")) if snapshot.summary else 0


class Line:
    """The snapshots that lead to main's head, as far as they are still kept; ``kept`` are all snapshots of the table by their ids."""

    def __init__(self, metadata: TableMetadata) -> None:
        self.kept = {snapshot.snapshot_id: snapshot for snapshot in metadata.snapshots}
        self._members: set[int] = set()
        snapshot = metadata.current_snapshot()
        last = None
        while snapshot is not None:
            self._members.add(snapshot.snapshot_id)
            last = snapshot
            snapshot = self.kept.get(snapshot.parent_snapshot_id) if snapshot.parent_snapshot_id is not None else None
        # where the line leaves the snapshots that are kept: nothing is known about what came before
        self._begins = last.sequence_number or 0 if last is not None and last.parent_snapshot_id is not None else -1

    def may_hold(self, snapshot: Snapshot | None) -> bool:
        """Whether main holds the snapshot's rows. One that is expired, or older than the line's known part, counts as held: no duplicates."""
        return snapshot is None or snapshot.snapshot_id in self._members or (snapshot.sequence_number or 0) < self._begins


def _digest(run_key: str) -> str:
    return hashlib.sha256(run_key.encode()).hexdigest()[:24]


def _entries(metadata: TableMetadata) -> list[tuple[str, int, int, int]]:
    parts = (entry.split(":") for entry in metadata.properties.get(PROPERTY, "").split())
    return [(digest, int(snapshot_id), int(rows), int(size)) for digest, snapshot_id, rows, size in parts]
