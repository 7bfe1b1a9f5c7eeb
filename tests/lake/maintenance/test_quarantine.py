"""Quarantine on buckets with versions, on buckets without and on disks: in, back, gone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from include.lake.maintenance.quarantine import FOLDER, MarkerQuarantine, MovingQuarantine, Quarantine, chosen, purge_date, quarantine_of
from include.lake.objects import LocalStore, ObjectStore, S3Store, s3_client
from tests.lake.moto_server import moto
from tests.own_lake import process_in

DAY = date(2026, 11, 20)


class Place:
    """Enough of a catalog."""

    def __init__(self, **properties: str) -> None:
        self.properties = properties


@pytest.fixture(scope="module")
def server() -> Iterator[dict[str, str]]:
    with process_in("local"), moto() as properties:
        yield properties


@pytest.fixture(params=["disk", "bucket", "versions"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ObjectStore, Quarantine, str]:
    if request.param == "disk":
        store: ObjectStore = LocalStore(tmp_path)
        return store, quarantine_of(Place(warehouse="local:///warehouse"), store), "local:///warehouse"  # type: ignore[arg-type]
    client = s3_client(request.getfixturevalue("server"))
    bucket = f"{request.param}-{abs(hash(request.node.name)) % 10**8}"
    client.create_bucket(Bucket=bucket)
    if request.param == "versions":
        client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    store = S3Store(client)
    found = quarantine_of(Place(warehouse=f"s3://{bucket}/warehouse"), store)  # type: ignore[arg-type]
    assert isinstance(found, MarkerQuarantine if request.param == "versions" else MovingQuarantine)
    return store, found, f"s3://{bucket}/warehouse"


def test_in_and_back(place: tuple[ObjectStore, Quarantine, str]) -> None:
    store, quarantine, warehouse = place
    names = [f"{warehouse}/raw/t-1/data/{number}.parquet" for number in range(12)]
    for name in names:
        store.create(name, name.encode())
    taken = quarantine.put(store.list(f"{warehouse}/raw/t-1"), DAY)
    assert len(taken) == 12
    assert list(store.list(f"{warehouse}/raw")) == []
    files = list(quarantine.files())
    assert sorted(one.origin for one in files) == sorted(names)
    assert {one.since for one in files} == {DAY}
    assert sum(one.size for one in files) == sum(map(len, names))
    store.create(names[0], b"written again meanwhile")
    assert quarantine.restore(files) == 11
    assert [store.read(name) for name in names] == [b"written again meanwhile", *(name.encode() for name in names[1:])]


def test_purged_after_its_days_and_not_before(place: tuple[ObjectStore, Quarantine, str]) -> None:
    store, quarantine, warehouse = place
    store.create(f"{warehouse}/raw/t-1/old", b"old")
    quarantine.put(list(store.list(f"{warehouse}/raw")), date(2026, 11, 12))
    store.create(f"{warehouse}/raw/t-1/new", b"new")
    quarantine.put(list(store.list(f"{warehouse}/raw")), date(2026, 11, 13))
    before = purge_date(datetime(2026, 11, 20, 3, tzinfo=UTC), 7)
    assert quarantine.purge(chosen(quarantine.files(), before=before)) == 1
    assert [one.origin for one in quarantine.files()] == [f"{warehouse}/raw/t-1/new"]
    assert quarantine.restore(list(quarantine.files())) == 1
    assert store.read(f"{warehouse}/raw/t-1/new") == b"new"


def test_versions_are_gone_after_a_purge(server: dict[str, str]) -> None:
    client = s3_client(server)
    client.create_bucket(Bucket="purged")
    client.put_bucket_versioning(Bucket="purged", VersioningConfiguration={"Status": "Enabled"})
    store = S3Store(client)
    quarantine = MarkerQuarantine(store, "s3://purged/w")
    store.create("s3://purged/w/raw/a", b"a")
    store.create("s3://purged/w/raw/ab", b"a longer name that begins alike")
    quarantine.put([one for one in store.list("s3://purged/w/raw") if one.location.endswith("/a")], DAY)
    markers = next(one for one in store.list(f"s3://purged/w/{FOLDER}") if one.location.endswith(".markers.json"))
    assert b"s3://purged/w/raw/a" in store.read(markers.location)
    assert all(one.marker for one in quarantine.files())
    quarantine.purge(list(quarantine.files()))
    left = client.list_object_versions(Bucket="purged", Prefix="w/raw/")
    assert [one["Key"] for one in left["Versions"]] == ["w/raw/ab"]
    assert "DeleteMarkers" not in left


def test_files_elsewhere_are_refused(place: tuple[ObjectStore, Quarantine, str]) -> None:
    store, quarantine, warehouse = place
    other = warehouse.replace("/warehouse", "/elsewhere")
    store.create(f"{other}/a", b"a")
    with pytest.raises(ValueError, match=r"allowed: files below .*/warehouse/"):
        quarantine.put(list(store.list(other)), DAY)
    assert store.exists(f"{other}/a")
