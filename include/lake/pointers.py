"""Finds and mends tables whose readers do not see what was committed.

Airbyte writes to a staging branch and moves ``main`` forward at the end. A sync that dies between the two steps of that move leaves a
table whose ``current-snapshot-id`` lags behind ``refs.main``, and every later sync fails on it; one that dies earlier leaves a
staging branch that nobody will publish. Both are mended by one metadata file, swapped in under the catalog's optimistic lock.

What is committed to main is all that is ever published: the target is ``refs.main``, never the newest snapshot by its time, which may be
an aborted staging branch's. A table whose pointer and main are not one line of ancestors is left alone and reported.
"""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

from include.lake.metadata import MAIN, Document, Pointer, PointerMovedError, pointer, pointers, publish, read_document
from include.lake.objects import IN_FLIGHT, ObjectStore
from include.lake.rights import current_rights

log = logging.getLogger(__name__)
ATTEMPTS = 5


class Ailment(StrEnum):
    """What can be wrong with a table's pointer."""

    LAGS = "current snapshot lags behind main"
    NO_MAIN = "main is missing beside a current snapshot"
    ABORTED_BRANCH = "an aborted staging branch"
    DIVERGED = "the current snapshot and main have no common line"
    LOST = "main names a snapshot that is not there"
    UNREADABLE = "the metadata file cannot be read"


REPAIRABLE = frozenset({Ailment.LAGS, Ailment.NO_MAIN, Ailment.ABORTED_BRANCH})


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with a table. ``branch`` and ``since`` belong to a staging branch: its name, and when it was last written."""

    schema: str
    table: str
    ailment: Ailment
    detail: str
    branch: str = ""
    since: datetime | None = None

    @property
    def repairable(self) -> bool:
        """Whether :func:`repair` mends it."""
        return self.ailment in REPAIRABLE

    def __str__(self) -> str:
        return f"{self.schema}.{self.table}: {self.ailment.value} ({self.detail})"


@dataclass(frozen=True)
class Rules:
    """What counts as a staging branch (shell patterns) and how long one without a commit may be a running sync's."""

    staging_branches: tuple[str, ...]
    aborted_after: timedelta
    now: datetime

    def is_staging(self, branch: str) -> bool:
        """Whether a branch is one that writers publish from."""
        return branch != MAIN and any(fnmatch.fnmatchcase(branch, pattern) for pattern in self.staging_branches)


def scan(catalog: Catalog, store: ObjectStore, schema: str, rules: Rules) -> list[Finding]:
    """Everything wrong with the tables of a schema, by table; one request a table, sixteen at a time."""
    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        found = threads.map(lambda one: _examine(store, one, rules), pointers(catalog, schema))
        return [finding for findings in found for finding in findings]


def _examine(store: ObjectStore, one: Pointer, rules: Rules) -> list[Finding]:
    try:
        document = read_document(store, one.location)
    except (ValueError, FileNotFoundError) as error:
        return [Finding(one.schema, one.table, Ailment.UNREADABLE, str(error))]
    return list(examine(one, document, rules))


def examine(one: Pointer, document: Document, rules: Rules) -> Iterator[Finding]:
    """What is wrong with one table."""
    current, main = document.current_snapshot_id, document.refs.get(MAIN)
    if main is None:
        if current is not None:
            yield Finding(one.schema, one.table, Ailment.NO_MAIN, f"current snapshot {current}")
    elif current != main["snapshot-id"]:
        yield _lagging(one, document, current, main["snapshot-id"])
    published = _line(document, main["snapshot-id"] if main else current)
    for name, ref in sorted(document.refs.items()):
        head = document.snapshot(ref["snapshot-id"])
        if ref.get("type") != "branch" or not rules.is_staging(name) or head is None:
            continue
        since = datetime.fromtimestamp(head["timestamp-ms"] / 1000, rules.now.tzinfo)
        if rules.now - since >= rules.aborted_after:
            unpublished = "its rows were published" if ref["snapshot-id"] in published else "its rows were never published"
            yield Finding(one.schema, one.table, Ailment.ABORTED_BRANCH, f"{name}, last written {since:%Y-%m-%d %H:%M} UTC; {unpublished}", name, since)


def _lagging(one: Pointer, document: Document, current: int | None, main: int) -> Finding:
    if document.snapshot(main) is None:
        return Finding(one.schema, one.table, Ailment.LOST, f"main is snapshot {main}")
    detail = f"current snapshot {current}, main {main}"
    if current is None or current in _line(document, main):
        return Finding(one.schema, one.table, Ailment.LAGS, detail)
    return Finding(one.schema, one.table, Ailment.DIVERGED, detail)


@dataclass(frozen=True)
class Repair:
    """What became of one table: the metadata file that mends it (empty: nothing was to be done any more), what was mended, or why not."""

    schema: str
    table: str
    mended: tuple[Finding, ...] = ()
    location: str = ""
    refused: str = ""


def repair(catalog: Catalog, store: ObjectStore, schema: str, table: str, rules: Rules) -> Repair:
    """Mends one table as it is now, whatever a scan found before. Raises ``ForbiddenError``; a table that moves on all the time is refused.

    A dead staging branch is taken away; its snapshots go with the next expiry, so the rows can be looked at until then.
    """
    current_rights().check_catalog(catalog.name, "repair a table of")
    current_rights().check_schema(schema, "repair a table of")
    for _ in range(ATTEMPTS):
        try:
            one = pointer(catalog, schema, table)
        except NoSuchTableError as error:
            return Repair(schema, table, refused=str(error))
        document = read_document(store, one.location)
        found = tuple(examine(one, document, rules))
        if hopeless := [finding for finding in found if not finding.repairable]:
            return Repair(schema, table, refused="; ".join(f"{finding.ailment.value}: {finding.detail}" for finding in hopeless))
        if not found:
            return Repair(schema, table)
        try:
            published = publish(catalog, store, one, document, mended(document, found))
        except PointerMovedError:
            continue
        for finding in found:
            log.warning("%s: mended by %s", finding, published.location)
        return Repair(schema, table, found, published.location)
    return Repair(schema, table, refused=f"other writers were faster {ATTEMPTS} times")


def mended(document: Document, found: Iterable[Finding]) -> Document:
    """The document without the findings: the pointer on main's head (or main on the pointer), the log of heads in order, no dead branch."""
    for finding in found:
        if finding.ailment is Ailment.LAGS:
            document = _at(document, document.refs[MAIN]["snapshot-id"])
        elif finding.ailment is Ailment.NO_MAIN and document.current_snapshot_id is not None:
            document = document.with_ref(MAIN, document.current_snapshot_id, "branch")
        elif finding.ailment is Ailment.ABORTED_BRANCH:
            document = document.without_ref(finding.branch)
    return document


def _at(document: Document, snapshot_id: int) -> Document:
    head = document.snapshot(snapshot_id)
    if head is None:
        raise ValueError(f"snapshot {snapshot_id} is not in the table's metadata")
    entries = {(entry["timestamp-ms"], entry["snapshot-id"]) for entry in document.data.get("snapshot-log") or ()}
    entries.add((head["timestamp-ms"], snapshot_id))
    history = [{"timestamp-ms": at, "snapshot-id": entry} for at, entry in sorted(entries, key=lambda entry: (entry[0], entry[1] == snapshot_id))]
    while history and history[-1]["snapshot-id"] != snapshot_id:
        history.pop()  # the log ends with the head, or readers refuse the file
    return document.changed(current_snapshot_id=snapshot_id, snapshot_log=history)


def _line(document: Document, head: int | None) -> set[int]:
    """A snapshot and its ancestors, as far as they are kept."""
    kept: dict[int, Mapping[str, Any]] = {snapshot["snapshot-id"]: snapshot for snapshot in document.snapshots}
    line: set[int] = set()
    while head is not None and head in kept and head not in line:
        line.add(head)
        head = kept[head].get("parent-snapshot-id")
    return line
