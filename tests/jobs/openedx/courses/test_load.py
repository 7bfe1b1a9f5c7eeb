"""The job on a real catalog: what an archive holds is in six tables and under the documented keys, once, whatever is repeated, killed or late."""

from __future__ import annotations

import argparse
import gzip
import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from include.config.environments import current_environment
from include.config.files import ROOT
from include.contract import JobResult, PermanentError
from include.jobs.openedx.courses import load
from include.jobs.openedx.courses.tables import PARTS, table_of
from include.lake.catalog import open_catalog
from include.local.data.olx.archive import OlxCourse
from include.local.data.olx.expected import expected
from include.local.data.olx.plan import CourseRun

from .made import COURSE, RUN, archive_of, course

FIRST, SECOND = "2026-03-02T06:00:00+00:00", "2026-03-03T06:00:00+00:00"
NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Place:
    """A deployment of a test's own with its landing zone."""

    deployment: str
    folder: Path

    @property
    def landing(self) -> Path:
        return self.folder / "landing"

    def flags(self, made: OlxCourse | bytes, retrieved_at: str = FIRST, *, run_key: str = "run:1", course_id: str = COURSE, version: str = "") -> list[str]:
        archive = made if isinstance(made, bytes) else made.archive
        path = self.folder / "raw" / f"{hashlib.sha256(archive).hexdigest()}.xml.tar.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archive)
        version = version or (made.plan.published_version if isinstance(made, OlxCourse) else "v")
        return [
            "--deployment", self.deployment, "--course", course_id, "--archive", path.as_uri(), "--landing", self.landing.as_uri(),
            "--published-version", version, "--retrieved-at", retrieved_at, "--run-key", run_key,
        ]  # fmt: skip

    def load(self, made: OlxCourse | bytes, retrieved_at: str = FIRST, **options: str) -> JobResult:
        parser = argparse.ArgumentParser()
        load.add_arguments(parser)
        return load.run(parser.parse_args(self.flags(made, retrieved_at, **options)))

    def table(self, part: str) -> pa.Table:
        name = table_of(current_environment(), self.deployment, part)
        return open_catalog(current_environment()).load_table(name.identifier).scan().to_arrow()

    def checksums(self) -> dict[str, tuple[int, str]]:
        """Rows of every table and a hash over them, whatever their order."""
        found = {}
        for part in PARTS:
            rows = sorted(json.dumps(row, default=str, sort_keys=True) for row in self.table(part).to_pylist())
            found[part] = len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest()
        return found

    def objects(self) -> dict[str, str]:
        """Hashes of the landing objects by key."""
        return {path.relative_to(self.landing).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in self.landing.rglob("*") if path.is_file()}


@pytest.fixture
def place(course_lake: Path, tmp_path: Path) -> Place:
    return Place(f"test{next(NUMBERS)}", tmp_path)


def test_tables_hold_what_the_generator_planned(place: Place) -> None:
    made = course(120, malformed=7)
    result, right = place.load(made), expected(made)
    (row,) = place.table("metadata").to_pylist()
    assert row == {
        "enrollment_start": None, "enrollment_end": None, "course_start": RUN.start, "course_end": RUN.end, "instructor_info": '{"instructors": []}',
        "self_paced": True, "title": RUN.title, "course_id": COURSE, "course_number": "14.310x", "semester": "1T2026", "institution": "MITxT",
        "quarantined_members": 7, "published_version": made.plan.published_version, "archive_sha256": hashlib.sha256(made.archive).hexdigest(),
        "retrieved_at": datetime(2026, 3, 2, 6, tzinfo=UTC),
    }  # fmt: skip
    blocks = place.table("blocks")
    assert Counter(blocks["block_type"].to_pylist()) == right.blocks
    assert blocks.schema.field("retrieved_at").type == pa.timestamp("us", tz="UTC")
    assert {json.loads(text).get("display_name") for text in blocks["xml_attributes"].to_pylist()} == {block.title for block in made.plan.blocks}
    video = place.table("video")
    assert (video.num_rows, video.num_rows - video["duration"].null_count) == (right.videos, right.videos_with_duration)
    assert pc.sum(pc.cast(video["duration"], pa.float64())).as_py() == pytest.approx(right.video_seconds)
    assert {row["path"]: row["sha256"] for row in place.table("static_assets").to_pylist()} == right.static
    (policy,) = place.table("policies").to_pylist()
    assert json.loads(policy["tags"]) == ["économie", "a & b"]
    assert json.loads(policy["grading_policy"])["GRADE_CUTOFFS"]["Pass"] == 0.6
    assert policy["self_paced"] == "true"
    assert len(place.table("signatories")) == right.signatories
    facts = result.facts
    assert (facts["blocks"], facts["quarantined"], facts["superseded"], facts["skipped"]) == (120, 7, False, right.skipped)
    assert {name.rpartition("__")[2]: table.rows for name, table in result.tables.items() if not name.endswith("assets")} == {
        part: place.table(part).num_rows for part in PARTS if part != "static_assets"
    }


def test_signatories_are_rows(place: Place) -> None:
    run = CourseRun("course-v1:MITxT+15.322x+1T2026", "T")
    signatures = next(made for number in range(40) if len((made := course(10, run=CourseRun(f"course-v1:MITxT+{number}x+1T2026", "T"))).signatories) == 3)
    assert signatures.plan.run != run
    place.load(signatures, course_id=signatures.plan.run.course_id)
    rows = sorted(place.table("signatories").to_pylist(), key=lambda row: row["id"])
    assert [row["name"] for row in rows] == ["Professor Ada Ferro", " Dr. Li Wéi", "Noor van Dijk"]
    assert [row["certificate_id"] for row in rows] == ["100", "101", "100"]
    assert rows[0]["signature_image_path"].endswith("block@signature-0.png")
    assert json.loads(rows[0]["fields"])["id"] == 9000


def test_objects_lie_under_the_documented_keys(place: Place) -> None:
    made = course(60, malformed=7)
    result = place.load(made)
    sha, dep = hashlib.sha256(made.archive).hexdigest(), place.deployment
    base = f"{dep}/openedx/processed_data"
    version = result.facts["data_version"]
    found = place.objects()
    quarantine = [key for key in found if key.startswith(f"{dep}/openedx/quarantine/course_xml/{COURSE}/")]
    assert set(found) == {
        f"{base}/course_metadata/{COURSE}/{sha}.json",
        f"{base}/course_video/{COURSE}/{sha}.json",
        f"{base}/course_xml_blocks/{dep}/{COURSE}/{sha}.json",
        f"{base}/course_policy/{dep}/{COURSE}/{sha}.json",
        f"{base}/course_certificate_signatory/{dep}/{COURSE}/{sha}.json",
        f"{base}/course_static_assets/{dep}/{COURSE}/{version}.tar.gz",
        f"{base}/course_static_assets_manifest/{dep}/{COURSE}/{version}.json",
        f"{base}/course_static_assets_manifest/{dep}/{COURSE}/manifest.json",
        *quarantine,
    }

    def lines(key: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (place.landing / key).read_text(encoding="utf-8").splitlines()]

    assert len(lines(f"{base}/course_metadata/{COURSE}/{sha}.json")[0]) == 11
    (blocks,) = (lines(key) for key in found if "course_xml_blocks" in key)
    assert len(blocks) == 60
    assert {len(block) for block in blocks} == {14}
    assert isinstance(blocks[0]["xml_attributes"], dict)
    assert set(lines(f"{base}/course_video/{COURSE}/{sha}.json")[0]) == {"video_block_id", "edx_video_id", "duration", "course_id"}
    manifest = json.loads((place.landing / f"{base}/course_static_assets_manifest/{dep}/{COURSE}/manifest.json").read_text(encoding="utf-8"))
    with tarfile.open(place.landing / f"{base}/course_static_assets/{dep}/{COURSE}/{version}.tar.gz") as tar:
        contents = {member.name: hashlib.sha256(tar.extractfile(member).read()).hexdigest() for member in tar}
    assert (manifest["data_version"], manifest["file_count"]) == (version, len(contents))
    assert {file["path"]: file["sha256"] for file in manifest["files"]} == contents
    refused = [line for key in quarantine for line in lines(key)]
    assert {line["member"] for line in refused} == {f"course/{path}" for path in made.malformed}
    assert all(set(line) == {"source", "member", "offset", "reason", "found"} and line["source"].endswith(f"{sha}.xml.tar.gz") for line in refused)
    assert result.links["quarantine"].endswith(quarantine[0])


def test_the_same_deliveries_in_any_order_give_the_same_tables(course_lake: Path, tmp_path: Path, rounds: int) -> None:
    """R-10: courses in several versions, each export delivered one to five times (one to three by default), shuffled."""
    runs = [RUN, CourseRun("course-v1:MITxT+14.313x+1T2026", "Two"), CourseRun("course-v1:xPRO+9.9x+R1", "Three")][: 3 if rounds else 2]
    versions = range(3 if rounds else 2)
    exports = [
        (course(20 + 5 * place, run=run, version=version), f"2026-03-0{version + 2}T06:00:00+00:00") for place, run in enumerate(runs) for version in versions
    ]
    single = Place(f"single{next(NUMBERS)}", tmp_path / "single")
    for made, moment in exports:
        single.load(made, moment, course_id=made.plan.run.course_id)
    assert single.table("metadata").num_rows == len(runs)
    for attempt in range(max(1, rounds)):
        dice = random.Random(attempt)
        deliveries = [export for export in exports for _ in range(dice.randint(1, 5 if rounds else 3))]
        dice.shuffle(deliveries)
        other = Place(f"{single.deployment}x{attempt}", tmp_path / str(attempt))
        for number, (made, moment) in enumerate(deliveries):
            other.load(made, moment, course_id=made.plan.run.course_id, run_key=f"run:{number if dice.random() < 0.7 else 0}")
        assert without_deployment(other) == without_deployment(single)
        assert pointers(other) == pointers(single)


def pointers(place: Place) -> list[str]:
    """Hashes of the manifests with fixed names, one for each course."""
    return [digest for key, digest in sorted(place.objects().items()) if key.endswith("/manifest.json")]


def without_deployment(place: Place) -> dict[str, tuple[int, str]]:
    found = {}
    for part in PARTS:
        table = place.table(part)
        if "source_system" in table.column_names:
            assert set(table["source_system"].to_pylist()) == {place.deployment}
            table = table.drop_columns("source_system")
        rows = sorted(json.dumps(row, default=str, sort_keys=True) for row in table.to_pylist())
        found[part] = len(rows), hashlib.sha256("\n".join(rows).encode()).hexdigest()
    return found


def test_a_newer_export_replaces_the_course_and_nothing_else(place: Place) -> None:
    other = course(15, run=CourseRun("course-v1:MITxT+14.313x+1T2026", "Two"))
    place.load(other, course_id=other.plan.run.course_id)
    place.load(course(30))
    before = place.table("blocks").filter(pc.field("course_id") != COURSE)
    objects = place.objects()
    result = place.load(course(30, version=2), SECOND, run_key="run:2")
    blocks = place.table("blocks")
    assert Counter(blocks["course_id"].to_pylist()) == {COURSE: 32, other.plan.run.course_id: 15}
    assert blocks.filter(pc.field("course_id") != COURSE).equals(before)
    assert set(place.table("metadata")["published_version"].to_pylist()) == {course(30, version=2).plan.published_version, other.plan.published_version}
    kept = {key: digest for key, digest in place.objects().items() if key in objects and not key.endswith("/manifest.json")}
    assert kept == {key: digest for key, digest in objects.items() if key in kept}, "what was written stays as it is"
    assert next(table for name, table in result.tables.items() if name.endswith("blocks")).extra == {"course_rows": 32, "committed": True}


def test_a_late_export_changes_nothing_not_even_where_the_newer_has_no_rows(place: Place) -> None:
    with_rows = {"video/v.xml": b'<video url_name="v"/>', "static/a.txt": b"1", "html/a.xml": b"<html/>"}
    place.load(archive_of({}), SECOND, version="2")
    right, objects = place.checksums(), place.objects()
    assert right["blocks"][0] == right["video"][0] == 0
    result = place.load(archive_of(with_rows), FIRST, run_key="run:2", version="1")
    assert result.facts["superseded"] is True
    assert place.checksums() == right
    pointer = f"{place.deployment}/openedx/processed_data/course_static_assets_manifest/{place.deployment}/{COURSE}/manifest.json"
    assert place.objects()[pointer] == objects[pointer]
    assert len(place.objects()) > len(objects), "its own objects are kept"


def test_a_load_that_was_overtaken_takes_its_rows_back(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newer export arrives while the older one is between two tables, and has nothing to write into the second."""
    from include.jobs.openedx.courses import tables

    older, newer = archive_of({"video/v.xml": b'<video url_name="v"/>', "html/a.xml": b"<html/>"}), archive_of({})
    write = tables.overwrite_partition
    overtaken = []

    def overtaking(table: Any, *arguments: Any, **options: Any) -> Any:
        if not overtaken and "__video" in table.name()[1]:
            overtaken.append(table)
            assert place.load(newer, SECOND, run_key="run:2", version="2").facts["superseded"] is False
        return write(table, *arguments, **options)

    monkeypatch.setattr(tables, "overwrite_partition", overtaking)
    assert place.load(older, FIRST, version="1").facts["superseded"] is True
    assert overtaken
    assert {part: place.table(part).num_rows for part in PARTS} == {
        "metadata": 1, "video": 0, "blocks": 0, "policies": 0, "signatories": 0, "static_assets": 0,
    }  # fmt: skip
    assert place.table("metadata")["published_version"].to_pylist() == ["2"]


def test_repetitions_commit_nothing(place: Place) -> None:
    made = course(20)
    first = place.load(made)
    again = place.load(made, run_key="run:2")
    assert [table.snapshot_id for table in again.tables.values()] == [table.snapshot_id for table in first.tables.values()]
    assert not any(table.extra["committed"] for table in again.tables.values())


@pytest.mark.parametrize("damage", ["cut", "flipped", "cut in the trailer"])
def test_a_damaged_archive_leaves_one_line_in_the_quarantine_and_nothing_else(place: Place, damage: str) -> None:
    """R-9 on a lake: nothing of the archive is in a table or an object, and what was there before stays."""
    place.load(course(12))
    before, objects = place.checksums(), place.objects()
    whole = course(40, version=1).archive
    middle = len(whole) // 2
    archive = {"cut": whole[:middle], "flipped": whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :], "cut in the trailer": whole[:-3]}[damage]
    flags = place.flags(whole, SECOND, run_key="run:2")
    path = Path(flags[flags.index("--archive") + 1].removeprefix("file://"))
    path.write_bytes(archive)  # under the name of the whole one
    parser = argparse.ArgumentParser()
    load.add_arguments(parser)
    for _ in range(2):
        with pytest.raises(PermanentError, match=path.name):
            load.run(parser.parse_args(flags))
    assert place.checksums() == before
    (added,) = set(place.objects()) - set(objects)
    assert added.startswith(f"{place.deployment}/openedx/quarantine/course_xml/{COURSE}/")
    (line,) = (place.landing / added).read_text(encoding="utf-8").splitlines()
    refusal = json.loads(line)
    assert refusal["member"] == "" or refusal["member"].startswith("course/")
    assert refusal["reason"].startswith("archive refused; allowed: ")
    assert isinstance(refusal["offset"], int)


KILLED = """
import os, signal, sys
import include.lake.storage as storage, include.jobs.openedx.courses.landing as landing
from pyiceberg.catalog.sql import SqlCatalog
from include.jobs import __main__ as entry
left = int(sys.argv[1])

def around(owner, name):
    method = getattr(owner, name)
    def wrapped(*arguments, **options):
        global left
        for moment in ("before", "after"):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1
            if moment == "before":
                result = method(*arguments, **options)
        return result
    setattr(owner, name, wrapped)

around(SqlCatalog, "commit_table")
around(landing, "_put_file")
around(storage._AtomicFile, "close")
code = entry.main(sys.argv[2:])
print("steps left", left)
sys.exit(code)
"""


def test_killed_anywhere_and_run_again_leaves_the_tables_of_one_load(place: Place, tmp_path: Path, rounds: int) -> None:
    """Every attempt dies by SIGKILL a few steps further on; the last one is let through."""
    made, right = course(25, version=1), Place(f"right{next(NUMBERS)}", tmp_path / "right")
    right.load(made, SECOND)
    place.load(course(25), FIRST, run_key="run:0")  # an export before, whose rows must go
    command = ["course-load", *place.flags(made, SECOND, run_key="run:1"), "--result", str(tmp_path / "result.json")]
    killed = 0
    for step in (*(range(0, 70, max(1, 7 // rounds)) if rounds else (2, 23, 41)), 10_000):
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", KILLED, str(step), *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        killed += done.returncode == -signal.SIGKILL
        assert done.returncode in (0, -signal.SIGKILL), done.stdout + done.stderr
    assert done.returncode == 0
    assert killed >= (10 if rounds else 2)
    assert without_deployment(place) == without_deployment(right)
    assert not list(place.landing.rglob("*.part"))[10:], "at most one unfinished file a kill"
    result = JobResult.from_json((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert result.facts["blocks"] == 26


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--course", "MITx/6.00x/2013", "course: found 'MITx/6.00x/2013'; allowed: course-v1:<organisation>"),
        ("--course", "course-v1:MITxT+14.310x+3T2030", "allowed: the course asked for, course-v1:MITxT+14.310x+3T2030"),
        ("--archive", "file:///nowhere/a.tar.gz", "archive: found nothing at file:///nowhere/a.tar.gz"),
        ("--retrieved-at", "yesterday", "retrieved at: found 'yesterday'; allowed: ISO 8601 with a zone"),
        ("--retrieved-at", "2026-03-02T06:00:00", "allowed: ISO 8601 with a zone"),
        ("--published-version", " ", "published version: found nothing"),
        ("--deployment", "../x", "deployment: found '../x'; allowed: lower-case letters and digits"),
    ],
)
def test_wrong_flags_are_permanent_failures_that_say_what_is_allowed(place: Place, flag: str, value: str, message: str) -> None:
    flags = place.flags(course(10))
    flags[flags.index(flag) + 1] = value
    parser = argparse.ArgumentParser()
    load.add_arguments(parser)
    with pytest.raises(PermanentError) as caught:
        load.run(parser.parse_args(flags))
    assert message in str(caught.value)


def test_without_a_time_the_archives_own_is_taken(place: Place) -> None:
    flags = place.flags(course(10))
    del flags[flags.index("--retrieved-at") : flags.index("--retrieved-at") + 2]
    os.utime(flags[flags.index("--archive") + 1].removeprefix("file://"), (1_772_000_000, 1_772_000_000))
    parser = argparse.ArgumentParser()
    load.add_arguments(parser)
    load.run(parser.parse_args(flags))
    assert place.table("metadata")["retrieved_at"].to_pylist() == [datetime.fromtimestamp(1_772_000_000, UTC)]


def test_the_job_runs_as_jobs_do(place: Place, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    command = [sys.executable, "-m", "include.jobs", "course-load", *place.flags(course(10)), "--result", str(result)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert JobResult.from_json(result.read_text(encoding="utf-8")).facts["blocks"] == 10
    cut = place.flags(gzip.compress(b"no tar"))
    done = subprocess.run([*command[:4], *cut, "--result", str(result)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 64
    assert "permanent failure: file://" in done.stdout
