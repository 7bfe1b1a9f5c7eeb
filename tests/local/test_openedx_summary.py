"""The summary of the Open edX demo: everything equal, and after one number was changed anywhere a line with its place, what was found and what was expected."""

from __future__ import annotations

import io
import json
import re
import uuid
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import astuple, replace
from datetime import date, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from include.config.environments import read_environment
from include.local import openedx_summary
from include.local.airflow_api import Run
from include.local.data.engagement import PAGE, PROBLEM, VIDEO, Row, report_rows
from include.local.data.openedx_logs import invented_roster, write_day
from include.local.data.openedx_runs import invented_runs
from include.local.openedx import DEPLOYMENTS
from include.local.openedx_inputs import Inputs
from include.local.openedx_sources import CourseFacts, SourceRecords, Sources
from include.local.openedx_summary import TOLD, Check, print_openedx_summary
from include.local.services.openedx.content import generated
from include.local.services.openedx.store import Deployment
from tests.local.services.learn_harness import Delivery, Learn, running_learn

DAY = date(2026, 3, 2)
FORUM = {"contents": 30, "users": 4}


class LakeOfAnswers:
    """Holds what a lake holds after a round that went well, and gives it out for the summary's questions."""

    def __init__(self, sources: Sources, inputs: Inputs) -> None:
        self.reports = {name: report_rows(act for acts in days.values() for act in acts) for name, days in sources.acts.items()}
        self.courses = {name: deepcopy(record.loaded) for name, record in sources.courses.items()}
        self.events = {name: self._by_type(inputs, name) for name in DEPLOYMENTS}
        self.days = {name: sorted(days) for name, days in sources.acts.items()}
        self.forum = dict(FORUM)

    @staticmethod
    def _by_type(inputs: Inputs, name: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for (_, kind, _, _), count in inputs.logs[name].totals.events.items():
            found[kind] = found.get(kind, 0) + count
        return found

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        if "information_schema" in sql:
            return [(f"raw__{name}__openedx__tracking_logs",) for name in DEPLOYMENTS]
        if report := re.search(r"(\w+_report)\W+WHERE platform = '(\w+)'", sql):
            return [astuple(row) for row in self.reports[report[2]][report[1]].values()]
        deployment, table = re.search(r"raw__([a-z]+)__openedx__(\w+)", sql).groups()
        if table == "tracking_logs":
            return self._logs(sql, deployment)
        if table.startswith("mongodb__forum__"):
            return [(self.forum[table.rpartition("__")[2]],)]
        return [row for course, facts in self.courses[deployment].items() for row in self._course(table, course, facts)]

    def _logs(self, sql: str, deployment: str) -> list[tuple[Any, ...]]:
        if "DISTINCT log_day" in sql:
            return [(day,) for day in self.days[deployment]]
        events = self.events[deployment]
        return list(events.items()) if "GROUP BY" in sql else [(sum(events.values()),)]

    @staticmethod
    def _course(table: str, course: str, facts: CourseFacts) -> list[tuple[Any, ...]]:
        rows: dict[str, list[tuple[Any, ...]]] = {
            "course_xml__metadata": [(course, facts.published_version, facts.archive_sha256, facts.quarantined_members)],
            "course_xml__blocks": [(course, kind, count) for kind, count in facts.blocks.items()],
            "course_xml__video": [(course, facts.videos, facts.video_ms)],
            "course_xml__policies": [(course, facts.policies)],
            "course_xml__signatories": [(course, facts.signatories)] if facts.signatories else [],
            "course_xml__static_assets": [(course, facts.static_files, facts.static_bytes)],
            "api__course_blocks": [(course, facts.structure_blocks)],
        }
        return rows[table]


class Round:
    """A round's sources, its lake, and what MIT Learn heard; ``summary`` is what the demo prints of them."""

    def __init__(self, sources: Sources, inputs: Inputs, learn: Learn) -> None:
        self.sources, self.inputs, self.learn = sources, inputs, learn
        self.lake = LakeOfAnswers(sources, inputs)

    def tell(self, *leave_out: int) -> None:
        """Sends what had to be told, but for some events."""
        events = [(name, *one) for name in TOLD for one in self.sources.courses[name].told]
        for number, (name, course, sha256) in enumerate(events):
            if number not in leave_out:
                self.send(name, course, f"{name}/openedx/raw_data/course_xml/{course}/{sha256}.xml.tar.gz")

    def send(self, source: str, course: str, path: str) -> None:
        body = {"course_id": course, "course_readable_id": course, "content_path": path, "source": source}
        delivery = Delivery(body=json.dumps(body).encode(), idempotency_key=str(uuid.uuid4()))
        assert self.learn.send(delivery).status_code == 200

    def summary(self, patch: pytest.MonkeyPatch) -> tuple[bool, str]:
        patch.setattr(openedx_summary, "Lake", lambda platform, settings: self.lake)
        platform: Any = SimpleNamespace(learn_url=self.learn.url)
        out = io.StringIO()
        runs = [Run("openedx__mitx__sweep", "r", "success", "manual", 1.0)]
        return print_openedx_summary(platform, read_environment({}), self.inputs, self.sources, runs=runs, out=out), out.getvalue()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Sources, Inputs]:
    """Two days of logs, and two sweeps of two course runs each, one of which was published again in between."""
    folder = tmp_path_factory.mktemp("sources")
    records = SourceRecords(folder / "sources")
    deployments = {name: Deployment(name, lambda day, name=name: invented_runs(name, 3, day=day, changed=0.4), generated(7)) for name in DEPLOYMENTS}
    for number in range(2):
        day = DAY + timedelta(days=number)
        logs = {name: write_day(folder / name, invented_roster(name, seed=5, learners=40), day, seed=5, events=600) for name in DEPLOYMENTS}
        inputs = Inputs(day, dict.fromkeys(("mitxonline", "xpro"), FORUM), logs)
        records.deliver(inputs)
        for deployment in deployments.values():
            deployment.change(day=number)
        records.sweep(deployments, dict.fromkeys(DEPLOYMENTS, number + 1), dict.fromkeys(DEPLOYMENTS, 2))
    return records.read(), inputs


@pytest.fixture(scope="module")
def learn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Learn]:
    with running_learn(tmp_path_factory.mktemp("learn") / "learn.db") as found:
        yield found


@pytest.fixture
def after(made: tuple[Sources, Inputs], learn: Learn) -> Round:
    learn.fresh()
    return Round(*made, learn)


def test_a_good_round_is_equal_in_everything(after: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    after.tell()
    right, text = after.summary(monkeypatch)
    assert right, text
    assert "DIFFERENT" not in text
    for name in DEPLOYMENTS:
        for what in ("course runs loaded, and what is in them", VIDEO, PROBLEM, PAGE, "totals of the engagement reports", "days of tracking logs"):
            assert re.search(rf"{name}: {what} +equal", text), what
    assert re.search(r"course runs that MIT Learn knows of +equal", text)


def changed(after: Round, report: str, column: str) -> tuple[Row, Row]:
    """One row of a report, and the same with one more in a column."""
    rows = after.lake.reports["xpro"][report]
    key = sorted(rows)[1]
    rows[key] = replace(before := rows[key], **{column: getattr(before, column) + (timedelta(seconds=1) if column.endswith("_on") else 1)})
    return before, rows[key]


REPORTED = [
    *((VIDEO, column) for column in ("learner_count", "viewer_count", "play_count", "completion_count", "played_seconds", "watched_seconds")),
    *((PROBLEM, column) for column in ("learner_count", "solving_learner_count", "attempt_count", "correct_attempt_count", "hint_count")),
    *((PAGE, column) for column in ("viewer_count", "event_count", "view_count", "close_count", "first_activity_on", "last_activity_on")),
]


@pytest.mark.parametrize(("report", "column"), REPORTED)
def test_a_number_of_a_report_that_is_wrong_is_told(after: Round, monkeypatch: pytest.MonkeyPatch, report: str, column: str) -> None:
    after.tell()
    before, wrong = changed(after, report, column)
    right, text = after.summary(monkeypatch)
    assert not right
    place = ", ".join(map(str, astuple(before)[:2]))
    assert re.search(rf"xpro: {report} +DIFFERENT", text)
    assert f"{place}: {column}: found {getattr(wrong, column)}, expected {getattr(before, column)}\n" in text
    assert not re.search(rf"mitx: {report} +DIFFERENT", text)


def test_rows_of_a_report_that_are_missing_or_too_many_are_told(after: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    after.tell()
    rows = after.lake.reports["mitx"][PAGE]
    (course, block), row = rows.popitem()
    rows[course, "block-v1:nowhere"] = replace(row, page_block_id="block-v1:nowhere")
    right, text = after.summary(monkeypatch)
    assert not right
    assert f"{course}, {block}: found nothing, expected PageRow(" in text
    assert f"{course}, block-v1:nowhere: found PageRow(" in text


FACTS = ("published_version", "archive_sha256", "quarantined_members", "structure_blocks", "videos", "video_ms", "policies", "signatories", "static_files")


@pytest.mark.parametrize("field", [*FACTS, "static_bytes"])
def test_a_course_that_is_not_what_its_deployment_has_is_told(after: Round, monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    after.tell()
    loaded = after.lake.courses["mitxonline"]
    course = min(loaded)
    before = getattr(loaded[course], field)
    wrong = before[:-1] + "?" if isinstance(before, str) else before + 1
    loaded[course] = replace(loaded[course], **{field: wrong})
    right, text = after.summary(monkeypatch)
    assert not right
    assert re.search(r"mitxonline: course runs loaded, and what is in them +DIFFERENT", text)
    assert f"{course}: {field}: found {wrong}, expected {before}\n" in text


def test_blocks_of_a_type_that_are_missing_are_told(after: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    after.tell()
    loaded = after.lake.courses["xpro"]
    course = min(loaded)
    counts = loaded[course].blocks
    problems, verticals = counts["problem"], counts.pop("vertical")
    counts["problem"] -= 1
    right, text = after.summary(monkeypatch)
    assert not right
    assert f"{course}: blocks: problem: found {problems - 1}, expected {problems}\n" in text
    assert f"{course}: blocks: vertical: found nothing, expected {verticals}\n" in text


def test_no_course_at_all_is_not_equal(after: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    after.tell()
    expected = sorted(after.sources.courses["mitx"].loaded)
    after.lake.courses["mitx"].clear()
    right, text = after.summary(monkeypatch)
    assert not right
    assert len(expected) == 3
    assert all(f"{course}: found nothing, expected CourseFacts(" in text for course in expected)


def test_a_course_that_no_sweep_took_is_told(after: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    after.tell()
    loaded = after.lake.courses["mitx"]
    loaded["course-v1:MITx+0.0x+1T2026"] = loaded[min(loaded)]
    right, text = after.summary(monkeypatch)
    assert not right
    assert "course-v1:MITx+0.0x+1T2026: found CourseFacts(" in text


def test_an_older_edition_in_the_lake_is_told(after: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run that was published again and taken again; its first archive is one of those that MIT Learn heard of."""
    after.tell()
    record = after.sources.courses["mitx"]
    again = next(course for course, _ in record.told if sum(course == other for other, _ in record.told) == 2)
    loaded = after.lake.courses["mitx"]
    first = next(run for run in invented_runs("mitx", 3) if run.id == again).published_version
    expected = loaded[again].published_version
    loaded[again] = replace(loaded[again], published_version=first)
    right, text = after.summary(monkeypatch)
    assert not right
    assert f"{again}: published_version: found {first}, expected {expected}\n" in text


def test_what_mit_learn_did_not_hear_or_heard_twice_or_otherwise_is_told(after: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    after.tell(0)
    (course, sha256), (twice, twice_sha256), *_ = after.sources.courses["mitxonline"].told
    path, twice_path = (f"mitxonline/openedx/raw_data/course_xml/{name}/{sha}.xml.tar.gz" for name, sha in ((course, sha256), (twice, twice_sha256)))
    after.send("mitxonline", twice, twice_path)
    after.send("xpro", course, path)
    right, text = after.summary(monkeypatch)
    assert not right
    assert re.search(r"course runs that MIT Learn knows of +DIFFERENT", text)
    assert f"mitxonline, {course}, {course}, {path}: found nothing, expected 1\n" in text
    assert f"mitxonline, {twice}, {twice}, {twice_path}: found 2, expected 1\n" in text
    assert f"xpro, {course}, {course}, {path}: found 1, expected nothing\n" in text


def test_raw_events_documents_and_days_that_differ_are_told(after: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    after.tell()
    after.lake.events["mitx"]["play_video"] += 1
    after.lake.forum["users"] = 5
    after.lake.days["xpro"].insert(0, DAY - timedelta(days=9))
    right, text = after.summary(monkeypatch)
    assert not right
    plays = after.lake.events["mitx"]["play_video"]
    assert f"play_video: found {plays}, expected {plays - 1}\n" in text
    assert re.search(r"xpro: documents of the forum's users +DIFFERENT\n +found 5, expected 4\n", text)
    assert re.search(r"xpro: days of tracking logs +DIFFERENT\n +found \['2026-02-21', ", text)


def test_a_day_that_was_delivered_and_never_loaded_is_not_expected_but_today_is(after: Round, monkeypatch: pytest.MonkeyPatch) -> None:
    """A round that was killed before it loaded its logs: its acts are in no report."""
    after.tell()
    acts = after.sources.acts["mitx"]
    after.lake.days["mitx"], after.lake.reports["mitx"] = [after.inputs.day], report_rows(acts[after.inputs.day])
    assert after.summary(monkeypatch)[0]
    after.lake.days["mitx"], after.lake.reports["mitx"] = [DAY], report_rows(acts[DAY])
    right, text = after.summary(monkeypatch)
    assert not right
    assert re.search(rf"mitx: days of tracking logs +DIFFERENT\n +found \['{DAY}'\], expected \['{DAY}', '{after.inputs.day}'\]", text)


def test_many_differences_are_cut_short() -> None:
    out = io.StringIO()
    assert not Check("x", {str(number): 1 for number in range(9)}, {}).write(out)
    assert out.getvalue().count("expected nothing") == 5
    assert out.getvalue().endswith("and 4 more\n")
