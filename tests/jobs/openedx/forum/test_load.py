"""The job ``forum-load``: dumps become landing objects and rows, whole or not at all, however often and in whatever order they come."""

from __future__ import annotations

import argparse
import base64
import gzip
import io
import json
import os
import random
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import bson
import pyarrow.parquet as pq
import pytest
from bson import Int64, ObjectId
from pyiceberg.catalog import Catalog

from include.config.environments import current_environment
from include.contract import JobResult, PermanentError, TransientError
from include.jobs.openedx.forum import dump as dump_job
from include.jobs.openedx.forum import load
from include.jobs.openedx.forum.convert import ConvertedCollection, convert_collection
from include.jobs.openedx.forum.frames import CutFileError
from include.jobs.openedx.forum.layout import find_dump
from include.jobs.openedx.forum.tables import load_rows
from include.lake.names import TableRef
from tests.jobs.openedx.forum.conftest import ROUNDS, run_in_process, tree
from tests.jobs.openedx.forum.samples import document, element, line_of, ragged, write_dump
from tests.jobs.test_contract import run_job
from tests.lake.moto_server import moto
from tests.variables import object_store_at

pytestmark = pytest.mark.usefixtures("forum_lake")
DAY = "2026-03-02T00:00:00Z"


def forum_load(source: Path | str, landing: Path | str, run_key: str, *, deployment: str = "mitxonline", dumped_at: str = DAY) -> JobResult:
    flags = ("--deployment", deployment, "--source", str(source), "--landing", str(landing), "--run-key", run_key, "--dumped-at", dumped_at)
    return run_in_process(load, *flags)


def thread(number: int, **fields: Any) -> bytes:
    return bson.encode({"_id": ObjectId(f"{number:024x}"), "_type": "CommentThread", "title": f"thread {number}", "votes": {"up": ["7"], "count": 1}, **fields})


def table_rows(catalog: Catalog, collection: str, deployment: str = "mitxonline") -> list[dict[str, Any]]:
    ref = load.table_of(current_environment(), deployment, collection)
    rows: list[dict[str, Any]] = catalog.load_table(ref.identifier).scan().to_arrow().to_pylist()
    return sorted(rows, key=lambda row: row["document_key"])


def lines_of(url: str) -> list[str]:
    return gzip.decompress(Path(url).read_bytes()).decode().splitlines()


@pytest.mark.parametrize("gzipped", [False, True])
def test_a_dump_becomes_objects_named_after_their_content_and_rows(gzipped: bool, tmp_path: Path, forum_lake: Catalog) -> None:
    deployment = "xpro" if gzipped else "mitx"
    contents = [thread(number) for number in range(30)]
    users = [bson.encode({"_id": str(number), "read_states": [{"last_read_times": {f"{number:024x}": 5}}]}) for number in range(7)]
    dump = write_dump(tmp_path / "dump", {"contents": contents, "users": users, "subscriptions": []}, gzipped=gzipped)
    result = forum_load(dump, tmp_path / "landing", "run-1", deployment=deployment)
    assert result.facts["documents"] == {"contents": 30, "subscriptions": 0, "users": 7}
    prefix = f"ol_data_lake_local.ol_warehouse_local_raw.raw__{deployment}__openedx__mongodb__forum__"
    assert {name.removeprefix(prefix): table.rows for name, table in result.tables.items()} == {"contents": 30, "subscriptions": None, "users": 7}
    lines, parquet = result.facts["landed"]["contents"]
    assert Path(lines).parent == tmp_path / "landing" / deployment / "openedx/processed_data/forum/contents"
    assert lines_of(lines) == [line_of(raw) for raw in contents]
    assert lines_of(result.facts["landed"]["subscriptions"][0]) == []
    assert pq.read_table(parquet).num_rows == 30
    rows = table_rows(forum_lake, "contents", deployment)
    assert [row["title"] for row in rows] == [f"thread {number}" for number in range(30)]
    expected = {"_id": f"{5:024x}", "_type": "CommentThread", "votes__up": ["7"], "votes__count": 1, "document_rest": None}
    assert rows[5].items() >= {**expected, "document_key": f'{{"$oid":"{5:024x}"}}', "retrieved_at": datetime(2026, 3, 2, tzinfo=UTC)}.items()
    assert table_rows(forum_lake, "users", deployment)[3]["read_states"] == f'[{{"last_read_times":{{"{3:024x}":{{"$numberInt":"5"}}}}}}]'


def test_the_same_dump_again_writes_nothing(tmp_path: Path, forum_lake: Catalog) -> None:
    dump = write_dump(tmp_path / "dump", {"again": [thread(number) for number in range(5)]})
    forum_load(dump, tmp_path / "landing", "first")
    table = forum_lake.load_table(load.table_of(current_environment(), "mitxonline", "again").identifier)
    before, objects = table.current_snapshot(), tree(tmp_path / "landing")
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "landing").rglob("*.parquet")}
    for key in ("first", "another"):
        forum_load(dump, tmp_path / "landing", key)
    assert table.refresh().current_snapshot() == before
    assert tree(tmp_path / "landing") == objects
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps, "objects are never written again"


def days() -> list[tuple[str, list[bytes]]]:
    """Three dumps: documents change, come and go, and gain fields."""
    return [
        ("2026-03-02T00:00:00Z", [thread(number) for number in range(20)]),
        ("2026-03-03T00:00:00Z", [thread(number, title=f"edited {number}") for number in range(10, 25)]),
        ("2026-03-04T00:00:00Z", [thread(number, pinned=number % 2 == 0, count=Int64(number)) for number in range(12, 30)]),
    ]


@pytest.mark.parametrize("seed", range(3))
def test_dumps_delivered_one_to_five_times_in_any_order_give_the_same_table(seed: int, tmp_path: Path, forum_lake: Catalog) -> None:
    """R-10, and the newest dump that has a document says what it is: one that is gone keeps its last row."""
    rng = random.Random(seed)
    dumps = [(moment, write_dump(tmp_path / moment[:10], {f"order_{seed}": documents})) for moment, documents in days()]
    deliveries = [number for number in range(3) for _ in range(rng.randrange(1, 6))]
    rng.shuffle(deliveries)
    for place, number in enumerate(deliveries):
        moment, dump = dumps[number]
        forum_load(dump, tmp_path / "landing", rng.choice([f"dump-{number}", f"delivery-{place}"]), dumped_at=moment)
    rows = table_rows(forum_lake, f"order_{seed}")
    expected: dict[int, tuple[str, str]] = {}
    for moment, documents in days():
        for raw in documents:
            found = bson.decode(raw)
            expected[int(str(found["_id"]), 16)] = (found["title"], moment)
    assert {int(row["_id"], 16): (row["title"], row["retrieved_at"].strftime("%Y-%m-%dT%H:%M:%SZ")) for row in rows} == expected
    assert [row["count"] for row in rows] == [None] * 12 + list(range(12, 30))


def test_a_job_that_died_between_two_tables_goes_on_under_its_key(tmp_path: Path, forum_lake: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    dump = write_dump(tmp_path / "dump", {f"part_{number}": [thread(number) for number in range(3)] for number in range(3)})
    died = KeyboardInterrupt("killed")

    def die(catalog: Catalog, ref: TableRef, files: list[Path], run_key: str) -> Any:
        if ref.table.endswith("part_1"):
            raise died
        return load_rows(catalog, ref, files, run_key)

    with monkeypatch.context() as patch:
        patch.setattr(load, "load_rows", die)
        with pytest.raises(KeyboardInterrupt):
            forum_load(dump, tmp_path / "landing", "run")
    first = forum_lake.load_table(load.table_of(current_environment(), "mitxonline", "part_0").identifier)
    result = forum_load(dump, tmp_path / "landing", "run")
    assert [table.rows for table in result.tables.values()] == [3, 3, 3]
    assert len(first.refresh().snapshots()) == 1


def test_a_type_that_changes_between_dumps_goes_to_the_rest(tmp_path: Path, forum_lake: Catalog) -> None:
    first = write_dump(tmp_path / "1", {"kinds": [bson.encode({"_id": 1, "n": 1.5, "x": 5, "t": datetime(2026, 1, 1)})]})
    later = ({"_id": 2, "n": 3, "x": "five", "t": [datetime(2026, 1, 1)]}, {"_id": 3, "n": Int64(1 << 40)})
    second = write_dump(tmp_path / "2", {"kinds": map(bson.encode, later)})
    forum_load(first, tmp_path / "landing", "1")
    forum_load(second, tmp_path / "landing", "2", dumped_at="2026-03-03T00:00:00Z")
    rows = table_rows(forum_lake, "kinds")
    assert [(row["n"], row["x"]) for row in rows] == [(1.5, 5), (3.0, None), (None, None)]
    assert [json.loads(row["document_rest"] or "{}") for row in rows] == [
        {},
        {"x": "five", "t": [{"$date": {"$numberLong": "1767225600000"}}]},
        {"n": {"$numberLong": str(1 << 40)}},
    ]
    table = forum_lake.load_table(load.table_of(current_environment(), "mitxonline", "kinds").identifier)
    assert {field.name: field.doc for field in table.schema().fields}["t"] == "BSON date: t"


def test_bad_documents_are_kept_in_the_quarantine_and_the_others_are_loaded(tmp_path: Path, forum_lake: Catalog) -> None:
    bad = document(element(0x07, b"_id", bytes(12)), element(0x20, b"v", b""))
    documents = [*(thread(number) for number in range(4)), bad, thread(9)]
    result = forum_load(write_dump(tmp_path / "dump", {"mixed": documents}), tmp_path / "landing", "run")
    assert result.facts["refused"] == {"mixed": 1}
    assert len(table_rows(forum_lake, "mixed")) == 5
    (kept,) = (tmp_path / "landing/mitxonline/openedx/quarantine/forum").iterdir()
    (line,) = map(json.loads, kept.read_text(encoding="utf-8").splitlines())
    assert line["offset"] == sum(map(len, documents[:4]))
    assert line["source"].endswith("/forum/mixed.bson")
    assert "type 0x20" in line["reason"]
    assert base64.b64decode(line["document"]) == bad


def test_a_key_given_twice_is_told_and_the_last_one_counts(tmp_path: Path, forum_lake: Catalog) -> None:
    dump = write_dump(tmp_path / "dump", {"twice": [thread(1, title="old"), thread(2), thread(1, title="new")]})
    result = forum_load(dump, tmp_path / "landing", "run")
    assert result.facts["repeated"] == {"twice": 1}
    assert len(lines_of(result.facts["landed"]["twice"][0])) == 3
    assert [row["title"] for row in table_rows(forum_lake, "twice")] == ["new", "thread 2"]


def damaged(rng: random.Random, data: bytes) -> bytes:
    if rng.random() < 0.5:
        return data[: rng.randrange(len(data))]
    changed = bytearray(data)
    changed[rng.randrange(len(data))] ^= rng.randrange(1, 256)
    return bytes(changed)


@pytest.mark.parametrize("gzipped", [False, True])
def test_500_cut_or_flipped_files_are_refused_or_read_to_the_last_byte(gzipped: bool, tmp_path: Path) -> None:
    """R-9: a cut file is refused with an offset; of a flipped one every document is a line or in the quarantine."""
    rng = random.Random(9)
    whole = ragged(1, 40)
    plain = b"".join(whole)
    data = gzip.compress(plain) if gzipped else plain
    refused = 0
    for number in range(250):
        spool = tmp_path / str(number)
        spool.mkdir()
        given = damaged(rng, data)
        found = convert_or_refuse(given, spool, gzipped=gzipped, chunk_bytes=rng.choice([4000, 8 << 20]))
        if isinstance(found, CutFileError):
            refused += 1
            assert 0 <= found.offset <= len(plain) + 4
            assert found.reason
            continue
        assert found.size == len(plain if gzipped else given)
        assert found.lines is not None
        lines = gzip.decompress(found.lines.read_bytes()).decode().splitlines()
        assert len(lines) + len(found.refused) == found.documents
        assert sum(pq.read_metadata(part).num_rows for part in found.parquet) == len(lines)
        assert found.documents == len(whole) or len(given) < len(data), "a flip loses no document"
        shutil.rmtree(spool)
    assert refused > 100
    assert gzipped or refused < 220


def convert_or_refuse(data: bytes, spool: Path, *, gzipped: bool, chunk_bytes: int) -> ConvertedCollection | CutFileError:
    try:
        return convert_collection(io.BytesIO(data), "x.bson", spool, datetime(2026, 3, 2, tzinfo=UTC), gzipped=gzipped, chunk_bytes=chunk_bytes)
    except CutFileError as error:
        return error


def test_damaged_dumps_never_load_in_part(tmp_path: Path, forum_lake: Catalog, request: pytest.FixtureRequest) -> None:
    """The whole job over dumps of two collections, one damaged: all of it or nothing is in the tables."""
    rng = random.Random(4)
    good, other = [thread(number) for number in range(20)], [thread(number, title="other") for number in range(5)]
    ref = load.table_of(current_environment(), "xpro", "damaged")
    for number in range(request.config.getoption(ROUNDS, default=None) or 12):
        dump = write_dump(tmp_path / f"dump-{number}", {"damaged": good, f"also_{number}": other})
        path = dump / "forum/damaged.bson"
        path.write_bytes(damaged(rng, path.read_bytes()))
        before = forum_lake.load_table(ref.identifier).current_snapshot() if forum_lake.table_exists(ref.identifier) else None
        landed = tree(tmp_path / "landing")
        moment = (datetime(2026, 3, 2, tzinfo=UTC) + timedelta(minutes=number)).isoformat()
        result = load_or_refuse(dump, tmp_path / "landing", f"run-{number}", moment)
        if isinstance(result, PermanentError):
            assert "damaged.bson: byte " in str(result)
            after = forum_lake.load_table(ref.identifier).current_snapshot() if forum_lake.table_exists(ref.identifier) else None
            assert after == before
            assert not forum_lake.table_exists(load.table_of(current_environment(), "xpro", f"also_{number}").identifier)
            assert {name for name in tree(tmp_path / "landing").keys() - landed.keys() if "quarantine" not in name} == set()
        else:
            assert result.facts["documents"]["damaged"] + result.facts["refused"].get("damaged", 0) == 20
            assert len(table_rows(forum_lake, f"also_{number}", "xpro")) == 5


def load_or_refuse(dump: Path, landing: Path, run_key: str, moment: str) -> JobResult | PermanentError:
    try:
        return forum_load(dump, landing, run_key, deployment="xpro", dumped_at=moment)
    except PermanentError as error:
        return error


def test_what_is_no_whole_dump_is_told(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", {"contents": [thread(1)], "users": [thread(2)]})
    (dump / "forum/users.bson").unlink()
    with pytest.raises(PermanentError, match=r"found no \.bson of users; allowed: whole dumps"):
        forum_load(dump, tmp_path, "run")
    (dump / "forum/users.metadata.json").unlink()
    (dump / "forum/contents.metadata.json").rename(dump / "forum/contents.metadata.txt")
    with pytest.raises(PermanentError, match=r"found no contents\.metadata\.json beside it"):
        forum_load(dump, tmp_path, "run")
    with pytest.raises(PermanentError, match=r"found no --database and 0 databases; allowed: a prefix with <database>/<collection>\.bson"):
        forum_load(tmp_path / "nowhere", tmp_path, "run")
    write_dump(tmp_path / "two", {"a": []}, database="one")
    write_dump(tmp_path / "two", {"a": []}, database="other")
    with pytest.raises(PermanentError, match="2 databases; allowed: a database of one, other"):
        forum_load(tmp_path / "two", tmp_path, "run")
    (dump / "forum/contents.metadata.txt").write_text("{", encoding="utf-8")
    (dump / "forum/contents.metadata.txt").rename(dump / "forum/contents.metadata.json")
    with pytest.raises(PermanentError, match=r"contents\.metadata\.json: found no JSON"):
        forum_load(dump, tmp_path, "run")


@pytest.mark.parametrize("scheme", ["abfs", "nowhere"])
def test_a_scheme_without_its_package_is_named(tmp_path: Path, scheme: str) -> None:
    with pytest.raises(PermanentError, match=rf"{scheme}://dumps/forum: found no file system for {scheme}:// .*; allowed: s3://, gs:// or a local path"):
        forum_load(f"{scheme}://dumps/forum", tmp_path, "run")


@pytest.mark.parametrize("module", [load, dump_job])
def test_any_deployment_that_a_unit_file_may_name_is_taken(module: ModuleType) -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    module.add_arguments(parser)
    rest = {load: ("--source", "s3://dumps", "--run-key", "1"), dump_job: ("--server", "mongodb://mongo", "--database", "forum")}[module]
    flags = (*rest, "--landing", "s3://landing")
    assert parser.parse_args(["--deployment", "edge", *flags]).deployment == "edge"
    for wrong in ("Edge", "mitx_online", "../mitx", ""):
        with pytest.raises(argparse.ArgumentError, match=r"--deployment: found .*; allowed: the id of a deployment: lower-case letters and digits"):
            parser.parse_args(["--deployment", wrong, *flags])


def test_views_and_the_servers_own_collections_are_left_out_and_named(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", {"contents": [thread(1)], "system.views": [thread(2)], "a view": [], "odd%2Fname": [thread(3)]})
    (dump / "forum/a view.bson").unlink()
    (dump / "forum/a view.metadata.json").write_text('{"type": "view"}', encoding="utf-8")
    (dump / "forum/odd%2Fname.metadata.json").write_text("{}", encoding="utf-8")
    found = find_dump(str(dump))
    assert ({one.name for one in found.collections}, set(found.left_out)) == ({"contents", "odd/name"}, {"system.views", "a view"})


def test_a_file_that_is_still_being_written_is_for_later(tmp_path: Path) -> None:
    dump = find_dump(str(write_dump(tmp_path / "dump", {"contents": [thread(1)]})))
    (collection,) = dump.collections

    def read_while_it_grows(found: CutFileError | None) -> None:
        with dump.open(collection) as stream, Path(collection.path).open("ab") as more:
            stream.read()
            more.write(thread(2))
            more.flush()
            if found:
                raise found

    for found in (None, CutFileError("contents.bson", 90, "found the end of the file")):
        with pytest.raises(TransientError, match="changed while it was read"):
            read_while_it_grows(found)


def test_the_time_of_a_dump_is_that_of_its_newest_object_when_nobody_says_it(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", {"a": [thread(1)], "b": [thread(1)]})
    os.utime(dump / "forum/a.bson", (1_700_000_000, 1_700_000_000))
    os.utime(dump / "forum/b.bson", (1_700_000_100, 1_700_000_100))
    assert find_dump(str(dump)).taken_at == datetime.fromtimestamp(1_700_000_100, UTC)


def test_the_command_line(tmp_path: Path) -> None:
    dump = write_dump(tmp_path / "dump", {"contents": [thread(1)]})
    flags = ("--deployment", "mitx", "--source", str(dump), "--landing", str(tmp_path / "landing"), "--run-key", "cli")
    done = run_job(tmp_path, "forum-load", *flags, module="include.jobs")
    assert done.code == 0, done.text
    assert done.result is not None
    assert done.result.facts["documents"] == {"contents": 1}
    (dump / "forum/contents.bson").write_bytes(thread(1)[:-3])
    done = run_job(tmp_path / "again", "forum-load", *flags, module="include.jobs")
    assert done.code == 64
    assert "contents.bson: byte 0: found the end of the file after" in done.text


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """moto's S3; the jobs find it by the variables that AWS's own clients read."""
    with moto() as server, object_store_at(server["s3.endpoint"]):
        boto3.client("s3").create_bucket(Bucket="forum")
        yield server["s3.endpoint"]


@pytest.mark.usefixtures("s3")
def test_a_dump_on_s3(tmp_path: Path, forum_lake: Catalog) -> None:
    bucket = boto3.client("s3")
    for path in write_dump(tmp_path, {"from_s3": [thread(number) for number in range(8)]}, gzipped=True).rglob("*.gz"):
        bucket.upload_file(str(path), "forum", f"20260302/{path.parent.name}/{path.name}")
    for key in ("one", "two"):
        result = forum_load("s3://forum/20260302", "s3://forum/landing", key)
    assert len(table_rows(forum_lake, "from_s3")) == 8
    listed = {entry["Key"] for entry in bucket.list_objects_v2(Bucket="forum", Prefix="landing/")["Contents"]}
    assert {url.removeprefix("s3://forum/") for url in result.facts["landed"]["from_s3"]} == listed
    bucket.put_object(Bucket="forum", Key="20260303/forum/from_s3.bson", Body=thread(1) + thread(2)[:-1])
    bucket.put_object(Bucket="forum", Key="20260303/forum/from_s3.metadata.json", Body=b"{}")
    with pytest.raises(PermanentError, match=rf"forum/20260303/forum/from_s3\.bson: byte {len(thread(1))}: found the end of the file"):
        forum_load("s3://forum/20260303", "s3://forum/landing", "three")
    with pytest.raises(PermanentError, match="s3://nowhere/dump: cannot be listed: The specified bucket does not exist; allowed: a prefix of a bucket"):
        forum_load("s3://nowhere/dump", "s3://forum/landing", "four")


def test_many_chunks_and_files_are_as_one(tmp_path: Path) -> None:
    data = b"".join(ragged(3, 300))
    found = {}
    for chunk_bytes in (1000, 8 << 20):
        spool = tmp_path / str(chunk_bytes)
        spool.mkdir()
        done = convert_or_refuse(data, spool, gzipped=False, chunk_bytes=chunk_bytes)
        assert isinstance(done, ConvertedCollection)
        assert done.lines is not None
        rows = [row for part in done.parquet for row in pq.read_table(part, columns=["document_key", "document_rest"]).to_pylist()]
        names = [set(pq.read_schema(part).names) for part in done.parquet]
        assert all(name == names[0] for name in names)
        found[chunk_bytes] = (gzip.decompress(done.lines.read_bytes()), sorted(rows, key=lambda row: row["document_key"]), names[0])
    assert found[1000] == found[8 << 20]
