"""Which snapshots of a table have had their time, and the metadata without them. Nothing is read or written here.

The rules are Iceberg's but for one: a snapshot's age counts from when another took its place, not from when it was written. So a table can be read as it
was at any moment within the retention, and who reads one that had not changed for a month keeps its files when it is replaced and maintained in the same
night. Otherwise: main's head, the heads of branches and tags stay whatever their age, a branch keeps its younger ancestors and as many as
``min-snapshots-to-keep`` says, and may say for itself how old its snapshots get (``max-snapshot-age-ms``). Tags never end here, nor branches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from include.lake.metadata import MAIN, Document

Ref = Mapping[str, Any]
"""A branch or tag as a metadata document has it."""

_NEVER = 2**62


@dataclass(frozen=True)
class Expiry:
    """``expired`` are snapshot ids; ``before`` is the document whose metadata log is cut to its cap, ``after`` the one without the expired snapshots.

    ``dropped_log`` are the metadata files that the log named and names no longer.
    """

    expired: frozenset[int]
    before: Document
    after: Document
    dropped_log: frozenset[str]

    @property
    def worth_it(self) -> bool:
        """A commit for the metadata log alone would add a file to remove one: the log is cut by the next commit anyway."""
        return bool(self.expired)


def plan(document: Document, retention: timedelta, now: datetime, metadata_files: int) -> Expiry:
    """What can go from a table. ``metadata_files`` bounds the log where the table's own property does not do so more tightly."""
    at = int(now.timestamp() * 1000)
    expired = frozenset(snapshot for snapshot, end in _ends(document, retention).items() if end < at)
    log = sorted(document.data.get("metadata-log") or (), key=lambda entry: int(entry["timestamp-ms"]))
    cap = max(1, min(metadata_files, int(document.properties.get("write.metadata.previous-versions-max", metadata_files))))
    short = log[-(cap - 1) :] if cap > 1 else []  # the commit adds one
    dropped = frozenset(entry["metadata-file"] for entry in log) - {entry["metadata-file"] for entry in short}
    return Expiry(expired, document.changed(metadata_log=short), without(document, expired), dropped)


def without(document: Document, expired: frozenset[int]) -> Document:
    """The document without some snapshots, its log of heads and its statistics included."""
    if not expired:
        return document
    changes: dict[str, Any] = {"snapshots": [one for one in document.snapshots if one["snapshot-id"] not in expired]}
    if "snapshot-log" in document.data:
        changes["snapshot_log"] = _log_without(document, expired)
    for key in ("statistics", "partition-statistics"):
        if key in document.data:
            changes[key.replace("-", "_")] = [one for one in document.data[key] if one["snapshot-id"] not in expired]
    return document.changed(**changes)


def next_due(document: Document, retention: timedelta, now: datetime) -> datetime | None:
    """When the first snapshot that is kept for its age alone will have had its time; ``None``: no snapshot ever will, unless the table changes."""
    ends = [end for end in _ends(document, retention).values() if end < _NEVER]
    return None if not ends else max(now, datetime.fromtimestamp(min(ends) / 1000, UTC))


def _ends(document: Document, retention: timedelta) -> dict[int, int]:
    """When each snapshot has had its time, in milliseconds since the epoch: by whatever is most patient with it."""
    written = {one["snapshot-id"]: int(one["timestamp-ms"]) for one in document.snapshots}
    ends: dict[int, int] = {}
    for snapshot, end in (*_ends_by_refs(document, written, retention), *_ends_by_log(document, retention)):
        ends[snapshot] = max(ends.get(snapshot, 0), end)
    # CREATE OR REPLACE forgets both, and then the next snapshot of the table is what took a snapshot's place
    order = sorted(written, key=lambda snapshot: written[snapshot])
    for snapshot, following in zip(order, (*order[1:], *order[-1:]), strict=True):
        ends.setdefault(snapshot, written[following] + _age({}, retention))
    return {snapshot: ends[snapshot] for snapshot in written}


def _ends_by_refs(document: Document, written: Mapping[int, int], retention: timedelta) -> Iterator[tuple[int, int]]:
    """What a branch or tag holds never ends; a branch's other snapshots are kept for its age after their successors were written."""
    for ref in _refs(document):
        line = [ref["snapshot-id"]] if ref.get("type") == "tag" else _line(document, ref)
        held = max(1, int(ref.get("min-snapshots-to-keep") or document.properties.get("history.expire.min-snapshots-to-keep") or 1))
        yield from ((snapshot, _NEVER) for snapshot in line[:held])
        yield from ((snapshot, written[successor] + _age(ref, retention)) for successor, snapshot in pairwise(line[held - 1 :]))


def _ends_by_log(document: Document, retention: timedelta) -> Iterator[tuple[int, int]]:
    """What was main's head until a rollback or a late publication: the log of heads tells when, the line of ancestors does not."""
    age = _age(document.refs.get(MAIN, {}), retention)
    for entry, following in pairwise(document.data.get("snapshot-log") or ()):
        yield entry["snapshot-id"], int(following["timestamp-ms"]) + age


def _age(ref: Ref, retention: timedelta) -> int:
    """How old a branch's snapshots may get, in milliseconds."""
    return int(ref.get("max-snapshot-age-ms") or retention.total_seconds() * 1000)


def _refs(document: Document) -> list[Ref]:
    known = {one["snapshot-id"] for one in document.snapshots}
    refs = {name: ref for name, ref in document.refs.items() if ref["snapshot-id"] in known}
    if document.current_snapshot_id in known and refs.get(MAIN, {}).get("snapshot-id") != document.current_snapshot_id:
        refs["(current)"] = {"snapshot-id": document.current_snapshot_id, "type": "branch"}  # a pointer that lags is maintain__pointers' to mend
    return list(refs.values())


def _line(document: Document, ref: Ref) -> list[int]:
    """A branch's snapshots, the newest first."""
    parents = {one["snapshot-id"]: one.get("parent-snapshot-id") for one in document.snapshots}
    line: dict[int, None] = {}
    at: int | None = ref["snapshot-id"]
    while at is not None and at in parents and at not in line:
        line[at] = None
        at = parents[at]
    return list(line)


def _log_without(document: Document, expired: frozenset[int]) -> list[Mapping[str, Any]]:
    """The specification: entries before one that is not kept are dropped too, since they would tell a history with holes."""
    found: list[Mapping[str, Any]] = []
    for entry in document.data["snapshot-log"]:
        if entry["snapshot-id"] in expired:
            found.clear()
        else:
            found.append(entry)
    return found
