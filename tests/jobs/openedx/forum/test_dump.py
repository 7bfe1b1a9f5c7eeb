"""The job ``forum-dump``, against a real server of MongoDB's wire protocol."""

from __future__ import annotations

import gzip
import json
import random
import secrets
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Binary, Code, DatetimeMS, DBRef, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp
from bson.raw_bson import RawBSONDocument
from pyiceberg.catalog import Catalog
from pymongo import MongoClient
from pymongo.database import Database

from include.config.environments import current_environment
from include.config.errors import ConfigError
from include.config.services import forum_login
from include.contract import JobResult, PermanentError, TransientError
from include.jobs.openedx.forum import dump, load
from include.jobs.openedx.forum.layout import RECORD, find_dump
from include.local.platform import Platform
from tests.jobs.openedx.forum.conftest import run_in_process, tree
from tests.jobs.openedx.forum.samples import line_of

# What the local server keeps; tests/jobs/openedx/forum/test_documents.py has the types that it does not.
VALUES: list[Any] = [
    *(1.5, float("inf"), "é\0x", {"b": 1, "a": {"c": []}}, [1, "2", None], True, None, 5, Int64(7), Decimal128("1.50")),
    *(Binary(b"\1\2"), Binary(bytes(16), 4), ObjectId(), Regex("a.b", 2), Code("f()"), Timestamp(5, 6), MinKey(), MaxKey(), DBRef("c", ObjectId())),
    *(datetime(2020, 1, 1, tzinfo=UTC), DatetimeMS(1 << 55), DatetimeMS(-(1 << 55))),
]


@pytest.fixture
def database(mongodb: Platform) -> Iterator[Database[RawBSONDocument]]:
    name = f"forum_{secrets.token_hex(4)}"
    with MongoClient[RawBSONDocument](mongodb.mongodb_url, document_class=RawBSONDocument) as client:
        yield client[name]


def forum_dump(server: str, database: str, landing: Path) -> JobResult:
    return run_in_process(dump, "--deployment", "mitx", "--server", server, "--database", database, "--landing", str(landing))


def fill(database: Database[RawBSONDocument], count: int) -> dict[str, list[bytes]]:
    rng = random.Random(1)
    written = {
        "contents": [bson.encode({"_id": ObjectId(f"{n:024x}"), "body": "text " * rng.randrange(400), "value": rng.choice(VALUES)}) for n in range(count)],
        "types": [bson.encode({"_id": number, "value": value}) for number, value in enumerate(VALUES)],
        "odd name/with %": [bson.encode({"_id": "a"})],
    }
    for name, documents in written.items():
        database[name].insert_many(map(RawBSONDocument, documents))
    database["contents"].create_index([("body", 1)], name="by_body")
    return written


def test_the_servers_documents_arrive_byte_by_byte(mongodb: Platform, database: Database[RawBSONDocument], tmp_path: Path, forum_lake: Catalog) -> None:
    """More documents than one batch of the protocol holds; then the dump is loaded like any other."""
    written = fill(database, 3000)
    result = forum_dump(mongodb.mongodb_url, database.name, tmp_path)
    prefix = Path(result.facts["dump"])
    assert prefix.parent == tmp_path / "mitx/openedx/raw_data/forum"
    folder = prefix / database.name
    read = {name: gzip.decompress((folder / f"{name}.bson.gz").read_bytes()) for name in ("contents", "types", "odd name%2Fwith %25")}
    assert read == {"contents": b"".join(written["contents"]), "types": b"".join(written["types"]), "odd name%2Fwith %25": written["odd name/with %"][0]}
    metadata = json.loads((folder / "contents.metadata.json").read_text(encoding="utf-8"))
    assert {index["name"] for index in metadata["indexes"]} == {"_id_", "by_body"}, "in whatever order the server lists them"
    assert result.facts["documents"] == {"contents": 3000, "types": len(VALUES), "odd name/with %": 1}
    flags = ("--deployment", "mitx", "--source", str(prefix), "--landing", str(tmp_path), "--run-key", "live")
    loaded = run_in_process(load, *flags)
    lines = gzip.decompress(Path(loaded.facts["landed"]["types"][0]).read_bytes()).decode().splitlines()
    assert lines == [line_of(raw) for raw in written["types"]]
    ref = load.table_of(current_environment(), "mitx", "contents")
    assert forum_lake.load_table(ref.identifier).scan().to_arrow().num_rows == 3000
    assert loaded.facts["dumped_at"] == result.facts["dumped_at"]


def test_the_same_content_is_the_same_dump(mongodb: Platform, database: Database[RawBSONDocument], tmp_path: Path) -> None:
    fill(database, 20)
    first = forum_dump(mongodb.mongodb_url, database.name, tmp_path)
    stamps = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert forum_dump(mongodb.mongodb_url, database.name, tmp_path).facts["dump"] == first.facts["dump"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == stamps, "nothing is written again"
    database["contents"].delete_one({"_id": ObjectId(f"{3:024x}")})
    assert forum_dump(mongodb.mongodb_url, database.name, tmp_path).facts["dump"] != first.facts["dump"]


def test_a_dump_that_differs_from_its_record_is_refused(mongodb: Platform, database: Database[RawBSONDocument], tmp_path: Path, forum_lake: Catalog) -> None:
    """A flipped letter inside a text is BSON like any other; only the record tells."""
    fill(database, 20)
    folder = Path(forum_dump(mongodb.mongodb_url, database.name, tmp_path).facts["dump"]) / database.name
    path = folder / "contents.bson.gz"
    data = gzip.decompress(path.read_bytes())
    path.write_bytes(gzip.compress(data.replace(b"text", b"tExt", 1)))
    flags = ("--deployment", "xpro", "--source", str(folder.parent), "--landing", str(tmp_path / "landing"), "--run-key", "flipped")
    with pytest.raises(PermanentError, match=r"contents\.bson\.gz: byte \d+: found 20 documents.*allowed, as dump\.json says: 20 documents"):
        run_in_process(load, *flags)
    assert [name for name in tree(tmp_path / "landing") if "quarantine" not in name] == []
    for name in ("types.bson.gz", "types.metadata.json"):
        (folder / name).unlink()
    with pytest.raises(PermanentError, match=r"found no \.bson of types"):
        find_dump(str(folder.parent))
    (folder / RECORD).write_text("{}", encoding="utf-8")
    with pytest.raises(PermanentError, match=r"dump\.json"):
        find_dump(str(folder.parent))


def test_a_database_without_collections_is_no_dump(mongodb: Platform, tmp_path: Path) -> None:
    with pytest.raises(PermanentError, match="database nobody: found no collection; allowed: a database with some"):
        forum_dump(mongodb.mongodb_url, "nobody", tmp_path)
    assert tree(tmp_path) == {}


def test_addresses_with_passwords_and_servers_that_do_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The legacy export's password ended up in the metadata of its failures (system.md section 7)."""
    with pytest.raises(PermanentError, match="found a password in the address") as refused:
        forum_dump("mongodb://reader:hunter2@127.0.0.1:1,127.0.0.1:2/?replicaSet=a", "forum", tmp_path)
    assert "hunter2" not in str(refused.value)
    with pytest.raises(PermanentError, match="--server: found http://x"):
        forum_dump("http://x", "forum", tmp_path)
    monkeypatch.setattr(dump, "PATIENCE_MS", 300)
    monkeypatch.setenv("FORUM_MONGODB_USERNAME", "reader")
    monkeypatch.setenv("FORUM_MONGODB_PASSWORD", "hunter2")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(TransientError, match="mongodb://127") as failed:
            forum_dump(f"mongodb://127.0.0.1:{closed.getsockname()[1]}", "forum", tmp_path)
    assert "hunter2" not in str(failed.value)


def test_a_login_is_whole_or_absent() -> None:
    assert forum_login({}) is None
    assert forum_login({"FORUM_MONGODB_USERNAME": "a", "FORUM_MONGODB_PASSWORD": "b"}) == ("a", "b")
    with pytest.raises(ConfigError, match="FORUM_MONGODB_PASSWORD: found nothing"):
        forum_login({"FORUM_MONGODB_USERNAME": "a"})
