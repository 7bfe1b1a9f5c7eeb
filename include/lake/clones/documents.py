"""One table's metadata as a clone's: the base's columns and one of its snapshots, under a location, an id and properties of its own.

What is left out, and why:

- the history before the one snapshot: a clone is a beginning, and every snapshot more would have to be pinned as well
- the metadata log: writers delete the oldest files of it (``write.metadata.delete-after-commit.enabled``), and those are the base's
- statistics files: ``ANALYZE`` of the base replaces them, and an orphan pass then removes what the clone would still name
- paths for data and metadata that lead into the base's folders

What is added are guards against engines that delete files which a table names, seen on Trino 476:

- ``DROP TABLE`` deletes every manifest that any snapshot names, ``gc.enabled`` or not: one of these made the base unreadable. It looks for all of
  them before it deletes the first, and when a snapshot's manifest list is missing it gives up and removes the table's own folder alone. So each
  clone has such a snapshot, the *guard*; nobody reads it. pyiceberg's ``purge_table`` stops there as well.
- ``CREATE OR REPLACE TABLE`` forgets all properties, ``gc.enabled`` too, and ``expire_snapshots`` then deletes the base's data files. It forgets
  no tags, and expiry leaves tagged snapshots alone: so the cloned snapshot and the guard have tags.
"""

from __future__ import annotations

import secrets
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from include.lake.clones.names import CLONE_OF, CLONE_PR, CLONE_SNAPSHOT, CLONED_AT
from include.lake.metadata import MAIN, Document

LEADING_ELSEWHERE = ("write.data.path", "write.metadata.path", "write.object-storage.path", "write.folder-storage.path")
CLONED, GUARD = "cloned", "guard"
HISTORY = ("metadata-log", "statistics", "partition-statistics")


def clone_document(base: Document, snapshot_id: int | None, *, location: str, of: str, pull_request: int) -> Document:
    """The clone's metadata, format version 1 or 2 as the base's.

    ``snapshot_id`` is one of the base's snapshots, or ``None`` for a table without rows; ``location`` the clone's folder; ``of`` is ``schema.table``.
    Raises ``ValueError`` for a snapshot that the base does not have.
    """
    snapshot = base.snapshot(snapshot_id) if snapshot_id is not None else None
    if snapshot_id is not None and snapshot is None:
        raise ValueError(f"{of}: found no snapshot {snapshot_id}; allowed: one of {', '.join(str(one['snapshot-id']) for one in base.snapshots)}")
    now = datetime.now(UTC)
    properties = {key: value for key, value in base.properties.items() if key not in LEADING_ELSEWHERE} | {
        "gc.enabled": "false",  # Iceberg's own expiry refuses such a table
        CLONE_OF: of,
        CLONE_PR: str(pull_request),
        CLONE_SNAPSHOT: "" if snapshot_id is None else str(snapshot_id),
        CLONED_AT: now.isoformat(timespec="seconds"),
    }
    kept: dict[str, Any] = {key: value for key, value in base.data.items() if key not in HISTORY}
    kept |= {
        "location": location,
        "table-uuid": str(uuid.uuid4()),
        "last-updated-ms": max(int(time.time() * 1000), int(base.data.get("last-updated-ms", 0))),
        "properties": properties,
        "snapshots": [],
        "snapshot-log": [],
        "refs": {},
        "metadata-log": [],
        "current-snapshot-id": -1,
    }
    return Document(kept if snapshot is None else kept | _history(snapshot, location))


def _history(snapshot: Mapping[str, Any], location: str) -> dict[str, Any]:
    """A metadata file's keys about snapshots: the cloned one on main, and the guard."""
    guard = {
        "snapshot-id": secrets.randbits(62) + 1,
        "timestamp-ms": snapshot["timestamp-ms"],
        "summary": {"operation": "append", "ol.guard": "names a manifest list that is missing; see include/lake/clones/documents.py"},
        "manifest-list": f"{location}/metadata/guard.avro",
        **{key: snapshot[key] for key in ("sequence-number", "schema-id") if key in snapshot},
    }
    cloned = snapshot["snapshot-id"]
    tags = {CLONED: cloned, GUARD: guard["snapshot-id"]}
    return {
        "snapshots": [guard, snapshot],
        "snapshot-log": [{"snapshot-id": cloned, "timestamp-ms": snapshot["timestamp-ms"]}],
        "refs": {MAIN: {"snapshot-id": cloned, "type": "branch"}} | {name: tag(snapshot_id) for name, snapshot_id in tags.items()},
        "current-snapshot-id": cloned,
    }


def tag(snapshot_id: int) -> dict[str, Any]:
    """A tag that stays, whatever the table's own ``history.expire.max-ref-age-ms``."""
    return {"snapshot-id": snapshot_id, "type": "tag", "max-ref-age-ms": 2**63 - 1}
