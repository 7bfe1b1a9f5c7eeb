"""The sweep as a job, against the service: what it reports, what it keeps, and what a second one finds."""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog

from include.config.files import ROOT
from include.contract import JobResult, PermanentError, TransientError
from include.jobs.openedx.api import lms as lms_module
from include.jobs.openedx.sweep import job, observe
from include.jobs.openedx.sweep.state import States
from tests.openedx_service import OUTLINES, Service, running

RUNS = 150
TABLE = "raw__mitxonline__openedx__sweep__observations"


@dataclass
class Sweeper:
    """Sweeps one after the other, each going on where the last one stopped, as Airflow does it."""

    service: Service
    catalog: Catalog
    folder: Path
    pointer: str = ""
    number: int = 0
    reported: list[str] = field(default_factory=list)

    def arguments(self, run_key: str, **changes: Any) -> argparse.Namespace:
        parser = argparse.ArgumentParser()
        job.add_arguments(parser)
        flags = {"deployment": "mitxonline", "lms": self.service.lms, "state": str(self.folder / "state"), "known": self.pointer, "run-key": run_key, **changes}
        return parser.parse_args([f"--{name}={value}" for name, value in flags.items()])

    def run(self, run_key: str = "", **changes: Any) -> JobResult:
        self.number += 1
        return job.run(self.arguments(run_key or f"{self.folder.name}-{self.number}", **changes))

    def sweep(self, **changes: Any) -> dict[str, Any]:
        """A sweep whose changes are dealt with: the next one goes on from here."""
        facts = self.run(**changes).facts
        self.pointer = facts["state"]
        self.reported += facts["changed"]
        return facts

    def rows(self) -> list[dict[str, Any]]:
        rows = self.catalog.load_table(("ol_warehouse_local_raw", TABLE)).scan().to_arrow().to_pylist()
        return sorted((row for row in rows if row["run_key"].startswith(f"{self.folder.name}-")), key=lambda row: row["retrieved_at"])


@pytest.fixture
def sweeper(service: Service, openedx_lake: Catalog, tmp_path: Path) -> Iterator[Sweeper]:
    service.clear()
    yield Sweeper(service, openedx_lake, tmp_path)
    service.clear()
    service.change(restore=list(service.store._runs))


def test_exactly_what_was_published_again_is_reported(sweeper: Sweeper) -> None:
    service = sweeper.service
    first = sweeper.sweep()
    assert sorted(first["changed"]) == sorted(service.ids)
    assert (first["counts"]["new"], first["counts"]["observed"], first["cut"], first["refused"]) == (150, 150, "", 0)
    assert sweeper.sweep()["changed"] == []
    published = service.ids[7:12]
    service.change(publish=published)
    service.faults({"match": {"path": OUTLINES}, "count": None, "share": 0.05, "status": 503})
    third = sweeper.sweep()
    assert sorted(third["changed"]) == sorted(published)
    assert third["counts"]["failed"] == 0
    assert sweeper.sweep()["changed"] == []


def test_the_requests_are_those_that_were_stated(sweeper: Sweeper) -> None:
    """150 outlines, two pages, one name: no course is asked for twice (features.md A6-8: O(N²))."""
    facts = sweeper.sweep()
    assert facts["requests"] == {"made": 153, "allowed": 10_000}
    assert len(sweeper.service.requests("course_outline")) == 150


def test_observations_become_rows(sweeper: Sweeper) -> None:
    service = sweeper.service
    sweeper.sweep()
    service.change(publish=service.ids[:3])
    before = {row["course_id"]: row for row in sweeper.rows()}
    assert before.keys() == set(service.ids)
    result = sweeper.run()
    rows = [row for row in sweeper.rows() if row["run_key"].endswith("-2")]
    assert Counter(row["status"] for row in rows) == {"changed": 3, "unchanged": 147}
    for row in rows:
        assert row["published_version"] == service.version(row["course_id"])
        assert row["previous_version"] == before[row["course_id"]]["published_version"]
        assert row["published_at"] == service.store.run(row["course_id"]).published_at  # type: ignore[union-attr]
        assert row["retrieved_at"] > before[row["course_id"]]["retrieved_at"]
    (name, table), *others = result.tables.items()
    assert (name, others) == (f"ol_data_lake_local.ol_warehouse_local_raw.{TABLE}", [])
    assert (table.extra["added"], table.run_key) == (150, f"{sweeper.folder.name}-2")
    assert table.rows is not None
    assert table.rows >= 300


def test_a_repetition_under_the_same_run_key_asks_nothing_and_adds_nothing(sweeper: Sweeper) -> None:
    key = f"{sweeper.folder.name}-same"
    first = sweeper.run(key)
    asked = len(sweeper.service.requests())
    sweeper.service.change(publish=sweeper.service.ids[:5])
    again = sweeper.run(key)
    assert again.facts == first.facts
    assert len(sweeper.service.requests()) == asked
    assert len(sweeper.rows()) == 150


def test_a_repetition_appends_what_the_first_attempt_observed(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed between the state and the table: the rows are those of the state, though Open edX says something else by now."""
    key = f"{sweeper.folder.name}-cut"
    with monkeypatch.context() as patch:
        patch.setattr(job.table, "append", lambda *_: (_ for _ in ()).throw(OSError("killed here")))
        with pytest.raises(OSError, match="killed here"):
            sweeper.run(key)
    old = {name: sweeper.service.version(name) for name in sweeper.service.ids}
    sweeper.service.change(publish=sweeper.service.ids)
    sweeper.run(key)
    assert {row["course_id"]: row["published_version"] for row in sweeper.rows()} == old


def test_a_course_that_disappears_is_recorded_and_never_deleted(sweeper: Sweeper) -> None:
    service = sweeper.service
    course, hidden, outlineless = service.ids[5], service.ids[6], service.ids[7]
    sweeper.sweep()
    service.change(remove=[course], unlist=[hidden], without_outline=[outlineless])
    facts = sweeper.sweep()
    assert (facts["counts"]["gone"], facts["counts"]["without_outline"], facts["counts"]["listed"], facts["changed"]) == (1, 1, 148, [])
    last = {row["course_id"]: row["status"] for row in sweeper.rows() if row["run_key"].endswith("-2")}
    assert (last[course], last[hidden]) == ("gone", "unchanged")
    assert outlineless not in last, "a 404 of the outline is not an observation"
    known = States(str(sweeper.folder / "state"), "mitxonline").finished(f"{sweeper.folder.name}-2")
    assert known is not None
    assert len(known.courses) == 150
    service.clear()
    sweeper.sweep()
    assert [one for one in service.requests(course) if "outline" in one["path"]] == [], "nobody asks for it any more"
    service.change(restore=[course])
    service.change(publish=[course])
    assert sweeper.sweep()["changed"] == [course]
    assert [row["status"] for row in sweeper.rows() if row["course_id"] == course][-1:] == ["returned"]


def test_a_course_list_that_is_suddenly_empty_is_a_failure(sweeper: Sweeper) -> None:
    sweeper.sweep()
    sweeper.service.change(unlist=sweeper.service.ids)
    with pytest.raises(TransientError, match="the course list is empty, 150 course runs are known"):
        sweeper.run()


def test_no_courses_at_all_is_an_answer(openedx_lake: Catalog, tmp_path: Path) -> None:
    with running(0) as empty:
        facts = Sweeper(empty, openedx_lake, tmp_path).sweep()
        assert (facts["changed"], facts["counts"]["listed"]) == ([], 0)


def test_all_failed_is_a_failure_and_leaves_everything_as_it_was(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    sweeper.sweep()
    pointer = sweeper.pointer
    sweeper.service.faults({"match": {"path": OUTLINES}, "count": None, "status": 403})
    with pytest.raises(PermanentError, match=r"none of 150 course runs could be observed \(0 without outline, 150 failed\); the first: .*HTTP 403"):
        sweeper.run()
    sweeper.service.clear()
    sweeper.service.faults({"match": {"path": "*/courses/v1/courses/"}, "count": None, "status": 403})
    with pytest.raises(PermanentError, match="HTTP 403"):
        sweeper.run()
    sweeper.service.clear()
    sweeper.service.change(publish=sweeper.service.ids[:1])
    assert sweeper.pointer == pointer
    assert sweeper.sweep()["changed"] == sweeper.service.ids[:1]


def test_some_failures_are_told_and_tried_first_of_all_next_time_round(sweeper: Sweeper) -> None:
    service = sweeper.service
    broken = service.ids[10]
    sweeper.sweep()
    service.change(publish=[broken])
    service.faults({"match": {"path": f"*/course_outline/{broken}"}, "count": None, "status": 403})
    facts = sweeper.sweep()
    assert (facts["counts"]["failed"], facts["changed"]) == (1, [])
    assert f"course_outline/{broken}: HTTP 403" in facts["failures"][0]
    service.clear()
    assert sweeper.sweep()["changed"] == [broken]


def test_nothing_is_lost_when_the_number_of_requests_cuts_sweeps(sweeper: Sweeper) -> None:
    """Sweeps cut at random points: the union of what they report is what was published, each once."""
    draw = random.Random(7)
    sweeper.sweep()
    sweeper.reported.clear()
    published = draw.sample(sweeper.service.ids, 20)
    sweeper.service.change(publish=published)
    covered: set[str] = set()
    cut = 0
    while len(covered) < 150:
        sweeper.service.clear()
        facts = sweeper.sweep(**{"max-requests": draw.randint(5, 60)})
        asked = {one["path"].rpartition("/")[2] for one in sweeper.service.requests("course_outline")}
        assert facts["counts"]["attempted"] == len(asked)
        assert not asked & covered or len(asked | covered) == 150, "nothing comes round again before everything had its turn"
        assert facts["counts"]["left"] == 150 - len(asked)
        cut += facts["cut"] == "requests"
        covered |= asked
    assert cut >= 3
    assert sorted(sweeper.reported) == sorted(published)


def test_nothing_is_lost_when_the_deadline_cuts_sweeps(service: Service, openedx_lake: Catalog, tmp_path: Path) -> None:
    draw = random.Random(11)
    with running(120, latency=0.02) as slow:
        sweeper = Sweeper(slow, openedx_lake, tmp_path)
        rounds = cut = 0
        shortest = 0.12
        while rounds < 200 and len(sweeper.reported) < 120:
            rounds += 1
            try:
                cut += sweeper.sweep(**{"budget-seconds": shortest + draw.random() * 0.15, "concurrency": 4})["cut"] == "deadline"
            except TransientError:  # no time for a single run: nothing changes, and the next sweep begins at the same place
                shortest *= 1.1  # a machine so slow would never have any
        assert cut >= 3
        assert sorted(sweeper.reported) == sorted(slow.ids)


def test_hanging_answers_do_not_hold_up_the_end_nor_the_next_sweep(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    service = sweeper.service
    monkeypatch.setattr(observe, "GRACE_SECONDS", 0.2)
    sweeper.sweep()
    hanging = sorted(service.ids)[:3]  # of its four requests at a time: the fourth observes the rest
    service.faults(*({"match": {"path": f"*/course_outline/{course}"}, "count": None, "delay": 90} for course in hanging))
    begin = time.monotonic()
    facts = sweeper.sweep(**{"budget-seconds": 5, "concurrency": 4, "known": sweeper.pointer})
    assert time.monotonic() - begin < 60
    assert facts["cut"] == "deadline"
    assert 1 <= facts["counts"]["failed"] <= 3
    assert "no answer before the deadline" in " ".join(facts["failures"])
    service.clear()
    facts = sweeper.sweep(**{"max-requests": 30})
    asked = {one["path"].rpartition("/")[2] for one in service.requests("course_outline")}
    assert facts["counts"]["attempted"] == len(asked) > 20


def test_what_cannot_be_reported_now_is_reported_later(sweeper: Sweeper) -> None:
    sizes = []
    while not sizes or sizes[-1]:
        sizes.append(len(sweeper.sweep(**{"max-changed": 40})["changed"]))
    assert sizes == [40, 40, 40, 30, 0]
    assert sorted(sweeper.reported) == sorted(sweeper.service.ids)


def test_ids_that_cannot_be_used_are_told_with_the_reason(sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch) -> None:
    page = lms_module.Lms._page

    async def with_old_keys(self: lms_module.Lms, params: dict[str, str]) -> Any:
        found = await page(self, params)
        found.results.append(lms_module._Course("MITx/6.00x/2013"))
        found.pagination.count += 1
        return found

    monkeypatch.setattr(lms_module.Lms, "_page", with_old_keys)
    facts = sweeper.sweep()
    assert (facts["refused"], facts["counts"]["observed"]) == (1, 150)
    kept = States(str(sweeper.folder / "state"), "mitxonline").finished(f"{sweeper.folder.name}-1")
    assert kept is not None
    assert list(kept.refused) == ["MITx/6.00x/2013"]
    assert "allowed: course-v1:" in kept.refused["MITx/6.00x/2013"]


# --- where it goes on ----------------------------------------------------------------------------


def test_without_a_pointer_the_newest_state_is_found(sweeper: Sweeper) -> None:
    sweeper.run()
    assert sweeper.run(known="").facts["changed"] == []


def test_versions_as_json_are_a_place_to_go_on_from(sweeper: Sweeper) -> None:
    versions = {name: sweeper.service.version(name) for name in sweeper.service.ids[1:]} | {sweeper.service.ids[1]: "an older one"}
    assert sorted(sweeper.run(known=json.dumps(versions)).facts["changed"]) == sorted(sweeper.service.ids[:2])


def test_a_wrong_place_to_go_on_from_is_refused(sweeper: Sweeper, tmp_path: Path) -> None:
    """A lost state must not look like a first sweep: every run would be exported again."""
    sweeper.run()
    state = Path(sweeper.run().facts["state"])
    (tmp_path / "text").write_text("hello")
    (tmp_path / "half").write_bytes(state.read_bytes()[:500])
    document = json.loads(gzip.decompress(state.read_bytes()))
    (tmp_path / "other").write_bytes(gzip.compress(json.dumps({**document, "deployment": "xpro"}).encode()))
    (tmp_path / "wrong").write_bytes(gzip.compress(json.dumps({**document, "courses": {"course-v1:a+b+c": {"attempted_at": "soon"}}}).encode()))
    for known, message in {
        str(tmp_path / "nowhere"): "found nothing; allowed: a state object",
        str(tmp_path / "text"): "no gzip",
        str(tmp_path / "half"): "no gzip",
        str(tmp_path / "other"): "found the state of 'xpro'",
        str(tmp_path / "wrong"): r"courses.course-v1:a\+b\+c.attempted_at: found 'soon'",
        '{"course-v1:a+b+c": 7}': r"--known: course-v1:a\+b\+c: found '7'",
        "{": "--known",
    }.items():
        with pytest.raises(PermanentError, match=message):
            sweeper.run(known=known)


# --- as a program --------------------------------------------------------------------------------


def test_as_a_program_killed_and_started_again(sweeper: Sweeper, tmp_path: Path) -> None:
    """kill -9 in the middle of a sweep, then the same command again: every observation once."""
    with running(200, latency=0.03) as slow:
        known = Sweeper(slow, sweeper.catalog, tmp_path)
        command = [
            *(sys.executable, "-m", "include.jobs", "openedx-sweep", "--result", str(tmp_path / "result.json")),
            *("--deployment", "mitxonline", "--lms", slow.lms, "--state", str(tmp_path / "state"), "--run-key", f"{tmp_path.name}-killed"),
        ]
        with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, cwd=ROOT, env=os.environ, stdout=log, stderr=log) as child:
            deadline = time.monotonic() + 60
            while len(slow.requests("course_outline")) < 60:
                assert time.monotonic() < deadline
                assert child.poll() is None, (tmp_path / "log").read_text()
                time.sleep(0.01)
            child.kill()
        assert not (tmp_path / "result.json").exists()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        result = JobResult.from_json((tmp_path / "result.json").read_text())
        assert sorted(result.facts["changed"]) == sorted(slow.ids)
        assert Counter(row["course_id"] for row in known.rows()) == Counter(slow.ids)


@pytest.fixture(scope="module")
def crowd() -> Iterator[Service]:
    with running(3500) as found:
        yield found


def test_of_3500_courses_exactly_the_105_that_changed(crowd: Service, openedx_lake: Catalog, tmp_path: Path) -> None:
    """features.md 000-13: one sweep over 3,500 course keys and no run for an unchanged course."""
    sweeper = Sweeper(crowd, openedx_lake, tmp_path)
    crowd.faults({"match": {"path": OUTLINES}, "count": None, "share": 0.01, "status": 500})
    assert len(sweeper.sweep(**{"max-changed": 5000})["changed"]) == 3500
    before = {name: crowd.version(name) for name in crowd.ids}
    crowd.change(day=1)
    facts = sweeper.sweep()
    assert len(facts["changed"]) == 105
    assert sorted(facts["changed"]) == sorted(name for name in before if crowd.version(name) != before[name])
    assert facts["counts"] == {
        **{"listed": 3500, "attempted": 3500, "observed": 3500, "changed": 105},
        **dict.fromkeys(("new", "returned", "gone", "without_outline", "failed", "left", "waiting"), 0),
    }
    state = Path(facts["state"])
    assert state.stat().st_size < 500_000
    assert len(json.dumps(facts)) < 20_000, "what becomes an XCom stays small, however many runs there are"
    shutil.rmtree(tmp_path)
