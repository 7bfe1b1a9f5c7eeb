"""Where files go that nobody can reach any more: out of the way for some days, back when somebody needs them, then gone.

A disk renames them below ``<warehouse>/.quarantine/<date>/``. A bucket with versions hides them behind delete markers, and a record below the
same folder lists keys and markers; one without versions copies and deletes. A file's way back is the same path without the folder.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol

import orjson
from pyiceberg.catalog import Catalog

from include.lake.objects import AT_A_TIME, ObjectStore, S3Store, StoredObject, store_of
from include.lake.rights import current_rights
from include.lake.store_errors import StoreError

FOLDER = ".quarantine"


@dataclass(frozen=True)
class Quarantined:
    """A file in quarantine: where it was, where it is now (a record for one behind a delete marker), its size in bytes, since when."""

    origin: str
    location: str
    size: int
    since: date
    marker: str = ""


class Quarantine(Protocol):
    """Takes files in, gives them back, forgets them."""

    def put(self, files: Iterable[StoredObject], today: date) -> list[StoredObject]:
        """Takes files in; returns those that were still there."""

    def files(self) -> Iterator[Quarantined]:
        """Everything in quarantine."""

    def restore(self, files: Iterable[Quarantined]) -> int:
        """Brings files back; how many. A file that is there again meanwhile stays as it is."""

    def purge(self, files: Iterable[Quarantined]) -> int:
        """Removes files for good; how many."""


def quarantine_of(catalog: Catalog, store: ObjectStore | None = None, threads: Executor | None = None) -> Quarantine:
    """The quarantine of a catalog's warehouse: by delete markers where its bucket keeps versions, by moving elsewhere, in ``threads`` if there are any."""
    store = store or store_of(catalog)
    warehouse = catalog.properties["warehouse"].rstrip("/")
    if isinstance(store, S3Store):
        bucket = warehouse.partition("://")[2].partition("/")[0]
        with store.naming(warehouse):
            versions = store.client.get_bucket_versioning(Bucket=bucket).get("Status") == "Enabled"
        if versions:
            return MarkerQuarantine(store, warehouse)
    return MovingQuarantine(store, warehouse, threads)


def chosen(files: Iterable[Quarantined], *, below: str = "", since: date | None = None, before: date | None = None) -> list[Quarantined]:
    """Of some files those that were below a folder, that were taken in on ``since`` or later, or before ``before``."""
    return [
        one
        for one in files
        if (not below or one.origin.startswith(f"{below.rstrip('/')}/")) and (since is None or one.since >= since) and (before is None or one.since < before)
    ]


def purge_date(now: datetime, days: int) -> date:
    """Files taken in before this day have been in quarantine for ``days`` whole days."""
    return (now.astimezone(UTC) - timedelta(days=days)).date()


@dataclass(frozen=True)
class MovingQuarantine:
    """For disks and for buckets without versions: the file itself is moved."""

    store: ObjectStore
    warehouse: str
    threads: Executor | None = None

    def put(self, files: Iterable[StoredObject], today: date) -> list[StoredObject]:
        """See :class:`Quarantine`."""
        at_once = self.threads.map if self.threads else map
        wanted = list(files)
        return [one for one, moved in zip(wanted, at_once(lambda one: self._put(one, today), wanted), strict=True) if moved]

    def _put(self, one: StoredObject, today: date) -> bool:
        return _moved(self.store, one.location, f"{self.warehouse}/{FOLDER}/{today:%Y-%m-%d}/{_relative(one.location, self.warehouse)}")

    def files(self) -> Iterator[Quarantined]:
        """See :class:`Quarantine`."""
        for one in self.store.list(f"{self.warehouse}/{FOLDER}"):
            day, _, path = one.location.partition(f"/{FOLDER}/")[2].partition("/")
            with contextlib.suppress(ValueError):  # a file of somebody else's
                yield Quarantined(f"{self.warehouse}/{path}", one.location, one.size, date.fromisoformat(day))

    def restore(self, files: Iterable[Quarantined]) -> int:
        """See :class:`Quarantine`."""
        return sum(_moved(self.store, one.location, one.origin) for one in files if not self.store.exists(one.origin))

    def purge(self, files: Iterable[Quarantined]) -> int:
        """See :class:`Quarantine`."""
        locations = [one.location for one in files]
        self.store.delete(locations)
        return len(locations)


@dataclass(frozen=True)
class MarkerQuarantine:
    """For buckets with versions: a delete marker takes the file away, and without the marker it is back.

    The record of what is about to go is written first, so what a killed run took away is in quarantine like everything else; a second record with
    the markers' version ids follows.
    """

    store: S3Store
    warehouse: str

    def put(self, files: Iterable[StoredObject], today: date) -> list[StoredObject]:
        """See :class:`Quarantine`: a thousand files a request."""
        wanted = list(files)
        for start in range(0, len(wanted), AT_A_TIME):
            group = wanted[start : start + AT_A_TIME]
            for one in group:
                current_rights().check_location(one.location, "delete")
            record = f"{self.warehouse}/{FOLDER}/{today:%Y-%m-%d}/{secrets.token_hex(8)}"
            self.store.create(f"{record}.keys.json", orjson.dumps([[one.location, one.size] for one in group]))
            self.store.create(f"{record}.markers.json", orjson.dumps(self._mark(group)))
        return wanted

    def _mark(self, group: list[StoredObject]) -> dict[str, str]:
        bucket, names = self._keys(one.location for one in group)
        with self.store.naming(group[0].location):
            answer = self.store.client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in names]})
        if errors := answer.get("Errors"):
            raise StoreError(f"{len(errors)} objects were not taken away: {'; '.join(str(error.get('Key')) for error in errors[:5])}")
        return {names[one["Key"]]: one.get("DeleteMarkerVersionId", "") for one in answer.get("Deleted", ())}

    def files(self) -> Iterator[Quarantined]:
        """See :class:`Quarantine`."""
        records = {one.location for one in self.store.list(f"{self.warehouse}/{FOLDER}")}
        for location in sorted(one for one in records if one.endswith(".keys.json")):
            markers_at = location.replace(".keys.json", ".markers.json")
            markers = orjson.loads(self.store.read(markers_at)) if markers_at in records else {}
            day = date.fromisoformat(location.rsplit("/", 2)[1])
            for origin, size in orjson.loads(self.store.read(location)):
                yield Quarantined(origin, location, size, day, markers.get(origin, ""))

    def restore(self, files: Iterable[Quarantined]) -> int:
        """See :class:`Quarantine`: removes the newest marker, whichever run set it. The records stay until they are purged."""
        return sum(self._restore(one) for one in files)

    def _restore(self, one: Quarantined) -> int:
        bucket, names = self._keys([one.origin])
        key = next(iter(names))
        found = [marker for marker in self._versions(bucket, key, "DeleteMarkers") if marker["IsLatest"]]
        if not found:
            return 0
        current_rights().check_location(one.origin)
        with self.store.naming(one.origin):
            self.store.client.delete_object(Bucket=bucket, Key=key, VersionId=found[0]["VersionId"])
        return 1

    def purge(self, files: Iterable[Quarantined]) -> int:
        """See :class:`Quarantine`: all versions of keys that are still behind a marker, then the records that have nothing else."""
        every = list(files)
        purged = 0
        for one in every:
            current_rights().check_location(one.origin, "delete")
            bucket, names = self._keys([one.origin])
            key = next(iter(names))
            if any(marker["IsLatest"] for marker in self._versions(bucket, key, "DeleteMarkers")):
                for kind in ("Versions", "DeleteMarkers"):
                    for version in self._versions(bucket, key, kind):
                        with self.store.naming(one.origin):
                            self.store.client.delete_object(Bucket=bucket, Key=key, VersionId=version["VersionId"])
                purged += 1
        done = {(one.location, one.origin) for one in every}
        for record in {one.location for one in every}:
            if all((record, origin) in done for origin, _ in orjson.loads(self.store.read(record))):
                self.store.delete([record.replace(".keys.json", ".markers.json"), record])
        return purged

    def _versions(self, bucket: str, key: str, kind: str) -> list[Any]:
        with self.store.naming(f"s3://{bucket}/{key}"):
            pages = self.store.client.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=key)
            return [version for page in pages for version in page.get(kind, ()) if version["Key"] == key]

    def _keys(self, locations: Iterable[str]) -> tuple[str, dict[str, str]]:
        found = {}
        for location in locations:
            _relative(location, self.warehouse)  # refuses what lies elsewhere
            found[location.partition("://")[2].partition("/")[2]] = location
        return self.warehouse.partition("://")[2].partition("/")[0], found


def _relative(location: str, warehouse: str) -> str:
    if not location.startswith(f"{warehouse}/") or "/../" in location:
        raise ValueError(f"quarantine: found {location}; allowed: files below {warehouse}/")
    return location.removeprefix(f"{warehouse}/")


def _moved(store: ObjectStore, source: str, target: str) -> bool:
    """Whether the file was there to be moved; two runs at once take each file once."""
    try:
        store.move(source, target)
    except FileNotFoundError:
        return False
    return True
