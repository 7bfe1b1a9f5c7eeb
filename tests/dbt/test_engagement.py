"""The models of Open edX on a real Trino: generated logs, courses and forums through the real jobs, reports against totals that the generators counted."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from include.config.environments import read_environment
from include.local.data.engagement import EngagementTotals
from include.local.platform import Platform
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


def assert_reports_equal_the_generators_totals(lane: Engagement) -> None:
    """Block by block as the generator thought them up, where no odd line hides what an event was about; answers are told by the server and never hidden."""
    watched = lane.query("""SELECT platform, courserun_readable_id, user_username, video_block_id, video_played_seconds * 1000
        FROM {dimensional}.afact_video_engagement WHERE video_played_seconds > 0""")
    problems = lane.query("""SELECT platform, courserun_readable_id, problem_block_id, attempt_count, attempting_learner_count, correct_attempt_count
        FROM {reporting}.problem_engagement_report WHERE attempt_count > 0""")
    for deployment in DEPLOYMENTS:
        totals = lane.totals(deployment)
        attempts, correct, learners = Counter[tuple[str, str]](), Counter[tuple[str, str]](), Counter[tuple[str, str]]()
        for (course, _, block), count in totals.attempts.items():
            attempts[course, block] += count
            learners[course, block] += 1
        for (course, _, block), count in totals.correct.items():
            correct[course, block] += count
        found = {row[1:3]: row[3:] for row in problems if row[0] == deployment}
        assert {block: row[:2] for block, row in found.items()} == {block: (attempts[block], learners[block]) for block in attempts}
        if deployment in EXACT:
            assert {block: row[2] for block, row in found.items()} == {block: correct[block] for block in attempts}
            assert {row[1:4]: row[4] for row in watched if row[0] == deployment} == {key: count for key, count in totals.watched.items() if count}


def assert_report_totals_equal_a_count_of_the_events(lane: Engagement) -> None:
    """Of every deployment, its odd lines included."""
    videos = {row[0]: row[1:] for row in lane.query("""SELECT platform, sum(play_count), sum(completion_count), sum(played_seconds) * 1000,
        sum(watched_seconds) * 1000 FROM {reporting}.video_engagement_report GROUP BY 1""")}  # fmt: skip
    problems = {row[0]: row[1:] for row in lane.query("""SELECT platform, sum(attempt_count), sum(correct_attempt_count)
        FROM {reporting}.problem_engagement_report GROUP BY 1""")}  # fmt: skip
    pages = {row[0]: row[1:] for row in lane.query("SELECT platform, sum(view_count), sum(close_count) FROM {reporting}.page_engagement_report GROUP BY 1")}
    for deployment in DEPLOYMENTS:
        expected = lane.reports(deployment)
        assert EngagementTotals(*videos[deployment], *problems[deployment], *pages[deployment]) == expected, deployment
        assert 0 < expected.watched_ms < expected.played_ms, "somebody watched something twice"
        if deployment in EXACT:
            totals = lane.totals(deployment)
            assert (expected.played_ms, expected.attempts) == (totals.watched.total(), totals.attempts.total())


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


def test_a_first_build_equals_the_generators_totals(lane: Engagement) -> None:
    assert_facts_hold_every_event(lane)
    assert_reports_equal_the_generators_totals(lane)
    assert_report_totals_equal_a_count_of_the_events(lane)
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
    assert_reports_equal_the_generators_totals(lane)
    assert_report_totals_equal_a_count_of_the_events(lane)
    assert_forums_are_as_they_are(lane)
    versions = lane.query(f"""SELECT is_latest, count(DISTINCT coursestructure_content_hash), count(*) FROM {{dimensional}}.dim_course_content
        WHERE platform = 'mitx' AND courserun_readable_id = '{course}' GROUP BY 1 ORDER BY 1""")
    assert [(latest, hashes) for latest, hashes, _ in versions] == [(False, 1), (True, 1)]
    assert versions[1][2] == versions[0][2] + 1, "an edition has one problem more"

    before = content_of(lane)
    lane.dbt("run", "--select", "stg__mitx__openedx__tracking_logs", "tfact_video_events", "dim_course_content")
    assert content_of(lane) == before, "a second build"
