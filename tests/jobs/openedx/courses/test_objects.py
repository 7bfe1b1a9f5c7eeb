"""Landing objects on an object store, through moto's S3: written once, whole, and readable by their addresses."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import fsspec
import pytest

from include.jobs.openedx.courses.landing import CourseObjects, Landing
from include.jobs.openedx.courses.load import Archive, read
from include.jobs.openedx.courses.rows import CourseKey
from tests.lake.moto_server import moto
from tests.variables import object_store_at

from .made import COURSE, course

WHEN = datetime(2026, 3, 2, 6, tzinfo=UTC)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The address of an empty bucket; AWS's own variables lead to it."""
    with moto() as server, object_store_at(server["s3.endpoint"]):
        fsspec.filesystem("s3").mkdir("landing")
        yield "s3://landing"


def test_a_course_on_s3(bucket: str, tmp_path: Path) -> None:
    made, landing = course(30, malformed=3), Landing(bucket)
    key = "mitxonline/openedx/raw_data/course_xml/a.xml.tar.gz"
    assert landing.put_once(key, made.archive)
    found = read(Archive(landing.address(key), CourseKey.parse(COURSE), "v", WHEN), "mitxonline", tmp_path / "static.tar.gz")
    objects = CourseObjects(landing, "mitxonline", COURSE)
    addresses = objects.write(found, tmp_path / "static.tar.gz")
    with fsspec.open(addresses["course_static_assets"], "rb") as stream, tarfile.open(fileobj=io.BytesIO(stream.read())) as tar:
        assert tar.getnames() == [file.path for file in found.static]
    with fsspec.open(addresses["course_xml_blocks"], "rb") as stream:
        assert len([json.loads(line) for line in stream]) == 30
    assert objects.publish_manifest(found) is True
    assert objects.publish_manifest(found) is False
    first = fsspec.filesystem("s3").info(addresses["course_metadata"])["ETag"], fsspec.filesystem("s3").info(addresses["course_metadata"])["LastModified"]
    assert objects.write(found, tmp_path / "static.tar.gz") == addresses
    assert not landing.put_once(key, b"other")
    fsspec.filesystem("s3").invalidate_cache()
    again = fsspec.filesystem("s3").info(addresses["course_metadata"])["ETag"], fsspec.filesystem("s3").info(addresses["course_metadata"])["LastModified"]
    assert again == first
    assert landing.read(key) == made.archive
    assert landing.read("nowhere") is None
    assert objects.quarantine(found.quarantined) == objects.quarantine(found.quarantined)
    assert objects.quarantine([]) is None
