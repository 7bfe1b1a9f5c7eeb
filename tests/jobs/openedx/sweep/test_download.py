"""Archives from a bucket to the landing zone: broken ones, late ones, wrong ones, and S3 by its own protocol."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from include.contract import PermanentError, TransientError
from include.jobs.openedx.api.retries import Patience
from include.jobs.openedx.export import download as download_module
from include.jobs.openedx.export.download import bucket_address, download
from include.jobs.openedx.export.record import Phase, Records
from tests.lake.moto_server import moto
from tests.openedx_service import EXPORTS, QUICK
from tests.variables import object_store_at

from .listener import listener
from .work import Work


@pytest.mark.parametrize("fault", [{"half_body": True}, {"drop_answer": True}, {"status": 503}, {"status": 404}, {"status": 429}], ids=str)
def test_a_broken_download_is_begun_anew(work: Work, course: str, fault: dict[str, Any]) -> None:
    record = work.wait(work.start(course))
    work.service.faults({"match": {"path": "*/bucket/*"}, "count": 2, **fault})
    fetched = work.fetch(record)
    assert [file.name for file in work.files()] == [f"{fetched.sha256}.xml.tar.gz"]
    gzip.decompress(work.files()[0].read_bytes())


@pytest.mark.parametrize("fault", [{"half_body": True}, {"status": 404}, {"status": 403}], ids=str)
def test_a_download_that_stays_broken_leaves_nothing(work: Work, course: str, fault: dict[str, Any]) -> None:
    record = work.wait(work.start(course))
    work.service.faults({"match": {"path": "*/bucket/*"}, "count": None, **fault})
    with pytest.raises(PermanentError if fault.get("status") == 403 else TransientError):
        work.fetch(record)
    assert work.files() == []
    work.service.clear()
    assert work.fetch(record).phase is Phase.FETCHED


def test_an_earlier_archive_under_the_same_address_is_not_taken(work: Work, course: str) -> None:
    record = work.wait(work.start(course))
    work.service.store.exports.bucket[course] = replace(work.service.store.exports.bucket[course], modified=datetime.now(UTC) - timedelta(hours=2))
    with pytest.raises(TransientError, match="allowed: one of this export, begun"):
        work.fetch(record)
    assert work.files() == []


def test_an_archive_is_not_taken_before_the_export_has_succeeded(work: Work, course: str) -> None:
    work.service.faults({"match": EXPORTS, "export": {"seconds": 600}})
    with pytest.raises(PermanentError, match="found an export that is running; allowed: one that has succeeded"):
        work.fetch(work.start(course))


def test_the_bucket_is_shown_no_token(work: Work, course: str) -> None:
    """The stand-in's bucket answers 400 to an Authorization header, as S3 does; and a plus sign in an address must be encoded."""
    assert "+" in work.start(course).url
    assert work.all(course).phase is Phase.FETCHED


def plain(body: bytes, **headers: str) -> Callable[[str], tuple[int, dict[str, str], bytes]]:
    return lambda path: (200, headers, body)


@pytest.mark.parametrize("body", [b"<html>not here</html>", b"", b"\x1f"])
def test_what_is_no_gzip_file_is_no_archive(tmp_path: Path, body: bytes) -> None:
    with listener(plain(body)) as (root, heard), pytest.raises(TransientError, match=r"found a file that begins with .*allowed: gzip"):
        asyncio.run(download(f"{root}/a.tar.gz", tmp_path / "a", Patience(2, first=0.01)))
    assert heard == ["/a.tar.gz"] * 2


def test_more_than_an_archive_may_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download_module, "MOST_BYTES", 1000)
    with listener(plain(b"\x1f\x8b" + b"x" * 2000)) as (root, _), pytest.raises(PermanentError, match="found 2002 bytes; allowed: at most 1000"):
        asyncio.run(download(f"{root}/a.tar.gz", tmp_path / "a", QUICK))


def test_a_signature_in_an_address_arrives_as_it_was(tmp_path: Path) -> None:
    body = gzip.compress(b"content")
    with listener(plain(body, **{"Last-Modified": format_datetime(datetime(2026, 3, 2, tzinfo=UTC), usegmt=True)})) as (root, heard):
        query = "X-Amz-Credential=AK%2F20260302&X-Amz-Signature=a%2Bb%3D"
        found = asyncio.run(download(f"{root}/course-v1%3Aa%2Bb%2Bc.tar.gz?{query}", tmp_path / "a", QUICK))
        asyncio.run(download(f"{root}/course-v1:a+b+c.tar.gz", tmp_path / "b", QUICK))
    assert (found.modified, found.bytes) == (datetime(2026, 3, 2, tzinfo=UTC), len(body))
    assert heard[0].partition("?")[0] == heard[1] == "/course-v1:a%2Bb%2Bc.tar.gz"
    assert httpx.QueryParams(heard[0].partition("?")[2]) == httpx.QueryParams(query)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("https://exports.s3.amazonaws.com/course-v1:a+b+c.tar.gz", "s3://exports/course-v1:a+b+c.tar.gz"),
        ("https://exports.s3.us-east-1.amazonaws.com/x/course-v1%3Aa%2Bb%2Bc.tar.gz", "s3://exports/x/course-v1:a+b+c.tar.gz"),
        ("https://s3.amazonaws.com/exports/a.tar.gz", "s3://exports/a.tar.gz"),
        ("s3://exports/a.tar.gz", "s3://exports/a.tar.gz"),
        ("https://exports.s3.amazonaws.com/a.tar.gz?X-Amz-Signature=1&X-Amz-Date=2", None),
        ("https://exports.s3.amazonaws.com.example.org/a.tar.gz", None),
        ("http://127.0.0.1:9000/exports/a.tar.gz", None),
    ],
)
def test_which_addresses_are_read_with_our_own_rights(url: str, address: str | None) -> None:
    assert bucket_address(url) == address


@contextmanager
def s3() -> Iterator[Any]:
    """A client of an S3 server that fsspec reaches as well."""
    with moto() as server, object_store_at(server["s3.endpoint"]):
        yield boto3.client("s3")


def test_an_archive_in_s3_goes_to_a_landing_zone_in_s3(work: Work, course: str) -> None:
    """The address is the plugin's; it is read by S3's protocol, and the object in the landing zone is written once."""
    with s3() as client:
        client.create_bucket(Bucket="exports")
        client.create_bucket(Bucket="landing")
        record = replace(work.wait(work.start(course)), url=f"https://exports.s3.amazonaws.com/{course}.tar.gz")
        with pytest.raises(TransientError, match="FileNotFoundError"):
            asyncio.run(work.exporter.fetch(record, "s3://landing"))
        data = gzip.compress(random.Random(7).randbytes(9_000_000), 1)
        client.put_object(Bucket="exports", Key=f"{course}.tar.gz", Body=data)
        fetched = asyncio.run(work.exporter.fetch(record, "s3://landing"))
        assert fetched.object == f"s3://landing/mitxonline/openedx/raw_data/course_xml/{course}/{hashlib.sha256(data).hexdigest()}.xml.tar.gz"
        head = client.head_object(Bucket="landing", Key=fetched.object.removeprefix("s3://landing/"))
        assert head["ContentLength"] == len(data) == fetched.bytes
        assert asyncio.run(work.exporter.fetch(record, "s3://landing")).object == fetched.object
        assert client.head_object(Bucket="landing", Key=fetched.object.removeprefix("s3://landing/"))["LastModified"] == head["LastModified"]
        records = Records("s3://landing/state", "mitxonline")
        assert records.read(course) is None
        records.write(fetched)
        assert records.read(course) == fetched
