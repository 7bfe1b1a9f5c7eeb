"""Which snapshots of a table have had their time, and the metadata without them. Nothing is read or written here.

The rules are Iceberg's: main's head, the heads of branches and tags stay whatever their age, a branch keeps its younger ancestors and as many as
``min-snapshots-to-keep`` says, and a snapshot that no branch or tag leads to stays while it is young. A branch may say for itself how old its snapshots
may get (``max-snapshot-age-ms``). Tags never end here, nor branches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from include.lake.metadata import MAIN, Document

Ref = Mapping[str, Any]
"""A branch or tag as a metadata document has it."""


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
    at, ends = _milliseconds(now), _ends(document, retention)
    kept = _protected(document, lambda ref: at - _age(ref, retention))
    expired = frozenset(snapshot for snapshot, end in ends.items() if snapshot not in kept and end < at)
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
    forever = _protected(document, lambda _: 2**62)
    ends = [end for snapshot, end in _ends(document, retention).items() if snapshot not in forever]
    return None if not ends else max(now, datetime.fromtimestamp(min(ends) / 1000, UTC))


def _ends(document: Document, retention: timedelta) -> dict[int, int]:
    """When each snapshot has had its time, in milliseconds since the epoch: by the most patient of the branches that lead to it, if any does."""
    ages: dict[int, int] = {}
    for ref in _refs(document):
        if ref.get("type") != "tag":
            for snapshot in _line(document, ref):
                ages[snapshot] = max(ages.get(snapshot, 0), _age(ref, retention))
    default = _age({}, retention)
    return {one["snapshot-id"]: int(one["timestamp-ms"]) + ages.get(one["snapshot-id"], default) for one in document.snapshots}


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


def _protected(document: Document, cutoff: Callable[[Ref], int]) -> set[int]:
    kept: set[int] = set()
    for ref in _refs(document):
        kept.add(ref["snapshot-id"])
        if ref.get("type") != "tag":
            kept |= _young_line(document, ref, cutoff(ref))
    return kept


def _young_line(document: Document, ref: Ref, cutoff: int) -> set[int]:
    fewest = int(ref.get("min-snapshots-to-keep") or document.properties.get("history.expire.min-snapshots-to-keep") or 1)
    written = {one["snapshot-id"]: one["timestamp-ms"] for one in document.snapshots}
    line: set[int] = set()
    for snapshot in _line(document, ref):
        if len(line) >= max(fewest, 1) and written[snapshot] < cutoff:
            break
        line.add(snapshot)
    return line


def _log_without(document: Document, expired: frozenset[int]) -> list[Mapping[str, Any]]:
    """The specification: entries before one that is not kept are dropped too, since they would tell a history with holes."""
    found: list[Mapping[str, Any]] = []
    for entry in document.data["snapshot-log"]:
        if entry["snapshot-id"] in expired:
            found.clear()
        else:
            found.append(entry)
    return found


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
