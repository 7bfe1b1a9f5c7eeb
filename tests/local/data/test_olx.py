"""The generator of course archives: the same bytes every time, exact sizes, and counts that two other readers confirm."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections import Counter
from xml.etree import ElementTree

import pytest

from include.config.files import ROOT
from include.local.data import catalog
from include.local.data.olx.archive import BROKEN, Extras, OlxCourse, olx_course
from include.local.data.olx.expected import expected, expected_of_archive, structure_document
from include.local.data.olx.plan import KINDS, CourseRun, make_plan
from include.local.data.olx.runs import course_runs
from include.local.data.openedx import BLOCKS

RUN = CourseRun("course-v1:MITxT+14.310x+1T2026", "Foundations & more", "2026-01-26T00:00:00Z", self_paced=False)


def members(course: OlxCourse) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(course.archive)) as tar:
        return {member.name.removeprefix("course/"): tar.extractfile(member).read() for member in tar if member.isreg()}


@pytest.mark.parametrize("blocks", [4, 10, 11, 12, 13, 50, 333, 4_000])
def test_a_course_has_as_many_blocks_as_were_asked_for(blocks: int) -> None:
    plan = make_plan(RUN, seed=7, blocks=blocks)
    assert len(plan.blocks) == blocks
    assert len({(block.kind, block.name) for block in plan.blocks}) == blocks


def test_too_few_blocks_are_refused() -> None:
    with pytest.raises(ValueError, match="blocks: found 3; allowed: 4 or more"):
        make_plan(RUN, seed=7, blocks=3)


def test_expected_counts_are_what_the_standard_library_finds() -> None:
    course = olx_course(RUN, seed=7, blocks=400, extras=Extras(50_000, malformed=7))
    right, files = expected(course), members(course)
    assert files == course.files
    found = Counter()
    for path, data in files.items():
        folder, _, name = path.partition("/")
        if name.endswith(".xml") and folder not in ("drafts", "assets", "static", "course") and path not in right.quarantined:
            assert ElementTree.fromstring(data).tag == folder
            found[folder] += 1
    assert found == right.blocks
    assert set(found) == set(KINDS)
    videos = [ElementTree.fromstring(data).find("video_asset") for path, data in files.items() if path.startswith("video/") and path not in right.quarantined]
    known = [float(asset.get("duration")) for asset in videos if asset is not None]
    assert (len(videos), len(known)) == (right.videos, right.videos_with_duration)
    assert sum(known) == pytest.approx(right.video_seconds)
    assert any(len(asset) == 0 for asset in videos if asset is not None), "some assets have no children"
    assert {path: hashlib.sha256(files[path]).hexdigest() for path in right.static} == right.static
    assert any(path.startswith("static/") and path.endswith(".xml") for path in right.static)


@pytest.mark.parametrize(("blocks", "malformed"), [(40, 0), (400, 9)])
def test_an_archive_alone_gives_the_same_counts_as_its_plan(blocks: int, malformed: int) -> None:
    for number in range(4):
        run = CourseRun(f"course-v1:MITxT+{number}x+1T2026", "T", self_paced=True)
        course = olx_course(run, seed=7, blocks=blocks, version=number, extras=Extras(20_000, malformed=malformed))
        found = expected_of_archive(course.archive)
        assert found == expected(course)
        assert len(found.quarantined) == malformed
        assert sum(found.blocks.values()) == blocks + number


def test_broken_members_are_broken() -> None:
    for folder, data, what in BROKEN:
        if folder == "policies":
            continue
        try:
            ElementTree.fromstring(data)
        except (ElementTree.ParseError, UnicodeError):
            continue
        assert what in ("document type", "UTF-16"), "well-formed for a reader that takes document types and encodings"


def test_the_learners_blocks_are_there_under_their_names() -> None:
    """What the LMS database says about blocks can be joined with the archive."""
    names = {f"block-v1:MITxT+14.310x+1T2026+type@{block.kind}+block@{block.name}" for block in make_plan(RUN, seed=7, blocks=40).blocks}
    for number in range(BLOCKS):
        (name,) = catalog.blocks(RUN.course_id, "video" if number % 3 == 0 else "problem", [number])
        assert name in names


def test_bytes_depend_on_seed_course_and_version_alone() -> None:
    script = (
        "import hashlib; from include.local.data.olx.archive import olx_course; from include.local.data.olx.plan import CourseRun;"
        f"print(hashlib.sha256(olx_course({RUN!r}, seed=7, blocks=60).archive).hexdigest())"
    )
    clean = {**os.environ, "PYTHONHASHSEED": "99", "TZ": "Asia/Tokyo"}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=clean, capture_output=True, text=True, check=True)
    here = olx_course(RUN, seed=7, blocks=60).archive
    assert done.stdout.strip() == hashlib.sha256(here).hexdigest()
    others = [olx_course(RUN, seed=8, blocks=60), olx_course(CourseRun("course-v1:MITxT+14.310x+2T2026", RUN.title), seed=7, blocks=60)]
    assert len({hashlib.sha256(gzip.decompress(one.archive)).digest() for one in (olx_course(RUN, seed=7, blocks=60), *others)}) == 3


def test_members_are_written_as_studio_writes_them_or_plainly() -> None:
    studio, plain = (olx_course(RUN, seed=7, blocks=20, extras=Extras(whole_seconds=whole)) for whole in (False, True))
    assert studio.files == plain.files
    for course, times in ((studio, True), (plain, False)):
        with tarfile.open(fileobj=io.BytesIO(course.archive)) as tar:
            found = tar.getmembers()
        assert all(("mtime" in member.pax_headers) is times for member in found)
        assert [member.name for member in found if not member.name.isascii()] == ["course/static/Übung 1 – Lösung.pdf"]
        names = [member.name.split("/") for member in found]
        assert names == sorted(names), "as tarfile adds a folder"


def test_a_version_changes_little_and_has_a_greater_number() -> None:
    first, second, third = (olx_course(RUN, seed=7, blocks=60, version=version) for version in (0, 1, 2))
    changed = {path for path in {*first.files, *second.files} if first.files.get(path) != second.files.get(path)}
    assert 0 < len(changed) < 8
    assert [len(one.plan.blocks) for one in (first, second, third)] == [60, 61, 62]
    versions = [one.plan.published_version for one in (first, second, third)]
    assert versions == sorted(set(versions))
    assert all(len(version) == 24 and int(version, 16) for version in versions)


def test_sizes_differ_from_course_to_course() -> None:
    sizes = [len(olx_course(CourseRun(f"course-v1:MITxT+{number}x+1T2026", "T"), seed=7).plan.blocks) for number in range(40)]
    assert min(sizes) >= 40
    assert max(sizes) <= 400
    assert len(set(sizes)) > 20


def test_structures_list_children_that_are_not_there_and_leave_one_block_behind() -> None:
    document = structure_document(make_plan(RUN, seed=7, blocks=400))
    listed = {child for block in document.values() for child in block["children"]}
    assert listed - set(document), "children of libraries"
    roots = [name for name in document if name not in listed]
    assert sorted(document[name]["category"] for name in roots) == ["course", "vertical"]


def test_residential_runs_need_no_database() -> None:
    runs = course_runs("mitx")
    assert len({run.course_id for run in runs}) == len(runs) == 12
    assert all(run.course_id.startswith("course-v1:MITx+") and run.start < run.end for run in runs)
    with pytest.raises(ValueError, match="deployment: found 'edge'; allowed: mitx, mitxonline, xpro"):
        course_runs("edge")


def test_course_runs_are_those_of_the_source_databases(day_zero: str) -> None:
    online, pro = course_runs("mitxonline", day_zero), course_runs("xpro", day_zero)
    assert len({run.course_id for run in online}) == len(online) > 20
    assert len({run.course_id for run in pro}) == len(pro) > 5
    assert {run.course_id for run in online} & {run.course_id for run in pro}, "ids are unique on one platform only"
    assert any(run.start is None for run in online), "drafts have no dates"
    assert {run.self_paced for run in online} == {True, False}
    assert olx_course(online[0], seed=7).archive
