"""One pass over an archive yields what the generator planned, and what the system before got wrong is right."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections import Counter

import msgspec
import pytest

from include.jobs.openedx.courses.extract import extract
from include.jobs.openedx.courses.refusals import RefusedArchiveError
from include.jobs.openedx.courses.rows import Course, CourseKey
from include.local.data.olx.archive import tar_parts
from include.local.data.olx.content import policy, xml_attributes
from include.local.data.olx.expected import expected
from include.local.data.olx.plan import KINDS, NO_ASSET, CourseRun

from .made import COURSE, ROOT_FILE, RUN_FILE, archive_of, course, parsed

VIDEO = '<video url_name="{}" edx_video_id="e">{}</video>'


@pytest.fixture(scope="module")
def big() -> tuple[Course, io.BytesIO]:
    static = io.BytesIO()
    return parsed(course(900, malformed=8).archive, static=static), static


@pytest.mark.parametrize("blocks", [10, 57, 900])
def test_counts_are_those_of_the_plan(blocks: int) -> None:
    made = course(blocks, malformed=8 if blocks == 900 else 0)
    found, right = parsed(made.archive), expected(made)
    assert Counter(block.block_type for block in found.blocks) == right.blocks
    assert len(found.blocks) == blocks
    assert len(found.videos) == right.videos
    known = [float(video.duration) for video in found.videos if video.duration is not None]
    assert len(known) == right.videos_with_duration
    assert sum(known) == pytest.approx(right.video_seconds)
    assert sum(block.max_attempts is not None for block in found.blocks) == right.problems_with_attempts
    assert sum(float(block.weight or 0) for block in found.blocks) == right.points
    assert {file.path: file.sha256 for file in found.static} == right.static
    assert sum(file.size_bytes for file in found.static) == right.static_bytes
    assert len(found.policies) == right.policies
    assert len(found.signatories) == right.signatories
    assert {line.member.removeprefix("course/") for line in found.quarantined} == right.quarantined
    assert found.skipped == right.skipped


def test_every_block_type_is_there(big: tuple[Course, io.BytesIO]) -> None:
    assert {block.block_type for block in big[0].blocks} == set(KINDS)


def test_every_block_says_what_its_file_says(big: tuple[Course, io.BytesIO]) -> None:
    made, found = course(900, malformed=8), big[0]
    planned = {(block.kind, block.name): block for block in made.plan.blocks}
    for row in found.blocks:
        block = planned[row.block_type, row.block_id]
        assert row.xml_attributes == xml_attributes(block)
        assert list(row.xml_attributes) == list(xml_attributes(block))
        assert row.block_display_name == block.title
        assert row.raw_xml.encode() == made.files[row.xml_path.removeprefix("course/")]
        assert (row.course_id, row.source_system, row.retrieved_at) == (COURSE, "mitxonline", "2026-03-02T06:00:00+00:00")
        of_video = (block.attributes["edx_video_id"], None if block.duration == NO_ASSET else block.duration) if block.kind == "video" else (None, None)
        assert (row.edx_video_id, row.duration) == of_video
        names = ("max_attempts", "weight", "markdown") if block.kind == "problem" else ()
        assert [getattr(row, name) for name in ("max_attempts", "weight", "markdown")] == [xml_attributes(block).get(name) for name in names] or [None] * 3
    assert len(msgspec.structs.fields(type(found.blocks[0]))) == 14


def test_metadata_has_eleven_columns_from_two_files(big: tuple[Course, io.BytesIO]) -> None:
    found = msgspec.structs.asdict(big[0].metadata)
    assert found == {
        "enrollment_start": None,
        "enrollment_end": None,
        "course_start": "2026-01-26T00:00:00Z",
        "course_end": "2026-05-08T00:00:00Z",
        "instructor_info": '{"instructors": []}',
        "self_paced": True,
        "title": "Foundations of Household Data",
        "course_id": COURSE,
        "course_number": "14.310x",
        "semester": "1T2026",
        "institution": "MITxT",
    }


def test_policies_and_signatories_are_those_of_the_files() -> None:
    signing = set()
    for number in ("14.310x", "14.313x", "6.316x", "2.319x", "15.322x"):
        made = course(20, run=CourseRun(f"course-v1:MITxT+{number}+1T2026", "T", self_paced=True))
        signing.add(len(made.signatories))
        found = parsed(made.archive, course_id=made.plan.run.course_id)
        (entry,) = policy(made.plan, made.signatories).values()
        (row,) = found.policies
        assert row.policy == entry
        names = ("advanced_modules", "discussions_settings", "display_coursenumber", "tabs", "tags")
        assert [getattr(row, name) for name in names] == [entry[name] for name in names]
        assert row.self_paced is True
        assert row.grading_policy["GRADE_CUTOFFS"] == {"A": 0.9, "Pass": 0.6}
        assert sorted(signatory.fields["id"] for signatory in found.signatories) == [one["id"] for one in made.signatories]
        assert {signatory.certificate_id for signatory in found.signatories} <= {"100", "101"}
    assert {0, 2} & signing
    assert len(signing) > 1


def test_the_static_tar_holds_the_static_files(big: tuple[Course, io.BytesIO]) -> None:
    made = course(900, malformed=8)
    found, static = big
    with tarfile.open(fileobj=io.BytesIO(static.getvalue()), mode="r:gz") as tar:
        contents = {member.name: tar.extractfile(member).read() for member in tar}
    assert contents == {path: made.files[path] for path in expected(made).static}
    assert [file.path for file in found.static] == list(contents)
    types = {file.path.rpartition(".")[2]: file.mime_type for file in found.static}
    assert types["srt"] == "application/x-subrip"
    assert types["html"] == "text/html"
    assert types["pdf"] == "application/pdf"


def test_equal_plans_give_equal_bytes_and_rows() -> None:
    first, second = course(40), course(40)
    assert first.archive == second.archive
    one, two = io.BytesIO(), io.BytesIO()
    assert parsed(first.archive, static=one) == parsed(second.archive, static=two)
    assert one.getvalue() == two.getvalue()


# --- what the system before got wrong ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attribute", "paced"),
    [
        ('self_paced="false"', False),
        ('self_paced="False"', False),
        ('self_paced="&quot;false&quot;"', False),
        ('self_paced=""', False),
        ("", False),
        ('self_paced="true"', True),
        ('self_paced="True"', True),
        ('self_paced="&quot;true&quot;"', True),
    ],
)
def test_self_paced_false_is_false(attribute: str, paced: bool) -> None:
    """A6-4, system §5.3: the text ``false`` was taken as true."""
    found = parsed(archive_of({"course/1T2026.xml": f"<course {attribute}/>".encode()}))
    assert found.metadata.self_paced is paced
    assert found.quarantined == []


def test_a_self_paced_that_is_neither_is_unknown_and_told() -> None:
    found = parsed(archive_of({"course/1T2026.xml": b'<course self_paced="perhaps" display_name="T"/>'}))
    assert found.metadata.self_paced is None
    assert found.metadata.title == "T"
    assert [(line.member, line.found) for line in found.quarantined] == [("course/course/1T2026.xml", "perhaps")]


@pytest.mark.parametrize(
    ("inside", "duration"),
    [
        ('<video_asset duration="61.5"/>', "61.5"),
        ('<video_asset duration="61.5"></video_asset>', "61.5"),
        ('<video_asset duration="61.5"><encoded_video profile="hls"/></video_asset>', "61.5"),
        ("<video_asset/>", None),
        ("", None),
    ],
)
def test_a_childless_video_asset_has_its_duration(inside: str, duration: str | None) -> None:
    """A6-4, system §5.3: an element without children was taken for none, so the duration was always 0.0."""
    found = parsed(archive_of({"video/v.xml": VIDEO.format("v", inside).encode()}))
    assert [(video.video_block_id, video.duration) for video in found.videos] == [("v", duration)]
    assert found.blocks[0].duration == duration


def test_a_course_without_chapters_is_a_course() -> None:
    """A6-4, system §5.3: a root element without children raised."""
    found = parsed(archive_of({"course/1T2026.xml": b'<course display_name="Empty"/>'}))
    assert found.metadata.title == "Empty"
    assert found.blocks == []


def test_static_files_are_there_and_xml_among_them_is_no_block() -> None:
    """System §5.3: the whole static folder, where subtitles and documents lie, was left out."""
    found = parsed(archive_of({"static/a.srt": b"1", "static/b.xml": b"<not xml", "drafts/html/d.xml": b"<html/>", "assets/assets.xml": b"<assets/>"}))
    assert [file.path for file in found.static] == ["static/a.srt", "static/b.xml"]
    assert found.blocks == []
    assert found.skipped == {"drafts": 1, "assets": 1}


def test_renaming_a_static_file_changes_the_version() -> None:
    """A6-5: the version was a hash over contents only."""
    files = {"static/a.txt": b"one", "static/b.txt": b"two"}
    versions = {
        parsed(archive_of(one)).data_version
        for one in (files, {"static/c.txt": b"one", "static/b.txt": b"two"}, {"static/a.txt": b"two", "static/b.txt": b"one"}, {"static/a.txt": b"onetwo"})
    }
    assert len(versions) == 4
    assert parsed(archive_of(dict(reversed(files.items())))).data_version in versions


def test_the_whole_archive_is_read_once() -> None:
    """A6-4: the archive was opened and read four times."""

    class Once(io.BytesIO):
        def seek(self, *_: int) -> int:
            raise AssertionError("the archive is a stream")

        seekable = lambda self: False  # noqa: E731

    made = course(57).archive
    stream = Once(made)
    found = extract(stream, source="a", key=CourseKey.parse(COURSE), deployment="x", retrieved_at="", static=io.BytesIO())
    assert len(found.blocks) == 57
    assert stream.tell() == len(made)


# --- what is not quite right in an archive -----------------------------------------------------------------------------------------------------------


def test_a_broken_member_is_quarantined_with_its_place_and_the_rest_is_taken() -> None:
    archive = archive_of({"problem/a.xml": b"<problem/>", "problem/b.xml": b"<problem><p>", "problem/c.xml": b"<problem/>"})
    found = parsed(archive)
    assert [block.block_id for block in found.blocks] == ["a", "c"]
    (line,) = found.quarantined
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert line.offset == tar.getmember("course/problem/b.xml").offset
    assert (line.source, line.member) == ("a.tar.gz", "course/problem/b.xml")
    assert "line 1" in line.found


def test_a_policy_of_another_form_is_quarantined_and_stays_a_static_file() -> None:
    found = parsed(archive_of({"policies/1T2026/policy.json": b'{"course/1T2026": {"certificates": {"certificates": 3}}}', "policies/other/policy.json": b"{"}))
    assert [(line.member, line.reason, line.found) for line in found.quarantined] == [
        ("course/policies/1T2026/policy.json", "a list at course/1T2026/certificates/certificates", "3")
    ]
    assert [file.path for file in found.static] == ["policies/1T2026/policy.json", "policies/other/policy.json"]
    assert found.policies == []


def test_names_that_differ_by_case_alone_are_quarantined_after_the_first() -> None:
    found = parsed(archive_of({"html/a.xml": b"<html/>", "html/A.xml": b"<html/>", "static/u\u0308.txt": b"1", "static/\u00fc.txt": b"2"}))
    assert [block.block_id for block in found.blocks] == ["A"]
    assert [file.path for file in found.static] == ["static/u\u0308.txt"]
    assert [line.found for line in found.quarantined] == ["the name of course/html/A.xml", "the name of course/static/u\u0308.txt"]


def test_a_block_without_a_name_of_its_own_has_its_files() -> None:
    found = parsed(archive_of({"html/a.b.xml": b"<html/>", "html/c.xml": b'<html url_name="other"/>', "video/v.xml": b"<video/>"}))
    assert [block.block_id for block in found.blocks] == ["a.b", "other", "v"]
    assert [video.video_block_id for video in found.videos] == ["v"]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"course.xml": b'<course url_name="2T2026" org="MITxT" course="14.310x"/>'},
            "found <course> of course-v1:MITxT+14.310x+2T2026; allowed: the course asked for",
        ),
        ({"course.xml": b"<course"}, "member 'course/course.xml' at byte"),
        ({"course.xml": b"<library org='MITxT'/>"}, "found <library> of"),
        ({"library.xml": b"<library/>"}, "found a library; allowed: a course's archive"),
    ],
)
def test_another_archive_is_refused(files: dict[str, bytes], message: str) -> None:
    with pytest.raises(RefusedArchiveError, match=r"a\.tar\.gz") as caught:
        parsed(archive_of(files))
    assert message in str(caught.value)


def test_an_archive_without_a_course_is_refused() -> None:
    with pytest.raises(RefusedArchiveError, match=r"found no course/course\.xml"):
        parsed(gzip.compress(b"".join(tar_parts("course", {"course/1T2026.xml": RUN_FILE}))))
    with pytest.raises(RefusedArchiveError, match="a member outside the folder course/"):
        parsed(gzip.compress(b"".join(tar_parts(".", {"course/course.xml": ROOT_FILE, "other/a.xml": b"<a/>"}))))


@pytest.mark.parametrize("text", ["", "MITx/6.00x/2013", "course-v1:a+b", "course-v1:a+b+c+d", "course-v1:a+b+c/../d", "course-v1: a+b+c"])
def test_other_course_keys_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="course-v1:<organisation>"):
        CourseKey.parse(text)
