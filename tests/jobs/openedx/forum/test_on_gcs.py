"""Forum dumps and tracking logs on Google Cloud Storage, through a server of its JSON API: the same as from a disk, and errors that say what to do."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from pyiceberg.catalog import Catalog

from include.config.errors import ConfigError
from include.contract import PermanentError, TransientError
from include.jobs.openedx.forum.layout import find_dump
from include.jobs.openedx.prefixes import filesystem_of, objects_below
from include.jobs.openedx.tracking_logs.sources import Prefix
from tests.jobs.openedx.forum.gcs_server import PAGE, Gcs, gcs_server
from tests.jobs.openedx.forum.samples import write_dump
from tests.jobs.openedx.forum.test_load import forum_load, table_rows, thread
from tests.jobs.test_contract import run_job
from tests.variables import variables

DUMP = "gs://partner-dumps/20260302"
LOGS = "gs://partner-logs/tracking/edge"


@pytest.fixture
def gcs() -> Iterator[Gcs]:
    """A store of its own; the jobs find it by Google's own variable, and have the service account's key."""
    with gcs_server("partner-dumps", "partner-logs") as server, variables({"STORAGE_EMULATOR_HOST": server.address, "GCS_CREDENTIALS": server.credentials()}):
        yield server


def deliver(gcs: Gcs, folder: Path, count: int = 40) -> None:
    """A dump of four collections: more objects than a page of a listing has."""
    collections = {name: [thread(number) for number in range(count)] for name in ("from_gcs", "users", "subscriptions", "other")}
    for path in write_dump(folder, collections, gzipped=True).rglob("*.gz"):
        gcs.put(f"{DUMP}/{path.parent.name}/{path.name}", path.read_bytes())


def test_a_dump_is_loaded(gcs: Gcs, tmp_path: Path, forum_lake: Catalog) -> None:
    deliver(gcs, tmp_path / "dump")
    assert len(gcs.buckets["partner-dumps"]) > PAGE
    gcs.faults += [(503, "Backend Error"), (429, "Too many requests"), (401, "Invalid Credentials")]
    result = forum_load(DUMP, tmp_path / "landing", "one")
    assert result.facts["documents"] == {"from_gcs": 40, "other": 40, "subscriptions": 40, "users": 40}
    assert gcs.faults == []
    assert [row["title"] for row in table_rows(forum_lake, "from_gcs")] == [f"thread {number}" for number in range(40)]


@pytest.mark.usefixtures("forum_lake")
def test_the_job_is_given_its_credentials_by_its_environment_and_tells_nobody(gcs: Gcs, tmp_path: Path) -> None:
    deliver(gcs, tmp_path / "dump")
    flags = ("--deployment", "edge", "--landing", str(tmp_path / "landing"), "--run-key", "cli")
    done = run_job(tmp_path, "forum-load", "--source", DUMP, *flags, module="include.jobs")
    assert done.code == 0, done.text
    assert done.result is not None
    assert done.result.facts["documents"]["from_gcs"] == 40
    key = json.loads(gcs.credentials())["private_key"]
    for telling in (done.text, done.result.to_json()):
        assert not any(line in telling for line in key.splitlines())
    done = run_job(tmp_path / "again", "forum-load", "--source", "gs://nowhere/dumps", *flags, module="include.jobs")
    assert done.code == 64
    assert "gs://nowhere/dumps: cannot be listed" in done.text


def test_a_day_s_logs_are_listed_and_read(gcs: Gcs) -> None:
    day = date(2026, 3, 2)
    files = {f"server-{number}/tracking.log-20260302-{number}.gz": gzip.compress(b"{}\n" * number) for number in range(1, 8)}
    for name, content in files.items():
        gcs.put(f"{LOGS}/{name}", content)
    gcs.put(f"{LOGS}/server-1/tracking.log-20260303-1.gz", b"of another day")
    gcs.put("gs://partner-logs/tracking/edge-too/tracking.log-20260302-1.gz", b"of another deployment")
    prefix = Prefix(LOGS)
    listed = prefix.list(day)
    assert {one.name: one.size for one in listed} == {name: len(content) for name, content in files.items()}
    assert prefix.name_of(listed[0]) == f"{LOGS}/{listed[0].name}"
    assert all(one.modified for one in listed)
    filesystem, _ = prefix.open()
    for one in listed:
        with filesystem.open(one.path, "rb", block_size=8) as stream:
            assert stream.read() == files[one.name]
    gcs.put(f"{LOGS}/{listed[0].name}", files[listed[0].name])
    again = prefix.list(day)
    assert [one.name for old, one in zip(listed, again, strict=True) if old.state != one.state] == [listed[0].name], "written anew, with the same bytes"
    assert prefix.list(date(2026, 3, 9)) == ()


def test_an_object_that_the_store_would_unpack_is_read_as_it_lies(gcs: Gcs) -> None:
    """``gsutil cp -z`` and ``-Z`` make such objects; in parts they could not be unpacked on the way."""
    packed = gzip.compress(bytes(range(256)) * 400, mtime=0)
    gcs.put(f"{LOGS}/tracking.log-20260302", packed, encoding="gzip")
    filesystem, _ = filesystem_of(LOGS)
    path = f"{LOGS.removeprefix('gs://')}/tracking.log-20260302"
    assert filesystem.size(path) == len(packed)
    assert filesystem.cat_file(path) == packed
    with filesystem.open(path, "rb", block_size=200) as stream:
        assert stream.read(100) + stream.read() == packed


def test_a_dump_that_is_written_anew_while_it_is_read_is_for_later(gcs: Gcs, tmp_path: Path) -> None:
    deliver(gcs, tmp_path)
    dump = find_dump(DUMP)
    (collection,) = (one for one in dump.collections if one.name == "users")
    content = gcs.buckets["partner-dumps"]["20260302/forum/users.bson.gz"].content

    def read() -> None:
        with dump.open(collection) as stream:
            stream.read()
            gcs.put(f"{DUMP}/forum/users.bson.gz", content)

    with pytest.raises(TransientError, match="changed while it was read"):
        read()


def test_what_no_retry_mends_names_the_bucket(gcs: Gcs) -> None:
    gcs.buckets["closed"] = {}
    gcs.forbidden.add("closed")
    allowed = "allowed: a prefix of a bucket that is there and that jobs may list"
    with pytest.raises(PermanentError, match=f"gs://nowhere/logs: cannot be listed: b/nowhere/o is not there; {allowed}"):
        objects_below("gs://nowhere/logs", *filesystem_of("gs://nowhere/logs"))
    with pytest.raises(PermanentError, match=r"gs://closed/logs: cannot be listed: Forbidden: .*platform@project\S+ does not have storage\.objects\.list"):
        Prefix("gs://closed/logs").list(date(2026, 3, 2))
    with (
        variables({"GCS_CREDENTIALS": ""}),
        pytest.raises(PermanentError, match=rf"{LOGS}: .*Anonymous caller .*; no credentials were given \(GCS_CREDENTIALS\)"),
    ):
        Prefix(LOGS).list(date(2026, 3, 2))


def test_a_store_that_stays_away_is_for_later_and_a_key_that_stays_refused_for_people(gcs: Gcs) -> None:
    """Both at once: gcsfs asks again for half a minute."""
    with gcs_server("partner-logs") as away:
        away.faults += [(503, "Backend Error")] * 1000
        strange = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        good, refused = filesystem_of(LOGS)[0], away.credentials(strange)
        with variables({"GCS_CREDENTIALS": refused}):
            bad, path = filesystem_of(LOGS)
        good._endpoint, bad._endpoint = away.address, gcs.address
        away.key = gcs.key
        with ThreadPoolExecutor() as pool:
            later, never = (pool.submit(objects_below, LOGS, filesystem, path) for filesystem in (good, bad))
        with pytest.raises(TransientError, match=f"{away.address}: Backend Error, 503"):
            later.result()
        with pytest.raises(PermanentError, match=f"{LOGS}: cannot be listed: Invalid Credentials, 401"):
            never.result()
        assert away.asked.total() > 3


def test_credentials_that_are_no_key_are_refused_without_being_shown(gcs: Gcs) -> None:
    key = json.loads(gcs.credentials())
    cases = {
        "no-json-at-all": "14 characters that are no JSON object",
        '["a-list-of-one"]': "17 characters that are no JSON object",
        json.dumps({"type": "service_account", "private_key": "hidden-value"}): "JSON with private_key, type, of which no key can be made",
        json.dumps({**key, "private_key": "hidden-value"}): "JSON with client_email, .*, of which no key can be made",
    }
    for found, told in cases.items():
        with (
            variables({"GCS_CREDENTIALS": found}),
            pytest.raises(ConfigError, match=f"GCS_CREDENTIALS: found {told}.*; allowed: the key of a service") as caught,
        ):
            filesystem_of(LOGS)
        assert not any(hidden in str(caught.value) for hidden in ("no-json", "a-list", "hidden-value"))
