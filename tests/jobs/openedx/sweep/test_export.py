"""The export of a course run: every state and every way to end, and who joins it."""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from include.contract import PermanentError, TransientError
from include.jobs.openedx.api.client import NotFoundError
from include.jobs.openedx.api.studio import Studio
from include.jobs.openedx.export.record import Phase
from include.jobs.openedx.export.steps import STARTS
from tests.openedx_service import EXPORTS

from .work import Work

# --- the way it goes -----------------------------------------------------------------------------


def test_an_export_lands_under_the_hash_of_its_content(work: Work, course: str) -> None:
    record = work.all(course)
    (file,) = work.files()
    assert file == work.folder / "landing" / "mitxonline" / "openedx" / "raw_data" / "course_xml" / course / f"{record.sha256}.xml.tar.gz"
    data = file.read_bytes()
    assert (hashlib.sha256(data).hexdigest(), len(data), record.object) == (record.sha256, record.bytes, str(file))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert "course/course.xml" in tar.getnames()
    assert record.published_version == work.service.version(course)
    assert work.exporter.records.read(course) == record


def test_the_version_is_read_before_the_export(work: Work, course: str) -> None:
    """Published while the export runs: the archive may hold more than the version says, never less."""
    before = work.service.version(course)
    record = work.start(course)
    work.service.change(publish=[course])
    record = work.fetch(work.wait(record))
    assert record.published_version == before != work.service.version(course)
    asked = [one["path"] for one in work.service.requests() if "outline" in one["path"] or one["method"] == "POST"]
    outline, export = (next(number for number, path in enumerate(asked) if part in path) for part in ("course_outline", "/export/"))
    assert outline < export


def test_each_step_can_be_another_process_and_can_be_repeated(work: Work, course: str) -> None:
    for _ in range(3):
        started = work.start(course)
    for _ in range(2):
        ended = work.wait(started)
    for _ in range(2):
        fetched = work.fetch(ended)
    again = work.start(course)
    assert again == work.look(again) == work.fetch(again) == work.exporter.records.read(course)
    assert fetched.sha256 == again.sha256
    assert work.begun(course) == 1
    assert len(work.files()) == 1


def test_equal_archives_are_written_once(work: Work, course: str) -> None:
    work.all(course, "first")
    (file,) = work.files()
    stamp = file.stat().st_mtime_ns
    assert work.all(course, "second").object == str(file)
    assert file.stat().st_mtime_ns == stamp
    assert work.begun(course) == 2


# --- joining -------------------------------------------------------------------------------------


def test_another_run_joins_an_export_of_the_same_version(work: Work, course: str) -> None:
    work.service.faults({"match": EXPORTS, "export": {"seconds": 600}})
    first = work.start(course, "first")
    second = work.start(course, "second")
    assert (second.task_id, second.run_key) == (first.task_id, "second")
    assert work.begun(course) == 1


def test_another_run_does_not_join_an_export_of_an_older_version(work: Work, course: str) -> None:
    work.service.faults({"match": EXPORTS, "export": {"seconds": 600}})
    first = work.start(course, "first")
    work.service.change(publish=[course])
    second = work.start(course, "second")
    assert second.task_id != first.task_id
    assert (second.published_version, work.begun(course)) == (work.service.version(course), 2)


# --- bad ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["Failed", "Canceled"])
def test_a_bad_end_is_permanent(work: Work, course: str, end: str) -> None:
    work.service.faults({"match": EXPORTS, "export": {"seconds": 0.01, "end": end}})
    with pytest.raises(PermanentError, match=f"{end}; see Studio's log for task"):
        work.wait(work.start(course))
    record = work.exporter.records.read(course)
    assert record is not None
    assert (record.phase, record.state) == (Phase.ENDED, end)
    assert work.files() == []
    assert work.all(course).phase is Phase.FETCHED, "asked for once more, it begins anew"


def test_retrying_is_waited_for(work: Work, course: str) -> None:
    work.service.faults({"match": EXPORTS, "export": {"states": ["Pending", "In Progress", "Retrying", "In Progress"], "seconds": None}})
    record = work.start(course)
    seen = set()
    while record.phase is Phase.RUNNING:
        record = work.look(record)
        seen.add(record.state)
    assert seen >= {"Retrying", "Succeeded"}
    assert work.begun(course) == 1


def test_an_export_that_hangs_is_given_up_and_begun_anew(work: Work, course: str) -> None:
    work.service.faults({"match": EXPORTS, "export": {"seconds": 0, "end": None}})
    record = work.start(course)
    assert work.look(record).phase is Phase.RUNNING
    late = replace(work.exporter, now=lambda: datetime.now(UTC) + timedelta(minutes=61))
    with pytest.raises(TransientError, match="the export is 'In Progress' after 1:00:00"):
        work.service.ask(lambda client: late.look(Studio(client), record), work.service.studio)
    assert work.all(course).phase is Phase.FETCHED
    assert work.begun(course) == 2


def test_a_hanging_export_that_nobody_looked_at_is_not_joined(work: Work, course: str) -> None:
    work.service.faults({"match": EXPORTS, "export": {"seconds": 0, "end": None}})
    first = work.start(course)
    work.exporter.records.write(replace(first, begun_at=first.begun_at - timedelta(minutes=61)))
    assert work.start(course).task_id != first.task_id


def test_an_export_that_ended_while_nobody_looked_is_not_begun_again(work: Work, course: str) -> None:
    """The worker that finishes it may have waited for its turn longer than an export may take."""
    first = work.start(course)
    work.wait(first)
    work.exporter.records.write(replace(first, begun_at=first.begun_at - timedelta(minutes=61)))  # as nobody had seen it
    found = work.start(course)
    assert (found.task_id, found.phase) == (first.task_id, Phase.SUCCEEDED)
    assert work.begun(course) == 1


def test_an_overdue_export_that_cannot_be_asked_for_is_kept(work: Work, course: str) -> None:
    first = work.start(course)
    overdue = work.exporter.records.write(replace(first, begun_at=first.begun_at - timedelta(minutes=61)))
    work.service.faults({"match": {"method": "GET", "path": "*/export/*"}, "count": None, "status": 503})
    with pytest.raises(TransientError, match="given up"):
        work.start(course)
    assert work.exporter.records.read(course) == overdue


def test_a_task_that_studio_has_forgotten(work: Work, course: str) -> None:
    record = work.start(course)
    work.exporter.records.write(replace(record, task_id="3f609080-3b68-460e-a660-473d7e6b096e"))
    with pytest.raises(TransientError, match="Studio does not know task 3f609080"):
        work.wait(work.start(course))
    assert work.all(course).phase is Phase.FETCHED


def test_a_course_that_is_gone(work: Work, course: str) -> None:
    with pytest.raises(NotFoundError, match="HTTP 404"):
        work.start("course-v1:No+such+run")
    assert work.exporter.records.read("course-v1:No+such+run") is None


def test_looking_is_patient(work: Work, course: str) -> None:
    record = work.start(course)
    rule = {"match": {"method": "GET", "path": "*/studio/*"}}
    work.service.faults({**rule, "status": 500}, {**rule, "half_body": True}, {**rule, "status": 401}, {**rule, "status": 429, "retry_after": 0})
    assert work.wait(record).phase is Phase.SUCCEEDED


def test_exports_that_cannot_be_queued_are_not_asked_for_for_ever(work: Work, course: str) -> None:
    """features.md A6-8: unbounded repetition of impossible work."""
    work.service.faults({"match": EXPORTS, "count": None, "export": {"refuse": "the queue is away"}})
    for _ in range(STARTS):
        with pytest.raises(TransientError, match="could not queue the export: the queue is away"):
            work.start(course)
    with pytest.raises(PermanentError, match=f"run run has asked for an export {STARTS} times; the last one: .*the queue is away"):
        work.start(course)
    assert len(work.service.requests("/export/")) == STARTS
    work.service.clear()
    assert work.all(course, "another run").phase is Phase.FETCHED


def test_a_refusal_is_permanent(work: Work, course: str) -> None:
    work.service.faults({"match": EXPORTS, "export": {"reject": "bucket is not configured"}})
    with pytest.raises(PermanentError, match="bucket is not configured"):
        work.start(course)
