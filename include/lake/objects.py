"""Files of the lake as objects: listed, copied, moved and deleted by the thousand, which pyiceberg's file access does one by one.

``local://`` on a laptop (:class:`LocalStore`), ``s3://`` elsewhere (:class:`S3Store`). Every change asks :mod:`include.lake.rights` first.
All methods may be called by several threads at once.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from pyiceberg.catalog import Catalog

from include.atomic import is_unfinished, replacing
from include.lake.rights import current_rights
from include.lake.storage import ROOT_PROPERTY, SCHEME, LocalOutput, local_path
from include.lake.store_errors import RETRIES, StoreError, telling

AT_A_TIME = 1000
"""Keys of one ``DeleteObjects`` request."""
IN_FLIGHT = 16
ABANDONED = 86_400.0
"""Seconds after which a part of a file that nobody writes to any more is what a dead writer left, and so a file like others."""
_GONE = {"NoSuchKey", "404", "NotFound"}


@dataclass(frozen=True)
class StoredObject:
    """One file: its location, its size in bytes, when it was written (UTC)."""

    location: str
    size: int
    modified: datetime


@runtime_checkable
class ObjectStore(Protocol):
    """What maintenance and clones need of a store."""

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """Every object below ``prefix``, which names a folder; in no promised order. Nothing for a folder that is not there."""

    def read(self, location: str) -> bytes:
        """An object's bytes. Raises ``FileNotFoundError``."""

    def create(self, location: str, data: bytes) -> None:
        """Writes an object that was not there. Raises ``FileExistsError``."""

    def exists(self, location: str) -> bool:
        """Whether there is such an object."""

    def delete(self, locations: Iterable[str]) -> None:
        """Removes objects; what is gone already is fine. Raises :class:`StoreError` for any that the store kept."""

    def take_back(self, location: str) -> None:
        """Removes an object that the caller has just created and told nobody of: the right to write it is the right to take it back."""

    def copy(self, source: str, target: str) -> None:
        """Copies an object within the store. Raises ``FileNotFoundError``."""

    def move(self, source: str, target: str) -> None:
        """Copies an object and removes the first. Raises ``FileNotFoundError``."""


class LocalStore:
    """A laptop's lake: files below the directory that Trino calls ``local.location``."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """See :class:`ObjectStore`. What is removed meanwhile is left out. A part of a file that is being written is none until it is abandoned."""
        folder = local_path(self.root, prefix.rstrip("/"))
        waiting = [folder]
        while waiting:
            try:
                entries = list(os.scandir(waiting.pop()))
            except (FileNotFoundError, NotADirectoryError):
                continue
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                    continue
                if entry.name.startswith(".") and entry.name.endswith(".crc"):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if is_unfinished(entry.name) and time.time() - status.st_mtime < ABANDONED:
                        continue
                    yield StoredObject(self._location(entry.path), status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def read(self, location: str) -> bytes:
        """See :class:`ObjectStore`."""
        return local_path(self.root, location).read_bytes()

    def create(self, location: str, data: bytes) -> None:
        """See :class:`ObjectStore`."""
        current_rights().check_location(location)
        with LocalOutput(location, local_path(self.root, location)).create() as stream:
            stream.write(data)

    def exists(self, location: str) -> bool:
        """See :class:`ObjectStore`."""
        return local_path(self.root, location).exists()

    def delete(self, locations: Iterable[str]) -> None:
        """See :class:`ObjectStore`."""
        for location in locations:
            current_rights().check_location(location, "delete")
            with contextlib.suppress(FileNotFoundError):
                local_path(self.root, location).unlink()

    def take_back(self, location: str) -> None:
        """See :class:`ObjectStore`."""
        current_rights().check_location(location)
        local_path(self.root, location).unlink(missing_ok=True)

    def copy(self, source: str, target: str) -> None:
        """See :class:`ObjectStore`."""
        current_rights().check_location(target)
        path = local_path(self.root, target)
        with telling(target, path), replacing(path) as partial:
            shutil.copy2(local_path(self.root, source), partial)

    def move(self, source: str, target: str) -> None:
        """See :class:`ObjectStore`: one rename."""
        current_rights().check_location(source, "delete")
        current_rights().check_location(target)
        path = local_path(self.root, target)
        with telling(target, path):
            path.parent.mkdir(parents=True, exist_ok=True)
            local_path(self.root, source).rename(path)

    def _location(self, path: str) -> str:
        return f"{SCHEME}/{os.path.relpath(path, self.root)}"


class S3Store:
    """Buckets of S3 or of what speaks its protocol. ``client`` is boto3's, whose own retries answer 503 and ``SlowDown``.

    Whoever still does not answer is told of as a :class:`StoreError` that names the store.
    """

    def __init__(self, client: Any) -> None:
        self.client = client

    def list(self, prefix: str) -> Iterator[StoredObject]:
        """See :class:`ObjectStore`: one request for a thousand objects."""
        bucket, key = _key(f"{prefix.rstrip('/')}/")
        pages = iter(self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key))
        while True:
            with self.naming(prefix):
                page = next(pages, None)
            if page is None:
                return
            for entry in page.get("Contents", ()):
                yield StoredObject(f"s3://{bucket}/{entry['Key']}", entry["Size"], entry["LastModified"])

    def read(self, location: str) -> bytes:
        """See :class:`ObjectStore`."""
        bucket, key = _key(location)
        with self.naming(location):
            return bytes(self.client.get_object(Bucket=bucket, Key=key)["Body"].read())

    def create(self, location: str, data: bytes) -> None:
        """See :class:`ObjectStore`: the store itself refuses a second object of that name."""
        current_rights().check_location(location)
        bucket, key = _key(location)
        with self.naming(location):
            try:
                self.client.put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
            except ClientError as error:
                if error.response["Error"]["Code"] not in {"PreconditionFailed", "412"}:
                    raise
                repeated = error.response["ResponseMetadata"].get("RetryAttempts", 0) > 0
                if not (repeated and self.read(location) == data):  # an answer that was lost: what is there is what was sent
                    raise FileExistsError(17, os.strerror(17), location) from None

    def exists(self, location: str) -> bool:
        """See :class:`ObjectStore`."""
        bucket, key = _key(location)
        try:
            with self.naming(location):
                self.client.head_object(Bucket=bucket, Key=key)
        except FileNotFoundError:
            return False
        return True

    def delete(self, locations: Iterable[str]) -> None:
        """See :class:`ObjectStore`: a thousand in a request, several requests at a time."""
        by_bucket: dict[str, Any] = {}
        for location in locations:
            current_rights().check_location(location, "delete")
            bucket, key = _key(location)
            by_bucket.setdefault(bucket, []).append(key)
        groups = [(bucket, keys[start : start + AT_A_TIME]) for bucket, keys in by_bucket.items() for start in range(0, len(keys), AT_A_TIME)]
        if len(groups) < 2:
            kept = [failure for group in groups for failure in self._delete_group(*group)]
        else:
            with ThreadPoolExecutor(IN_FLIGHT) as threads:
                kept = [failure for failures in threads.map(lambda group: self._delete_group(*group), groups) for failure in failures]
        if kept:
            raise StoreError(f"{len(kept)} objects were not deleted: {'; '.join(kept[:5])}")

    def take_back(self, location: str) -> None:
        """See :class:`ObjectStore`."""
        current_rights().check_location(location)
        bucket, key = _key(location)
        with self.naming(location):
            self.client.delete_object(Bucket=bucket, Key=key)

    def _delete_group(self, bucket: str, keys: Iterable[str]) -> Iterable[str]:
        wanted = [{"Key": key} for key in keys]
        with self.naming(f"s3://{bucket}/{wanted[0]['Key']}"):
            answer = self.client.delete_objects(Bucket=bucket, Delete={"Objects": wanted, "Quiet": True})
        return [f"s3://{bucket}/{error['Key']} ({error.get('Code')})" for error in answer.get("Errors", ()) if error.get("Code") not in _GONE]

    def copy(self, source: str, target: str) -> None:
        """See :class:`ObjectStore`: the store copies; above 5 GB in parts."""
        current_rights().check_location(target)
        (bucket, key), (other_bucket, other_key) = _key(source), _key(target)
        with self.naming(source):
            self.client.copy({"Bucket": bucket, "Key": key}, other_bucket, other_key)

    def move(self, source: str, target: str) -> None:
        """See :class:`ObjectStore`: the first goes when the second is there."""
        current_rights().check_location(source, "delete")
        self.copy(source, target)
        self.delete([source])

    @contextlib.contextmanager
    def naming(self, location: str) -> Iterator[None]:
        """Turns boto3's errors into ``FileNotFoundError`` and into :class:`StoreError`, both of which name the location."""
        try:
            yield
        except ClientError as error:
            if error.response["Error"]["Code"] in _GONE:
                raise FileNotFoundError(2, os.strerror(2), location) from None
            raise self._told(location, error) from error
        except BotoCoreError as error:
            raise self._told(location, error) from error

    def _told(self, location: str, error: Exception) -> StoreError:
        return StoreError(f"{location}: the store {self.client.meta.endpoint_url}: {error}")


def store_of(catalog: Catalog) -> ObjectStore:
    """The store of a catalog's tables, by the catalog's own properties. Raises ``ValueError`` for a warehouse on neither kind of store."""
    properties = catalog.properties
    warehouse = properties.get("warehouse", "")
    if warehouse.startswith(SCHEME):
        root = properties.get(ROOT_PROPERTY)
        if not root:
            raise ValueError(f"catalog property {ROOT_PROPERTY}: found nothing; allowed: the directory Trino has as local.location")
        return LocalStore(root)
    if not warehouse.startswith("s3://"):
        raise ValueError(f"catalog property warehouse: found {warehouse!r}; allowed: s3://… or local:///…")
    return S3Store(s3_client(properties))


def s3_client(properties: Any) -> Any:
    """boto3's client with pyiceberg's own properties (``s3.endpoint``, ``s3.region``, ``s3.access-key-id`` …), or with the machine's credentials."""
    path_style = "s3.endpoint" in properties
    return boto3.client(
        "s3",
        endpoint_url=properties.get("s3.endpoint"),
        region_name=properties.get("s3.region") or properties.get("client.region") or "us-east-1",
        aws_access_key_id=properties.get("s3.access-key-id") or properties.get("client.access-key-id"),
        aws_secret_access_key=properties.get("s3.secret-access-key") or properties.get("client.secret-access-key"),
        aws_session_token=properties.get("s3.session-token"),
        config=Config(
            retries=RETRIES,
            max_pool_connections=2 * IN_FLIGHT,
            s3={"addressing_style": "path"} if path_style else None,
            request_checksum_calculation="when_required",  # stores other than AWS refuse or misread checksums
            response_checksum_validation="when_required",
        ),
    )


def _key(location: str) -> tuple[str, str]:
    scheme, separator, path = location.partition("://")
    bucket, slash, key = path.partition("/")
    if scheme not in {"s3", "s3a", "s3n"} or not separator or not bucket or not slash:
        raise ValueError(f"location: found {location!r}; allowed: s3://bucket/key")
    return bucket, key
