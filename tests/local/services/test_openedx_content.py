"""What is inside the local Open edX's generated courses: their sizes, members that cannot be read, and the switches for both."""

from __future__ import annotations

import hashlib
import io
import statistics
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from include.config.files import ROOT
from include.jobs.openedx.courses.extract import extract
from include.jobs.openedx.courses.rows import Course, CourseKey
from include.local.data.olx.archive import BROKEN, OlxCourse
from include.local.data.olx.expected import expected
from include.local.data.openedx_runs import CourseRun, invented_runs
from include.local.services.openedx.__main__ import arguments, deployments_of
from include.local.services.openedx.content import LARGEST, SMALLEST, USUAL, Variety, course_of, generated
from tests.openedx_service import program

COURSES = 400
VARIED, USUAL_SIZES, ALL_MALFORMED = Variety(), Variety(sizes=False), Variety(malformed=1)


@cache
def runs(count: int = COURSES) -> tuple[CourseRun, ...]:
    return invented_runs("mitxonline", count)


@cache
def courses(variety: Variety = VARIED, seed: int = 7, count: int = COURSES) -> list[OlxCourse]:
    return [course_of(run, seed, variety) for run in runs(count)]


def sizes(variety: Variety = VARIED, seed: int = 7) -> list[int]:
    return [len(course.plan.blocks) for course in courses(variety, seed)]


def taken(archive: bytes, run: CourseRun) -> Course:
    """The archive as the job that loads it takes it."""
    key = CourseKey.parse(run.id)
    return extract(
        io.BytesIO(archive), source="a.tar.gz", key=key, deployment="mitxonline", retrieved_at="2026-03-02T06:00:00+00:00", static=io.BytesIO(), limits=None
    )


def test_most_courses_are_small_and_a_few_are_very_large() -> None:
    found = sizes()
    assert min(found) == SMALLEST == 10
    assert 3_000 < max(found) <= LARGEST == 4_000
    assert statistics.median(found) <= statistics.median(sizes(USUAL_SIZES)), "or the demo takes longer than it did"
    assert 0.03 < sum(size > USUAL for size in found) / COURSES < 0.1
    assert sum(size < 40 for size in found) > COURSES / 4


def test_the_usual_sizes_can_be_asked_for() -> None:
    found = sizes(USUAL_SIZES)
    assert (min(found) >= 40, max(found) <= 400) == (True, True)


def test_one_course_in_twenty_has_members_that_cannot_be_read() -> None:
    found = [course.extras.malformed for course in courses() if course.extras.malformed]
    assert 0.03 < len(found) / COURSES < 0.075
    assert set(found) <= set(range(1, len(BROKEN) + 1))
    assert len(set(found)) > 3
    assert not any(course.extras.malformed for course in courses(Variety(malformed=0)))
    assert all(course.extras.malformed for course in courses(ALL_MALFORMED, count=100))


def test_size_and_members_follow_from_the_seed_alone() -> None:
    """Not from the process, nor from each other, nor from how often a run was published; so every part of the platform can know them."""
    run = runs()[3]
    code = (
        "import hashlib; from include.local.data.openedx_runs import invented_runs; from include.local.services.openedx.content import Variety, course_of;"
        "print(hashlib.sha256(course_of(invented_runs('mitxonline', 4)[3], 7, Variety(malformed=1)).archive).hexdigest())"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    course = course_of(run, 7, ALL_MALFORMED)
    assert elsewhere.stdout.strip() == hashlib.sha256(course.archive).hexdigest()
    again = course_of(run.published(run.published_at), 7, ALL_MALFORMED)
    assert (len(again.plan.blocks), again.malformed) == (len(course.plan.blocks) + 1, course.malformed)
    assert sizes() == sizes(Variety(malformed=0)) != sizes(seed=8)
    assert [course.extras for course in courses()] == [course.extras for course in courses(USUAL_SIZES)]


@pytest.mark.parametrize("place", [0, COURSES // 4, COURSES // 2, -COURSES // 20, -1])
def test_a_course_of_any_size_is_taken_but_for_those_members(place: int) -> None:
    run = sorted(zip(sizes(), runs(), strict=True), key=lambda one: one[0])[place][1]
    course, content = course_of(run, 7, ALL_MALFORMED), generated(7, ALL_MALFORMED)
    right, found = expected(course), taken(content.archive_of(run), run)
    assert {refused.member.removeprefix("course/") for refused in found.quarantined} == right.quarantined != set()
    assert len(found.blocks) == sum(right.blocks.values())
    assert len(content.structure_of(run)) > 0


def test_the_command_line_switches_both(tmp_path: Path) -> None:
    run = runs(3)[0]
    for flags, variety in {
        (): VARIED,
        ("--usual-sizes",): USUAL_SIZES,
        ("--malformed", "1"): ALL_MALFORMED,
        ("--usual-sizes", "--malformed", "0"): Variety(sizes=False, malformed=0),
    }.items():
        content = deployments_of(arguments(["--port", "1", "--courses", "3", *flags]))["mitxonline"].content
        assert content.archive_of(run) == course_of(run, 7, variety).archive, flags
    with program(tmp_path / "log", "--courses", "3", "--malformed", "1", "--export-seconds", "0") as service, service.authorized() as http:
        task = service.start(http, run.id).raise_for_status().json()
        assert service.states_until_end(http, run.id, task["upload_task_ids"][run.id]) == ["Succeeded"]
        archive = service.http.get(task["upload_urls"][run.id].replace("+", "%2B")).raise_for_status().content
    course = course_of(run, 7, ALL_MALFORMED)
    assert archive == course.archive
    assert len(taken(archive, run).quarantined) == course.extras.malformed > 0


@pytest.mark.parametrize("share", ["1.5", "-0.1", "nan", "many"])
def test_a_share_is_between_nothing_and_everything(share: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["--port", "1", "--courses", "3", f"--malformed={share}"])
    assert "--malformed: " in capsys.readouterr().err
