"""Open edX's part of the dbt project on a real lake: inputs from the generators, through the jobs into raw tables, and what the models must say of them.

The deployments' runs have the same ids, as real ones have: a join without the platform would show. Raw tables and models lie in schemas of their own.
"""

from __future__ import annotations

import os
from argparse import ArgumentParser
from collections import Counter, defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import trino
from pymongo import MongoClient

from include.config.environments import EnvironmentSettings
from include.contract import JobResult
from include.jobs.openedx.courses import load as course_load
from include.jobs.openedx.courses.structure import block_rows, structure_row
from include.jobs.openedx.documents.tables import StructureTables
from include.jobs.openedx.forum import dump as forum_dump
from include.jobs.openedx.forum import load as forum_load
from include.jobs.openedx.tracking_logs import job as tracking_logs
from include.lake.catalog import open_catalog
from include.local.data.engagement import EngagementTotals, engagement_totals, landed_events
from include.local.data.forum import ForumTotals, Run, count_documents
from include.local.data.forum import write_day as write_forum
from include.local.data.olx.archive import Extras, OlxCourse, olx_course
from include.local.data.olx.expected import structure_document
from include.local.data.olx.plan import CourseRun
from include.local.data.openedx_logs import DayLogs, LogTotals, Roster, invented_roster, write_day
from include.local.data.steps import Step
from include.local.platform import Platform
from tests.dbt.project import PROJECT, run_dbt

PREFIX = "ol_warehouse_engagement_tests"
LAYERS = ("raw", "staging", "intermediate", "dimensional", "reporting")
DEPLOYMENTS = ("mitx", "mitxonline", "xpro")
AWKWARD = {"mitx": 0.0, "mitxonline": 0.0, "xpro": 0.03}  # of the last one only counts of events can be told beforehand: its odd shapes hide positions and ids
DAY = date(2026, 3, 2)
TAG = "tag:warehouse_engagement"
SEED, EVENTS, LEARNERS, BLOCKS = 5, 700, 24, 40
JOBS: tuple[ModuleType, ...] = (tracking_logs, course_load, forum_load)


def run_job(module: ModuleType, *flags: str) -> JobResult:
    """A job without the seconds that a process takes to start."""
    parser = ArgumentParser()
    module.add_arguments(parser)
    result: JobResult = module.run(parser.parse_args(flags))
    return result


@dataclass
class Engagement:
    """The lake, what was delivered to it, and the folders that jobs and dbt work with. The jobs of :data:`JOBS` must have ``settings``."""

    lake: Platform
    mongodb: str
    settings: EnvironmentSettings
    profiles: Path
    folder: Path
    delivered: dict[str, dict[date, DayLogs]] = field(default_factory=lambda: defaultdict(dict))
    courses: dict[tuple[str, str], OlxCourse] = field(default_factory=dict)

    def roster(self, deployment: str) -> Roster:
        return invented_roster(deployment, seed=SEED, learners=LEARNERS)

    # --- what arrives -----------------------------------------------------------------------------

    def logs(self, deployment: str, day: date, *, events: int = EVENTS) -> DayLogs:
        """A day's files are put where the servers put them, and what is in them is remembered."""
        written = write_day(self._source(deployment), self.roster(deployment), day, seed=SEED, events=events, awkward=AWKWARD[deployment])
        self.delivered[deployment][day] = written
        return written

    def load_logs(self, deployment: str, day: date, key: str) -> None:
        flags = ("--deployment", deployment, "--day", str(day), "--source", str(self._source(deployment)), "--landing", str(self.folder / "landing"))
        run_job(tracking_logs, *flags, "--run-key", key, "--settle", "0.05", "--patience", "5")

    def _source(self, deployment: str) -> Path:
        return self.folder / "logs" / deployment

    def copy_logs(self, deployment: str, day: date) -> None:
        """The same files once more, under other names: every event of the day stands in two files."""
        for path in self.delivered[deployment][day].files:
            (path.parent / "again").mkdir(exist_ok=True)
            (path.parent / "again" / path.name).write_bytes(path.read_bytes())

    def course(self, deployment: str, course_id: str, *, version: int = 0) -> None:
        """A course's structure and archive, as its export left them."""
        made = olx_course(CourseRun(course_id, f"{deployment} {course_id}"), seed=SEED, blocks=BLOCKS, version=version, extras=Extras(2_000))
        self.courses[deployment, course_id] = made
        moment = (datetime(2026, 3, 2, 6, tzinfo=UTC) + timedelta(days=version)).isoformat()
        document = structure_document(made.plan)
        tables = StructureTables(open_catalog(self.settings), self.settings, deployment)
        tables.write(structure_row(course_id, document, moment), block_rows(course_id, document, moment), f"structure-{version}")
        path = self.folder / "archives" / deployment / f"{len(self.courses)}-{version}.xml.tar.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(made.archive)
        flags = ("--deployment", deployment, "--course", course_id, "--archive", path.as_uri(), "--landing", (self.folder / "landing").as_uri())
        run_job(course_load, *flags, "--published-version", made.plan.published_version, "--retrieved-at", moment, "--run-key", f"load-{version}")

    def forum(self, deployment: str, day: int) -> None:
        """The forum lives a day more on a server, is dumped and loaded."""
        learners: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for one in self.roster(deployment).enrolments:
            learners[one.course_id].append((one.user_id, one.username))
        runs = [Run(course, datetime(2026, 1, 26, tzinfo=UTC), tuple(people)) for course, people in sorted(learners.items())]
        with MongoClient[dict[str, Any]](self.mongodb, tz_aware=True) as client:
            write_forum(client[f"{PREFIX}_{deployment}"], Step(SEED, 0.003, day, f"{deployment}__forum"), runs)
        landing = ("--landing", str(self.folder / "landing"))
        dumped = run_job(forum_dump, "--deployment", deployment, "--server", self.mongodb, "--database", f"{PREFIX}_{deployment}", *landing)
        run_job(forum_load, "--deployment", deployment, "--source", str(dumped.facts["dump"]), *landing, "--run-key", f"forum-{day}")

    # --- dbt and Trino ----------------------------------------------------------------------------

    def dbt(self, *arguments: str) -> str:
        done = run_dbt(self.folder / "target", *arguments, environment=dict(os.environ), profiles=self.profiles)
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
        return done.stdout

    def query(self, text: str) -> list[tuple[Any, ...]]:
        """Rows of a query; ``{raw}``, ``{dimensional}``… are the schemas."""
        where = self.lake.trino
        with trino.dbapi.connect(host=where.host, port=where.port, user=where.user, catalog=where.catalog, schema="information_schema") as connection:
            cursor = connection.cursor()
            cursor.execute(text.format(**{layer: f"{PREFIX}_{layer}" for layer in LAYERS}))
            return [tuple(row) for row in cursor.fetchall()]

    def drop(self) -> None:
        with ThreadPoolExecutor(len(LAYERS)) as pool:
            list(pool.map(lambda layer: self.query(f"DROP SCHEMA IF EXISTS {{{layer}}} CASCADE"), LAYERS))

    # --- what the generators say ------------------------------------------------------------------

    def totals(self, deployment: str) -> LogTotals:
        """Of everything delivered so far, each day once."""
        found = LogTotals()
        for logs in self.delivered[deployment].values():
            found.events.update(logs.totals.events)
            found.watched.update(logs.totals.watched)
            found.attempts.update(logs.totals.attempts)
            found.correct.update(logs.totals.correct)
        return found

    def events_of(self, deployment: str, is_kind: Callable[[str], bool]) -> Counter[tuple[str, str, str]]:
        """Events by course, type and learner."""
        found: Counter[tuple[str, str, str]] = Counter()
        for (course, kind, user, _), count in self.totals(deployment).events.items():
            if is_kind(kind):
                found[course, kind, user] += count
        return found

    def reports(self, deployment: str) -> EngagementTotals:
        """What the reports must say, counted from the events that the jobs landed."""
        return engagement_totals(landed_events(self.folder / "landing", deployment))

    def forum_totals(self, deployment: str) -> list[ForumTotals]:
        with MongoClient[dict[str, Any]](self.mongodb) as client:
            database = client[f"{PREFIX}_{deployment}"]
            return sorted(count_documents(database["contents"].find(), database["subscriptions"].find()))


def profiles_for(folder: Path) -> Path:
    """The project's profiles with schemas of these tests."""
    text = (PROJECT / "profiles.yml").read_text(encoding="utf-8")
    (folder / "profiles.yml").write_text(text.replace("schema: ol_warehouse_local", f"schema: {PREFIX}"), encoding="utf-8")
    return folder
