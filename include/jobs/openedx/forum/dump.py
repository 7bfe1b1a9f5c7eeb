"""Dumps the forum's database from a live MongoDB server into mongodump's layout in the landing zone.

Documents pass through as the server's own bytes, batch by batch; nothing decodes them. The dump's folder is named after its content, and ``dump.json`` is
written last, so whoever finds one finds a whole dump. User and password come from the environment, never from the address: addresses end up in logs.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import quote, urlsplit

from bson import json_util
from bson.raw_bson import RawBSONDocument
from isal import igzip
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import ConfigurationError, ConnectionFailure, InvalidURI, OperationFailure

from include.config.services import forum_login
from include.contract import JobResult, PermanentError, TransientError
from include.jobs.openedx.forum.landing import put
from include.jobs.openedx.forum.layout import RECORD, CollectionRecord, DumpRecord
from include.jobs.openedx.forum.load import deployment

log = logging.getLogger(__name__)
PATIENCE_MS = 20_000
REFUSED = {13, 18, 8000}  # Unauthorized, AuthenticationFailed, and Atlas' name for both
GZIP_LEVEL = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    parser.add_argument("--deployment", required=True, type=deployment, help="the word in table names, for example mitxonline")
    parser.add_argument("--server", required=True, help="mongodb:// or mongodb+srv:// address without user and password; those come from the environment")
    parser.add_argument("--database", required=True)
    parser.add_argument("--landing", required=True, help="URL of the landing zone")


def run(arguments: argparse.Namespace) -> JobResult:
    """The fact ``dump`` is the prefix to load. Raises ``PermanentError`` for what no retry mends, ``TransientError`` for a server that does not answer."""
    started = datetime.now(UTC)
    try:
        with connect(arguments.server) as client, tempfile.TemporaryDirectory(prefix="forum-dump-") as folder:
            files = write_dump(client[arguments.database], Path(folder))
            record = DumpRecord(database=arguments.database, started_at=started, collections={file.name: file.record for file in files})
            prefix = _put_all(files, record, arguments, Path(folder))
    except ConnectionFailure as error:
        raise TransientError(f"{arguments.server}: {error}") from error
    except OperationFailure as error:
        kind = PermanentError if error.code in REFUSED else TransientError
        raise kind(f"{arguments.server}: database {arguments.database}: {error.details.get('errmsg') if error.details else error}") from error
    documents = {name: one.documents for name, one in record.collections.items()}
    return JobResult(facts={"dump": prefix, "dumped_at": started.isoformat(), "documents": documents})


def connect(server: str) -> MongoClient[RawBSONDocument]:
    """A client with the login of the environment. Raises ``PermanentError`` for an address that is none, or that holds a password."""
    if urlsplit(server).password is not None:
        raise PermanentError("--server: found a password in the address; allowed: the address alone, with FORUM_MONGODB_USERNAME and FORUM_MONGODB_PASSWORD")
    login = forum_login()
    options: dict[str, Any] = {"username": login[0], "password": login[1]} if login else {}
    try:
        return MongoClient(server, document_class=RawBSONDocument, appname="forum-dump", serverSelectionTimeoutMS=PATIENCE_MS, **options)
    except (InvalidURI, ConfigurationError, ValueError) as error:
        raise PermanentError(f"--server: found {server}: {error}; allowed: mongodb://host:port or mongodb+srv://host") from error


@dataclass(frozen=True)
class DumpedCollection:
    """One collection on local disk: its documents, its metadata, and what ``dump.json`` says of it."""

    name: str
    data: Path
    metadata: Path
    record: CollectionRecord


def write_dump(database: Database[RawBSONDocument], folder: Path) -> list[DumpedCollection]:
    """Writes every collection below ``folder``. The server's own collections and views are left out, as mongodump leaves them out or empty."""
    infos = sorted(database.list_collections(), key=lambda info: str(info["name"]))
    chosen = [info for info in infos if info.get("type", "collection") == "collection" and not str(info["name"]).startswith("system.")]
    if not chosen:
        raise PermanentError(f"database {database.name}: found no collection; allowed: a database with some: is the name right, and may this user read it?")
    return [_write_collection(database, info, folder) for info in chosen]


def _write_collection(database: Database[RawBSONDocument], info: Any, folder: Path) -> DumpedCollection:
    name = str(info["name"])
    stem = quote(name, safe=" !()+,;=@[]{}~")  # mongodump's way: what a file system might not take is written in percent
    data, metadata = folder / f"{stem}.bson.gz", folder / f"{stem}.metadata.json"
    digest, size, documents = hashlib.sha256(), 0, 0
    packed = igzip.IGzipFile(filename=str(data), mode="wb", compresslevel=GZIP_LEVEL, mtime=0)
    with cast("BinaryIO", packed) as out:
        batches: Iterator[bytes] = iter(database[name].find_raw_batches())
        for batch in batches:
            out.write(batch)
            digest.update(batch)
            size += len(batch)
            documents += _count(batch)
    described = {"options": info.get("options", {}), "indexes": list(database[name].list_indexes()), "collectionName": name, "type": "collection"}
    if "uuid" in info.get("info", {}):
        described["uuid"] = bytes(info["info"]["uuid"]).hex()
    metadata.write_text(json_util.dumps(described, json_options=json_util.CANONICAL_JSON_OPTIONS), encoding="utf-8")
    log.info("%s.%s: %d documents, %d bytes", database.name, name, documents, size)
    return DumpedCollection(name, data, metadata, CollectionRecord(documents=documents, bytes=size, sha256=digest.hexdigest()))


def _count(batch: bytes) -> int:
    """Documents of a batch, by their length prefixes."""
    at = documents = 0
    while at < len(batch):
        at += int.from_bytes(batch[at : at + 4], "little")
        documents += 1
    return documents


def _put_all(files: list[DumpedCollection], record: DumpRecord, arguments: argparse.Namespace, folder: Path) -> str:
    content = hashlib.sha256("".join(f"{file.name}\0{file.record.sha256}\n" for file in files).encode()).hexdigest()
    prefix = f"{arguments.landing.rstrip('/')}/{arguments.deployment}/openedx/raw_data/forum/{content}"
    for file in files:
        for path in (file.data, file.metadata):
            put(path, f"{prefix}/{arguments.database}/{path.name}")
    path = folder / RECORD
    path.write_text(record.model_dump_json() + "\n", encoding="utf-8")
    put(path, f"{prefix}/{arguments.database}/{RECORD}")
    return prefix
