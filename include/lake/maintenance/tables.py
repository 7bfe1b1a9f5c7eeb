"""One table's maintenance: rewrite what is too small, expire, take away what nobody can reach, join manifests, analyse.

Nothing but the commit of the shortened metadata makes a file unreachable, and files are moved only afterwards, by one rule: it lies in the table's
folder, is older than the orphan age, and neither the new metadata file nor any snapshot in it names it. So a run that dies at any point
leaves a whole table and files that the next run finds. Snapshots are older than their retention when they expire, and their files are at least that old:
the manifests of expired snapshots are never read.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import datetime

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

from include.lake.maintenance.expiry import Expiry, next_due, plan
from include.lake.maintenance.folders import Folders, folder_of
from include.lake.maintenance.model import Known, Outcome, Policy
from include.lake.maintenance.quarantine import Quarantine
from include.lake.maintenance.reach import Files, canonical
from include.lake.maintenance.statements import Action, Engine
from include.lake.metadata import Document, Pointer, PointerMovedError, parse_document, pointer, publish
from include.lake.names import TableRef
from include.lake.objects import ObjectStore, StoredObject
from include.lake.rights import ForbiddenError, current_rights

log = logging.getLogger(__name__)
ATTEMPTS = 5
KEEPS_ITS_FILES = "gc.enabled"


class BusyTableError(RuntimeError):
    """Other writers committed again and again; the table is left to the next run."""


@dataclass(frozen=True)
class Surroundings:
    """What all tables of a run share. ``read`` is one bounded request; ``now`` is the run's time, UTC."""

    catalog: Catalog
    store: ObjectStore
    engine: Engine
    quarantine: Quarantine
    folders: Folders
    read: Callable[[str], bytes]
    threads: Executor
    now: datetime
    dry_run: bool = False

    def document(self, location: str) -> Document:
        """A metadata file."""
        return parse_document(location, self.read(location))


@dataclass
class TableMaintenance:
    """One table in one run. ``listed`` are the files of its folder, listed before anything of it was read."""

    around: Surroundings
    at: Pointer
    policy: Policy
    known: Known | None
    listed: Sequence[StoredObject]
    done: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    expired: int = 0
    moved: Sequence[StoredObject] = ()
    young: tuple[datetime, ...] = ()
    published: int = 0
    rewritten: bool = False
    folder: str = ""

    def __post_init__(self) -> None:
        self.folder = folder_of(self.at)

    def run(self) -> tuple[Outcome, Known | None]:
        """What was done, and what to remember; nothing is to be remembered of a table that failed."""
        try:
            known = self._run()
        except NoSuchTableError:
            self.skipped.append("dropped meanwhile")
            return self._outcome(), None
        except Exception as error:  # noqa: BLE001 - a table's failure is a row of the report; the run judges how many are too many
            self.rewritten = False  # the store may be away: no further look
            log.warning("%s: %s: %s", self.at.name, type(error).__name__, error)
            return self._outcome(f"{type(error).__name__}: {error}", permanent=isinstance(error, ForbiddenError | ValueError)), None
        return self._outcome(), known

    def _run(self) -> Known | None:
        if not self.policy.enabled:
            self.skipped.append("switched off in dbt's meta")
            return None
        if self._unchanged():
            self.skipped.append("unchanged")
            return self.known
        if not self.around.dry_run:
            current_rights().check_catalog(self.around.catalog.name, "maintain a table of")
            current_rights().check_schema(self.at.schema, "maintain a table of")
        document = self._read()
        if document.properties.get(KEEPS_ITS_FILES, "true").lower() == "false":
            self.skipped.append(f"{KEEPS_ITS_FILES} is false" + (f", a clone of {base}" if (base := document.properties.get("ol.clone-of")) else ""))
            return None
        files = Files(self.around.read, self.around.threads)
        document = self._optimise(document, files)
        document = self._expire(document)
        self._take_away(document, files)
        document = self._manifests(document, files)
        document, analyzed = self._analyse(document)
        return self._remember(document, analyzed)

    def _unchanged(self) -> bool:
        known = self.known
        same = known is not None and (known.metadata, known.files, known.policy) == (self.at.location, len(self.listed), self.policy.key)
        return same and known is not None and (known.due is None or self.around.now < known.due)

    def _read(self) -> Document:
        """The table as it is now. A metadata file that is gone was overtaken by several commits since the catalog was asked."""
        try:
            return self.around.document(self.at.location)
        except FileNotFoundError:
            self._refresh()
            return self.around.document(self.at.location)

    def _refresh(self) -> None:
        self.at = pointer(self.around.catalog, self.at.schema, self.at.table)

    def _optimise(self, document: Document, files: Files) -> Document:
        if self._worked_on(document) or not self._may_be_fragmented(document):
            return document
        small = files.small_files(document, self.policy.small_file_bytes)
        if small < self.policy.small_files:
            return document
        return self._engine(Action.OPTIMIZE, document, f"{small} small files")

    def _worked_on(self, document: Document) -> bool:
        return self.known is not None and self.known.snapshot == document.current_snapshot_id

    def _may_be_fragmented(self, document: Document) -> bool:
        """From the summary alone, where its writer says how many files there are: fewer than the threshold cannot hold so many small ones."""
        head = document.snapshot(document.current_snapshot_id)
        total = (head or {}).get("summary", {}).get("total-data-files")
        return head is not None and (total is None or int(total) >= self.policy.small_files)

    def _expire(self, document: Document) -> Document:
        for _ in range(ATTEMPTS):
            found, before = self._plan(document), self.at.location
            if not found.worth_it:
                return document
            if not self.around.dry_run:
                try:
                    self.at = publish(self.around.catalog, self.around.store, self.at, found.before, found.after)
                except PointerMovedError:
                    self._refresh()
                    document = self._read()
                    continue
                self.published = 1
            self.expired = len(found.expired)
            self.done.append("expire")
            return self._as_planned(found, before)
        raise BusyTableError(f"other writers were faster {ATTEMPTS} times; the next run goes on")

    def _plan(self, document: Document) -> Expiry:
        return plan(document, self.policy.retention, self.around.now, self.policy.metadata_files)

    def _as_planned(self, found: Expiry, before: str) -> Document:
        entry = {"metadata-file": before, "timestamp-ms": found.before.data.get("last-updated-ms", 0)}
        return found.after.changed(metadata_log=[*found.before.data["metadata-log"], entry])

    def _take_away(self, document: Document, files: Files) -> None:
        if refused := self._why_not(document):
            self.skipped.append(f"files: {refused}")
            return
        if not self.listed:
            return
        kept = files.reachable(document) | {canonical(self.at.location), f"{document.location}/metadata/version-hint.text"}
        loose = [one for one in self.listed if canonical(one.location) not in kept]
        old = [one for one in loose if self.around.now - one.modified >= self.policy.orphan_age]
        self.young = tuple(one.modified for one in loose if self.around.now - one.modified < self.policy.orphan_age)
        if not old:
            return
        self.moved = old if self.around.dry_run else self.around.quarantine.put(old, self.around.now.date())
        self.done.append("orphans")

    def _why_not(self, document: Document) -> str:
        folder = canonical(document.location)
        if folder_of(self.at) != self.folder:  # the name was given to another table after the listing: those files are somebody else's now
            return "another table has taken the name"
        if folder != self.folder:
            return f"its metadata files lie in {self.folder}, its folder is {folder}"
        for key in ("write.metadata.path", "write.data.path", "write.object-storage.path"):
            if (elsewhere := document.properties.get(key)) and not canonical(elsewhere).startswith(f"{folder}/"):
                return f"{key} is {elsewhere}, outside of the table's folder"
        return self.around.folders.why_shared(self.at.name, document.location)

    def _manifests(self, document: Document, files: Files) -> Document:
        head = document.snapshot(document.current_snapshot_id)
        if head is None or self._worked_on(document):
            return document
        count = len(files.manifests([head]))
        return document if count < self.policy.manifests else self._engine(Action.MANIFESTS, document, f"{count} manifests")

    def _analyse(self, document: Document) -> tuple[Document, int]:
        sequence = int(document.data.get("last-sequence-number", 0))
        by_id = {one["snapshot-id"]: int(one.get("sequence-number", 0)) for one in document.snapshots}
        # Trino's rewrites leave a statistics file without a single statistic
        told = [one["snapshot-id"] for one in document.data.get("statistics") or () if one.get("blob-metadata")]
        seen = max((by_id.get(snapshot, 0) for snapshot in told), default=0)
        seen = max(seen, self.known.analyzed if self.known else 0)
        if document.current_snapshot_id is None or sequence - seen < self.policy.analyze_after_commits:
            return document, seen
        return self._engine(Action.ANALYZE, document, f"{sequence - seen} commits"), sequence

    def _engine(self, action: Action, document: Document, reason: str) -> Document:
        if not self.around.dry_run:
            log.info("%s: %s, %s", self.at.name, action.value, reason)
            self.around.engine.run(action, TableRef(self.around.catalog.name, self.at.schema, self.at.table), self.policy.small_file_bytes)
            self._refresh()
            document = self._read()
            self.rewritten = True
        self.done.append(action.value)
        return document

    def _remember(self, document: Document, analyzed: int) -> Known:
        due = [at + self.policy.orphan_age for at in self.young]
        if (expiry := next_due(document, self.policy.retention, self.around.now)) is not None:
            due.append(expiry)
        return Known(self.at.location, document.current_snapshot_id, self._after()[0], min(due, default=None), self.policy.key, analyzed)

    def _after(self) -> tuple[int, int]:
        """Files and bytes in the folder now. What Trino wrote is not known without another look; our own commit is one file."""
        if self.rewritten:
            sizes = [one.size for one in self.around.store.list(self.folder)]
            return len(sizes), sum(sizes)
        size = sum(one.size for one in self.listed) - sum(one.size for one in self.moved)
        return len(self.listed) - len(self.moved) + self.published, size

    def _outcome(self, error: str = "", *, permanent: bool = False) -> Outcome:
        files, size = self._after()
        return Outcome(
            *(self.at.schema, self.at.table, tuple(self.done), tuple(self.skipped), self.expired, len(self.moved)),
            files_before=len(self.listed),
            files_after=files,
            bytes_before=sum(one.size for one in self.listed),
            bytes_after=size,
            error=error,
            permanent=permanent,
        )
