"""Log files and landing zone on an object store, as in production, through moto's S3: the same rows and objects as from a disk."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import fsspec
import pytest
from pyiceberg.catalog import Catalog

from include.contract import PermanentError, TransientError
from include.jobs.openedx.tracking_logs.sources import Prefix, Source
from include.local.data.openedx_logs import invented_roster, write_day
from tests.lake.moto_server import moto
from tests.variables import object_store_at

from .conftest import DAY, Deployment, event

LOGS, LANDING = "s3://logs/tracking", "s3://landing"


@dataclass
class OnS3(Deployment):
    """The same job, told of buckets."""

    def put_object(self, name: str, data: bytes) -> None:
        fsspec.filesystem("s3").pipe_file(f"{LOGS}/{self.name}/{name}", data)

    def flags(self, key: str, *more: str, day: date = DAY) -> list[str]:
        return super().flags(key, "--source", f"{LOGS}/{self.name}", "--landing", LANDING, *more, day=day)

    def objects(self, part: str) -> dict[str, bytes]:
        """What lies below a part of the landing zone, by the object's own name."""
        fs = fsspec.filesystem("s3")
        fs.invalidate_cache()
        return {name.rpartition("/")[2]: fs.cat_file(name) for name in fs.find(f"{LANDING}/{self.name}/openedx/{part}")}


@pytest.fixture(scope="module")
def buckets() -> Iterator[None]:
    with moto() as server, object_store_at(server["s3.endpoint"]):
        for bucket in ("logs", "landing"):
            fsspec.filesystem("s3").mkdir(bucket)
        yield


@pytest.fixture
def on_s3(buckets: None, logs_lake: Catalog, tmp_path: Path) -> OnS3:
    return OnS3(logs_lake, tmp_path, tmp_path)


def test_a_day_on_s3_is_the_same_day_from_a_disk(on_s3: OnS3, deployment: Deployment) -> None:
    logs = write_day(deployment.source, invented_roster("mitxonline", seed=5, learners=40), DAY, seed=5, events=2_000, files=3, awkward=0.01)
    for path in logs.files:
        on_s3.put_object(str(path.relative_to(deployment.source)), path.read_bytes())
    from_disk, from_s3 = deployment.run("run:1"), on_s3.run("run:1")
    assert {name: from_s3.facts[name] for name in ("events", "quarantined", "bytes", "other_day")} == {
        "events": logs.events,
        "quarantined": logs.broken.total(),
        "bytes": logs.bytes,
        "other_day": from_disk.facts["other_day"],
    }
    assert on_s3.content() == deployment.content()
    assert on_s3.objects("processed_data").keys() >= {path.name for path in deployment.landed()}
    refused = [json.loads(line) for data in on_s3.objects("quarantine").values() for line in data.splitlines()]
    assert len(refused) == len(deployment.quarantine()) > 0
    assert {record["source"].rpartition("/")[0] for record in refused} == {f"{LOGS}/{on_s3.name}"}
    before = on_s3.objects("")
    again = on_s3.run("run:2")
    assert again.facts["events"] == logs.events
    assert on_s3.content() == deployment.content()
    assert {name: data for name, data in on_s3.objects("").items() if name in before} == before


def test_an_object_that_is_written_anew_while_it_is_read_is_noticed_by_its_tag(on_s3: OnS3, monkeypatch: pytest.MonkeyPatch) -> None:
    """With as many bytes and in the same second: nothing is written, and the next run takes what is there then."""
    name, listed = "2026-03-02-a.log", Prefix.list
    on_s3.put_object(name, event(1))
    calls = []

    def meanwhile(prefix: Prefix, day: date) -> tuple[Source, ...]:
        calls.append(day)
        if len(calls) == 3:  # twice to see that it does not grow, once after it was read
            on_s3.put_object(name, event(2))
        return listed(prefix, day)

    monkeypatch.setattr(Prefix, "list", meanwhile)
    with pytest.raises(TransientError, match=r"log files changed while they were read, nothing was written: 2026-03-02-a\.log went from (\d+) to \1 bytes"):
        on_s3.run("run:1")
    assert not on_s3.catalog.table_exists(on_s3.identifier) or on_s3.rows() == []
    on_s3.run("run:1")
    assert [row["username"] for row in on_s3.rows()] == ["user_2"]


def test_an_object_that_is_cut_is_refused_whole(on_s3: OnS3) -> None:
    whole = gzip.compress(b"".join(event(number) for number in range(200)), mtime=0)
    on_s3.put_object("2026-03-02-a.log.gz", whole[: len(whole) // 2])
    on_s3.put_object("2026-03-02-b.log", event(300))
    with pytest.raises(Exception, match=r"2026-03-02-a\.log\.gz"):
        on_s3.run("run:1")
    assert not on_s3.catalog.table_exists(on_s3.identifier) or on_s3.rows() == []
    on_s3.put_object("2026-03-02-a.log.gz", whole)
    on_s3.run("run:1")
    assert len(on_s3.rows()) == 201


def test_a_bucket_that_is_not_there_is_named(on_s3: OnS3) -> None:
    with pytest.raises(PermanentError, match="s3://nowhere/logs: cannot be listed: The specified bucket does not exist"):
        on_s3.run("run:1", "--source", "s3://nowhere/logs")


@pytest.mark.parametrize("folder", ["", "%Y-%m-%d"], ids=["prefix", "folder"])
def test_late_objects_are_taken_in_by_the_next_daily_run(on_s3: OnS3, folder: str) -> None:
    """Told by tags and manifests of the stores; one that is delivered again with the same bytes is no news."""
    flags = ("--look-back-days", "7", "--day-folder", folder)
    days = [DAY - timedelta(days=1), DAY]
    for day in days:
        on_s3.put_object(f"{day}/a.log", event(1))
        on_s3.run(f"run:{day}", *flags, day=day)
    on_s3.put_object(f"{days[0]}/a.log", event(1))
    on_s3.put_object(f"{days[1]}/b.log", event(2))
    on_s3.put_object("2026-03-03/a.log", event(3))
    result = on_s3.run("run:next", *flags, day=DAY + timedelta(days=1))
    assert {day: facts["events"] for day, facts in result.facts["late"].items()} == {str(DAY): 2}
    assert Counter(row["log_day"] for row in on_s3.rows("log_day")) == {days[0]: 1, days[1]: 2, DAY + timedelta(days=1): 1}
    again = on_s3.run("run:next", *flags, day=DAY + timedelta(days=1))
    assert (again.facts["repeated"], on_s3.commits) == (True, 4)
