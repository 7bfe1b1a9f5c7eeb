"""Which course runs had to be loaded, by the deployments' lists and what sweeps may take: by hand, and held against the real job's own reckoning."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from include.jobs.openedx.sweep.observe import Attempt
from include.jobs.openedx.sweep.settle import order_of, settle
from include.jobs.openedx.sweep.state import Known
from include.local.data.acts import Act
from include.local.data.openedx_logs import DayLogs, invented_roster, write_day
from include.local.data.openedx_runs import invented_runs
from include.local.openedx_inputs import Inputs
from include.local.openedx_sources import CourseFacts, CourseRecord, SourceRecords, facts_of
from include.local.services.openedx.content import SMALL, generated
from include.local.services.openedx.store import Deployment
from tests.openedx_service import running

DAY = date(2026, 3, 2)


def facts(version: str) -> CourseFacts:
    return CourseFacts(version, f"sha of {version}", 0, {}, 0, 0, 0, 0, 0, 0, 0)


def swept(record: CourseRecord, listed: dict[str, str], most: int) -> list[str]:
    """One sweep; what it took."""
    before = len(record.told)
    record.sweep(listed, most, lambda course: facts(listed[course]))
    return [course for course, _ in record.told[before:]]


def test_a_sweep_takes_so_many_runs_in_the_order_in_which_they_wait() -> None:
    record, listed = CourseRecord(), dict.fromkeys("abcde", "1")
    assert swept(record, listed, 2) == ["a", "b"]
    assert set(record.loaded) == {"a", "b"}
    listed |= {"a": "2", "d": "2", "aa": "1"}  # a was taken before and waits behind all; d waits where it is; aa is asked for before all others
    assert swept(record, listed, 2) == ["c", "d"]
    assert record.loaded["a"].published_version == "1", "its newer edition waits"
    assert record.loaded["d"].published_version == "2"
    assert swept(record, listed, 2) == ["e", "aa"]
    assert swept(record, listed, 2) == ["a"]
    assert swept(record, listed, 2) == []
    assert record.told == [("a", "sha of 1"), ("b", "sha of 1"), ("c", "sha of 1"), ("d", "sha of 2"), ("e", "sha of 1"), ("aa", "sha of 1"), ("a", "sha of 2")]
    assert record.sweeps == 5


def test_a_run_that_is_not_listed_any_more_is_not_expected_to_be_taken() -> None:
    record = CourseRecord()
    assert swept(record, dict.fromkeys("abc", "1"), 1) == ["a"]
    assert swept(record, dict.fromkeys("c", "1"), 1) == ["c"]


@pytest.mark.parametrize("most", [1, 4, 9, 100])
def test_the_real_sweep_takes_the_same(most: int) -> None:
    """Thirty days of a deployment whose runs are published again and whose list grows."""
    record, known, moment = CourseRecord(), dict[str, Known](), datetime(2026, 3, 2, tzinfo=UTC)
    for day in range(30):
        listed = {run.id: run.published_version for run in invented_runs("mitx", 40 + day, day=day, changed=0.05)}
        attempts = []
        for name in order_of(known, list(listed)):
            moment += timedelta(milliseconds=1)
            attempts.append(Attempt(name, moment, "observed", listed[name]))
        settled = settle(known, list(listed), attempts, most=most)
        known = settled.courses
        assert swept(record, listed, most) == list(settled.changed), f"day {day}"
        assert {name: one.published_version for name, one in record.loaded.items()} == {name: one.reported for name, one in known.items() if one.reported}


def test_facts_are_those_of_the_archive_that_the_service_gives() -> None:
    (run, *_) = invented_runs("mitx", 1)
    content = generated(7)
    found, archive = facts_of(run, content), content.archive_of(run)
    assert found.archive_sha256 == hashlib.sha256(archive).hexdigest()
    assert found.published_version == run.published_version
    assert found.structure_blocks == len(content.structure_of(run))
    assert found.blocks["video"] == found.videos > 0
    assert min(found.static_files, found.static_bytes, found.policies) > 0
    again = facts_of(run.published(datetime(2026, 3, 9, tzinfo=UTC)), content)
    assert again.published_version > found.published_version
    assert again.blocks["problem"] == found.blocks["problem"] + 1


def test_the_stand_ins_list_and_versions_are_those_it_answers_with() -> None:
    """What the expectation takes from the stand-in's own store is what its API says."""
    with running(12) as service:
        http = service.authorized()
        listed = {run.id: run.published_version for run in service.store.listed()}
        courses = http.get(f"{service.lms}/api/courses/v1/courses/", params={"username": "data_platform", "page_size": "100"}).json()["results"]
        outlines = {one["id"]: http.get(f"{service.lms}/api/learning_sequences/v1/course_outline/{one['id']}").json() for one in courses}
        assert {course: outline["published_version"] for course, outline in outlines.items()} == listed
        assert len(listed) == 12


def inputs(folder: Path, day: date) -> Inputs:
    logs: dict[str, DayLogs] = {
        name: write_day(folder / name, invented_roster(name, seed=5, learners=40), day, seed=5, events=200) for name in ("mitx", "xpro")
    }
    return Inputs(day, {}, logs)


def test_records_outlive_a_round(tmp_path: Path) -> None:
    records, first, second = SourceRecords(tmp_path / "sources"), inputs(tmp_path, DAY), inputs(tmp_path, DAY + timedelta(days=1))
    deployments = {name: Deployment(name, lambda day, name=name: invented_runs(name, 5, day=day), SMALL) for name in ("mitx", "xpro")}
    records.deliver(first)
    records.sweep(deployments, {"mitx": 1, "xpro": 0}, {"mitx": 2, "xpro": 2})
    records.deliver(second)
    records.sweep(deployments, {"mitx": 3, "xpro": 1}, {"mitx": 2, "xpro": 2})  # one round was killed after its sweep
    found = SourceRecords(tmp_path / "sources").read()
    assert {name: set(days) for name, days in found.acts.items()} == {name: {first.day, second.day} for name in ("mitx", "xpro")}
    for one in (first, second):
        for name, logs in one.logs.items():
            kept: list[Act] = found.acts[name][one.day]
            assert Counter(kept) == Counter(logs.totals.acts)
    assert {name: (record.sweeps, len(record.loaded)) for name, record in found.courses.items()} == {"mitx": (3, 5), "xpro": (1, 2)}
    assert sorted(found.courses["mitx"].loaded) == sorted(run.id for run in invented_runs("mitx", 5))
