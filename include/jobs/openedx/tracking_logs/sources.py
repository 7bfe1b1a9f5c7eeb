"""Which objects below a prefix are a day's log files, whether they have stopped growing, and which of them are the same.

An object belongs to the last day that its path below the prefix names, written ``2026-03-02`` or ``20260302``: to exactly one, so no
event can get into two partitions. Names are only ever compared, opened and recorded; nothing is built from them.

So a day's files may lie anywhere below the prefix, and who asks for a day, or for several, lists all of it. Only where the unit says in which
folder each day's files lie (``day_folder``), that folder alone is listed.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeAlias

from fsspec import AbstractFileSystem

from include.contract import TransientError
from include.jobs.openedx.prefixes import filesystem_of, objects_below

log = logging.getLogger(__name__)
_DAY = re.compile(r"(?<!\d)(20\d\d)(-?)(0[1-9]|1[0-2])\2(0[1-9]|[12]\d|3[01])(?!\d)", re.ASCII)
OLD = timedelta(minutes=15)
"""An object last written so long ago is complete, even if the store's clock and ours differ as far as S3 allows."""
_HASH_BYTES = 8 << 20
States: TypeAlias = dict[str, tuple[int, str]]
"""Objects by their names below the prefix, each with its size and tag: what a listing shows."""


@dataclass(frozen=True, order=True)
class Source:
    """An object: ``name`` below the prefix, ``path`` for its file system, size in bytes, the store's ``tag`` of its present content."""

    name: str
    path: str
    size: int
    tag: str
    modified: datetime | None = None

    @property
    def state(self) -> tuple[int, str]:
        """What changes when the content does."""
        return self.size, self.tag


@dataclass(frozen=True)
class Prefix:
    """Where a deployment's log files lie. ``day_folder`` is the folder of a day below it, in the letters of ``strftime``; empty when a day has none."""

    url: str
    day_folder: str = ""

    def open(self) -> tuple[AbstractFileSystem, str]:
        """The file system and the prefix as it calls it, without a slash at the end."""
        return filesystem_of(self.url)

    def list(self, day: date) -> tuple[Source, ...]:
        """The day's objects as they are now, sorted by name. Raises ``PermanentError`` for a bucket that is not there or may not be listed."""
        return self.by_day([day])[day]

    def by_day(self, days: Iterable[date]) -> dict[date, tuple[Source, ...]]:
        """The same for several days, from one listing of the prefix, or one of each day's folder."""
        fs, root = self.open()
        found: dict[date, set[Source]] = {day: set() for day in days}
        for place in sorted({f"{root}/{day.strftime(self.day_folder)}" if self.day_folder else root for day in found}):
            for path, info in objects_below(self.url, fs, place).items():
                name = path[len(root) :].lstrip("/")
                day = None if path.endswith("/") else day_of(name)
                if day in found:
                    found[day].add(_source(name, path, info))
        return {day: tuple(sorted(sources)) for day, sources in found.items()}

    def name_of(self, source: Source) -> str:
        """The object's full address."""
        fs, _ = self.open()
        return str(fs.unstrip_protocol(source.path))


def states(sources: Iterable[Source]) -> States:
    """What the listing of some objects shows."""
    return {source.name: source.state for source in sources}


def day_of(name: str) -> date | None:
    """The last day that a path names, or nothing."""
    found = None
    for match in _DAY.finditer(name):
        try:
            found = date(int(match[1]), int(match[3]), int(match[4]))
        except ValueError:  # 30 February is part of something else
            continue
    return found


def settled(listed: Callable[[], tuple[Source, ...]], *, interval: float, patience: float) -> tuple[Source, ...]:
    """The day's objects once none has changed for ``interval`` seconds. Raises ``TransientError`` when that takes longer than ``patience`` seconds.

    Objects that were all last written a quarter of an hour ago or earlier are not waited for.
    """
    waited = 0.0
    before = sources = listed()
    while not all(one.modified and datetime.now(UTC) - one.modified > OLD for one in sources):
        if waited >= patience:
            raise TransientError(f"log files still change after {waited:.0f} s: {_changes(before, sources)}")
        time.sleep(interval)
        waited += interval
        before, sources = sources, listed()
        changes = _changes(before, sources)
        if not changes:
            break
        log.info("waiting for log files that change: %s", changes)
    return sources


def check_unchanged(read: tuple[Source, ...], now: tuple[Source, ...]) -> None:
    """Raises ``TransientError`` when an object is no longer what it was when it was read.

    Objects that came since are none of this write: the manifest does not name them, so the next run that looks at the day opens it again.
    """
    present = {one.name: one for one in now}
    kept = tuple(present[one.name] for one in read if one.name in present)
    if changes := _changes(read, kept):
        raise TransientError(f"log files changed while they were read, nothing was written: {changes}")


def without_copies(prefix: Prefix, sources: tuple[Source, ...]) -> tuple[tuple[Source, ...], dict[str, str]]:
    """The objects without those whose bytes another one has too, and for each of these the name of the one that stays.

    A log file has sessions and microseconds in every line: two equal ones are one file that was delivered twice.
    """
    by_size: dict[int, list[Source]] = {}
    for one in sources:
        by_size.setdefault(one.size, []).append(one)
    copies: dict[str, str] = {}
    for size, same in by_size.items():
        first: dict[str, str] = {}
        for one in same if size and len(same) > 1 else ():
            kept = first.setdefault(_digest(prefix, one), one.name)
            if kept != one.name:
                copies[one.name] = kept
    return tuple(one for one in sources if one.name not in copies), copies


def _digest(prefix: Prefix, source: Source) -> str:
    fs, _ = prefix.open()
    digest = hashlib.sha256()
    with fs.open(source.path, "rb") as stream:
        while data := stream.read(_HASH_BYTES):
            digest.update(data)
    return digest.hexdigest()


def _source(name: str, path: str, info: Mapping[str, Any]) -> Source:
    tag = next((str(info[key]) for key in ("ETag", "etag", "generation", "md5Hash") if info.get(key)), "")
    if not tag:  # a local file has none; its inode and time change with its content
        tag = f"{info.get('ino')}:{info.get('mtime')}"
    modified = next((info[key] for key in ("LastModified", "last_modified", "updated", "mtime") if info.get(key)), None)
    return Source(name, path, int(info.get("size") or 0), tag.strip('"'), _moment(modified))


def _moment(value: object) -> datetime | None:
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value if isinstance(value, datetime) and value.tzinfo else None


def _changes(before: tuple[Source, ...], after: tuple[Source, ...]) -> str:
    """What differs, for people; empty when nothing does."""
    old, new = {one.name: one for one in before}, {one.name: one for one in after}
    texts = [f"{name} is gone" for name in old.keys() - new.keys()]
    texts += [f"{name} came" for name in new.keys() - old.keys()]
    texts += [f"{name} went from {old[name].size} to {one.size} bytes" for name, one in new.items() if name in old and old[name].state != one.state]
    return ", ".join(sorted(texts)[:10])
