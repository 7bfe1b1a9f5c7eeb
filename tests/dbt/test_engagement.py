"""The models of Open edX on a real Trino: generated logs, courses and forums through the real jobs, reports against totals that the generators counted."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from include.config.environments import read_environment
from include.local import openedx_found
from include.local.data.acts import Act, Stretch, watched
from include.local.data.engagement import KINDS, ROWS, VIDEO, report_rows, totals_of
from include.local.data.olx.expected import structure_document
from include.local.openedx_sources import CourseFacts, CourseRecord, Sources, facts_of
from include.local.openedx_summary import Check, report_checks
from include.local.platform import Platform
from include.local.services.openedx.content import Content
from include.local.summary import Lake
from tests.dbt.engagement import DAY, DEPLOYMENTS, JOBS, PREFIX, TAG, Engagement, profiles_for

pytestmark = [pytest.mark.lake, pytest.mark.timeout(900)]
FACTS = ("tfact_problem_events", "tfact_video_events", "tfact_course_navigation_events", "tfact_discussion_events")
LATE, NEXT = DAY - timedelta(days=40), DAY + timedelta(days=1)
EXACT = ("mitx", "mitxonline")
UNTOUCHED = tuple(f"stg__{deployment}__openedx__{part}*" for deployment in ("mitxonline", "xpro") for part in ("api", "course_xml"))


@pytest.fixture(scope="module")
def lane(lake: Platform, mongodb: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engagement]:
    """The first delivery of everything but the residential forum, which no job has loaded, and a build with all tests."""
    settings = read_environment({})
    settings = settings.model_copy(update={"lake": settings.lake.model_copy(update={"schema_prefix": PREFIX})})
    folder = tmp_path_factory.mktemp("engagement")
    found = Engagement(lake, mongodb.mongodb_url, settings, profiles_for(tmp_path_factory.mktemp("profiles")), folder)
    with pytest.MonkeyPatch.context() as patch:
        for job in JOBS:
            patch.setattr(job, "current_environment", lambda: settings)
        for deployment in DEPLOYMENTS:
            found.logs(deployment, DAY)
            found.load_logs(deployment, DAY, "first")
            for course in sorted({one.course_id for one in found.roster(deployment).enrolments})[:1]:
                found.course(deployment, course)
        for deployment in ("mitxonline", "xpro"):
            found.forum(deployment, 0)
        found.dbt("build", "--select", TAG)
        yield found
        found.drop()


def assert_facts_hold_every_event(lane: Engagement) -> None:
    """Of every deployment and every learner, however odd a line's shape was, and each event once."""
    kinds = {
        "tfact_problem_events": ("problem_event_type", ("problem_check", "problem_graded").__contains__),
        "tfact_video_events": ("video_event_type", lambda kind: kind.endswith("_video")),
        "tfact_course_navigation_events": ("navigation_event_type", lambda kind: kind.startswith(("seq_", "page_", "/courses/", "edx.bi.app"))),
        "tfact_discussion_events": ("discussion_event_type", lambda kind: kind.startswith("edx.forum.")),
    }
    for fact, (column, is_kind) in kinds.items():
        rows = lane.query(f"SELECT platform, courserun_readable_id, {column}, user_username, count(*) FROM {{dimensional}}.{fact} GROUP BY 1, 2, 3, 4")
        for deployment in DEPLOYMENTS:
            expected = lane.events_of(deployment, is_kind)
            assert expected
            assert {row[1:4]: row[4] for row in rows if row[0] == deployment} == expected, f"{fact} of {deployment}"


def acts_of(lane: Engagement, deployment: str) -> list[Act]:
    """Of everything delivered so far, each day once: told by the generator, however odd the lines became."""
    return [act for logs in lane.delivered[deployment].values() for act in logs.totals.acts]


def assert_reports_equal_the_generators_acts(lane: Engagement) -> None:
    """Every row and every column that sums up what learners did. What the jobs landed tells the same: where it does not, the fault lies before the models."""
    found = {name: lane.query(f"SELECT platform, {', '.join(row.__dataclass_fields__)} FROM {{reporting}}.{name}") for name, row in ROWS.items()}
    for deployment in DEPLOYMENTS:
        expected = report_rows(acts_of(lane, deployment))
        totals = totals_of(expected)
        assert lane.reports(deployment) == totals, f"{deployment}: the normalised lines"
        assert 0 < totals.watched_ms < totals.played_ms, "somebody watched something twice"
        assert min(totals.plays, totals.completions, totals.attempts, totals.correct, totals.views, totals.closes) > 0
        for name, row in ROWS.items():
            rows = {columns[1:3]: row(*columns[1:]) for columns in found[name] if columns[0] == deployment}
            assert rows == expected[name], f"{name} of {deployment}"


def assert_learners_watched_what_the_generator_let_them_watch(lane: Engagement) -> None:
    """By learner and video, every kind of act, and where no line is odd the stretches that the generator knew before there was an event."""
    rows = lane.query("""SELECT platform, courserun_readable_id, user_username, video_block_id, video_load_count, video_play_count, video_pause_count,
        video_stop_count, video_seek_count, video_played_seconds * 1000, video_watched_seconds * 1000 FROM {dimensional}.afact_video_engagement""")
    for deployment in DEPLOYMENTS:
        found = {row[1:4]: row[4:] for row in rows if row[0] == deployment}
        counts: dict[tuple[str, str, str], Counter[str]] = defaultdict(Counter)
        for act in acts_of(lane, deployment):
            if KINDS[act.kind] == VIDEO:
                counts[act.course_id, act.username, act.block][act.kind] += 1
        kinds = ("load", "play", "pause", "stop", "seek")
        assert {key: row[:5] for key, row in found.items()} == {key: tuple(count[kind] for kind in kinds) for key, count in counts.items()}
        if deployment in EXACT:
            played: dict[tuple[str, str, str], list[Stretch]] = defaultdict(list)
            for logs in lane.delivered[deployment].values():
                for key, stretches in logs.totals.stretches.items():
                    played[key] += stretches
            watched_of = {key: (sum(end - begin for begin, end in stretches), watched(stretches)) for key, stretches in played.items()}
            assert {key: row[5:] for key, row in found.items() if row[5]} == watched_of


def assert_forums_are_as_they_are(lane: Engagement) -> None:
    rows = lane.query("""SELECT platform, courserun_readable_id, sum(discussiontopic_thread_count), sum(discussiontopic_response_count),
        sum(discussiontopic_comment_count) FROM {dimensional}.dim_discussion_topic GROUP BY 1, 2""")
    for deployment in ("mitxonline", "xpro"):
        found = {row[1]: row[2:] for row in rows if row[0] == deployment and any(row[2:])}
        assert found == {one.course_id: (one.threads, one.responses, one.comments) for one in lane.forum_totals(deployment)}
    assert not any(any(row[2:]) for row in rows if row[0] == "mitx"), "nobody loaded that forum"


def content_of(lane: Engagement) -> dict[str, list[tuple[Any, ...]]]:
    return {name: sorted(lane.query(f"SELECT * FROM {{dimensional}}.{name}"), key=repr) for name in (*FACTS, "dim_course_content")}


def test_sources_are_the_tables_that_jobs_make(lane: Engagement) -> None:
    """With their types; a forum's table has more columns, and the residential one is not there at all."""
    manifest = json.loads((lane.folder / "target" / "manifest.json").read_bytes())
    made: dict[str, dict[str, str]] = defaultdict(dict)
    for table, column, kind in lane.query("SELECT table_name, column_name, data_type FROM information_schema.columns WHERE table_schema = '{raw}'"):
        made[table][column] = kind
    sources = {source["identifier"]: source for source in manifest["sources"].values()}
    found = {name: source for name, source in sources.items() if "__openedx__" in name and "__mysql__" not in name}
    assert len(found) == 18
    for name, source in found.items():
        declared = {column: told["data_type"] for column, told in source["columns"].items()}
        if "__forum__" in name:
            assert declared.items() <= made[name].items() or name.startswith("raw__mitx__")
        else:
            assert declared.items() <= made[name].items()
            assert declared == made[name] or "__course_xml__" in name


def test_a_first_build_equals_what_the_generator_tells(lane: Engagement) -> None:
    assert_facts_hold_every_event(lane)
    assert_reports_equal_the_generators_acts(lane)
    assert_learners_watched_what_the_generator_let_them_watch(lane)
    assert_forums_are_as_they_are(lane)


def test_content_has_a_place_and_settings(lane: Engagement) -> None:
    for (deployment, course), made in lane.courses.items():
        where = f"platform = '{deployment}' AND courserun_readable_id = '{course}'"
        rows = lane.query(f"""SELECT coursestructure_block_id, chapter_title, sequential_title, courserun_title
            FROM {{dimensional}}.dim_course_content WHERE {where} AND is_latest AND coursestructure_block_index > 1""")
        expected = {}
        for chapter in made.plan.chapters:
            for block in chapter.walk():
                expected[block.name] = (chapter.title, None if block is chapter else next(s.title for s in chapter.children if block in list(s.walk())))
        found = {row[0].rpartition("@")[2]: row[1:3] for row in rows}
        assert found.items() <= expected.items()
        assert len(found) > 20
        assert {row[3] for row in rows} == {f"{deployment} {course}"}
        problems = {block.name: block for block in made.plan.blocks if block.kind == "problem"}
        rows = lane.query(f"SELECT problem_block_id, problem_max_attempts, problem_weight FROM {{dimensional}}.dim_problem WHERE {where}")
        settings = {
            name: (int(block.attributes["max_attempts"]) if "max_attempts" in block.attributes else None,
                   float(block.attributes["weight"]) if "weight" in block.attributes else None)
            for name, block in problems.items()
        }  # fmt: skip
        assert {row[0].rpartition("@")[2]: row[1:] for row in rows} == settings


def test_the_demos_summary_finds_all_of_it_and_one_number_that_is_wrong(lane: Engagement) -> None:
    """Its own queries, on tables that the jobs have made and models that were built."""
    lake = Lake(lane.lake, lane.settings)
    loaded: dict[str, dict[str, CourseFacts]] = {deployment: {} for deployment in DEPLOYMENTS}
    for (deployment, course), made in lane.courses.items():
        content = Content(lambda _, made=made: made.archive, lambda _, made=made: structure_document(made.plan))
        loaded[deployment][course] = facts_of(SimpleNamespace(published_version=made.plan.published_version), content)
    acts = {name: {day: [*logs.totals.acts] for day, logs in days.items()} for name, days in lane.delivered.items()}
    sources = Sources(acts, {name: CourseRecord(loaded=facts) for name, facts in loaded.items()})
    for deployment in DEPLOYMENTS:
        rows, days = openedx_found.reports(lake, lane.settings, deployment), openedx_found.days(lake, lane.settings, deployment)
        for check in report_checks(deployment, rows, days, DAY, sources):
            assert check.differences == [], check.name
        courses = openedx_found.courses(lake, lane.settings, deployment)
        assert Check("", courses, loaded[deployment]).differences == []
        (course, facts), *_ = loaded[deployment].items()
        wrong = replace(facts, blocks=facts.blocks | {"video": facts.videos + 1})
        assert Check("", courses, {course: wrong}).differences == [f"{course}: blocks: video: found {facts.videos}, expected {facts.videos + 1}"]
        acts[deployment][DAY].pop()
        assert any(check.differences for check in report_checks(deployment, rows, days, DAY, sources)), "one act less"


def test_late_doubled_and_repeated_deliveries_change_only_what_they_bring(lane: Engagement) -> None:
    """A new day, a day of last month that arrives now, a day that stands in two files, one that is loaded again, and another edition of a course."""
    lane.logs("mitxonline", NEXT)
    lane.load_logs("mitxonline", NEXT, "next")
    lane.logs("mitx", LATE, events=300)
    lane.load_logs("mitx", LATE, "late")
    lane.copy_logs("xpro", DAY)
    lane.load_logs("xpro", DAY, "doubled")
    lane.load_logs("mitxonline", DAY, "again")
    (course, *_) = sorted(key for deployment, key in lane.courses if deployment == "mitx")
    lane.course("mitx", course, version=1)
    lane.forum("mitxonline", 1)
    lane.dbt("run", "--select", TAG, "--exclude", *UNTOUCHED)
    assert_facts_hold_every_event(lane)
    assert_reports_equal_the_generators_acts(lane)
    assert_learners_watched_what_the_generator_let_them_watch(lane)
    assert_forums_are_as_they_are(lane)
    versions = lane.query(f"""SELECT is_latest, count(DISTINCT coursestructure_content_hash), count(*) FROM {{dimensional}}.dim_course_content
        WHERE platform = 'mitx' AND courserun_readable_id = '{course}' GROUP BY 1 ORDER BY 1""")
    assert [(latest, hashes) for latest, hashes, _ in versions] == [(False, 1), (True, 1)]
    assert versions[1][2] == versions[0][2] + 1, "an edition has one problem more"

    before = content_of(lane)
    lane.dbt("run", "--select", "stg__mitx__openedx__tracking_logs", "tfact_video_events", "dim_course_content")
    assert content_of(lane) == before, "a second build"
