"""Course runs as the three Open edX deployments publish them, from the same seeds as the source databases.

``mitxonline`` and ``xpro`` are read from their generated databases, so a run has one id, one title and one history in every source. ``mitx`` (the
residential courses) has no database here: its runs are those of the archives' generator, published again by the seed. A deployment of any stated size is
invented in the same way.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import numpy as np
import psycopg

from include.local.data import catalog
from include.local.data.names import MITXONLINE, MITXPRO, OPENEDX
from include.local.data.olx import plan
from include.local.data.olx.runs import course_runs
from include.local.data.steps import EPOCH

DEPLOYMENTS = ("mitx", "mitxonline", "xpro")
ORGANIZATIONS = {"mitx": "MITx", "mitxonline": "MITxT", "xpro": "xPRO"}
CHANGED = 0.03
_FIRST_DAY: datetime = EPOCH.astype(datetime).replace(tzinfo=UTC)
_DAY_SECONDS = 86_400


@dataclass(frozen=True)
class CourseRun:
    """One course run of a deployment. Times are UTC.

    ``published_at`` is when its content was last published, ``revision`` how often it was published again.
    """

    id: str
    title: str
    start: datetime | None
    end: datetime | None
    enrollment_start: datetime | None
    enrollment_end: datetime | None
    self_paced: bool
    published_at: datetime
    revision: int = 0

    @property
    def parts(self) -> tuple[str, str, str]:
        """Organisation, course number and run tag."""
        organization, number, tag = self.id.removeprefix("course-v1:").split("+")
        return organization, number, tag

    @property
    def olx(self) -> plan.CourseRun:
        """The run as the generator of archives takes it."""
        return plan.CourseRun(
            self.id, self.title, _text(self.start), _text(self.end), _text(self.enrollment_start), _text(self.enrollment_end), self.self_paced
        )

    @property
    def published_version(self) -> str:
        """24 hexadecimal digits, as the id of a published version is in Open edX's content store; another one for every publication."""
        return plan.Plan(self.olx, (), 0, self.revision).published_version

    def published(self, moment: datetime) -> CourseRun:
        """The run once it was published again."""
        return replace(self, published_at=moment, revision=self.revision + 1)


def invented_runs(deployment: str, count: int, *, seed: int = 7, day: int = 0, changed: float = CHANGED) -> tuple[CourseRun, ...]:
    """``count`` runs of a deployment as they are on a day; every day after the first publishes ``round(count * changed)`` of them again."""
    return _on_day([_invented(deployment, index, seed) for index in range(count)], deployment, seed, day, round(count * changed))


def _on_day(runs: list[CourseRun], deployment: str, seed: int, day: int, each_day: int) -> tuple[CourseRun, ...]:
    for number in range(1, day + 1):
        rng = np.random.default_rng([seed, number, zlib.crc32(f"{deployment}/published".encode())])
        chosen = rng.choice(len(runs), size=each_day, replace=False)
        for index, second in zip(chosen.tolist(), rng.integers(0, _DAY_SECONDS, len(chosen)).tolist(), strict=True):
            runs[index] = runs[index].published(_FIRST_DAY + timedelta(days=number, seconds=second))
    return tuple(runs)


def _invented(deployment: str, index: int, seed: int) -> CourseRun:
    course = catalog.course(index // len(catalog.TERMS))
    tag, first, last = catalog.term(index % len(catalog.TERMS))
    start, end = _moment(first), _moment(last)
    return CourseRun(
        id=f"{course.readable_id(ORGANIZATIONS[deployment])}+{tag}",
        title=course.title,
        start=start,
        end=end,
        enrollment_start=start - timedelta(days=60),
        enrollment_end=end - timedelta(days=14),
        self_paced=index % 7 == 0,
        published_at=_before(deployment, index, seed),
    )


def _residential(seed: int, day: int) -> tuple[CourseRun, ...]:
    runs = [
        CourseRun(run.course_id, run.title, _parsed(run.start), _parsed(run.end), None, None, False, _before("mitx", index, seed))
        for index, run in enumerate(course_runs("mitx"))
    ]
    return _on_day(runs, "mitx", seed, day, 1)


def _before(deployment: str, index: int, seed: int) -> datetime:
    """When a run was published before the first day."""
    return _FIRST_DAY - timedelta(seconds=zlib.crc32(f"{seed}/{deployment}/{index}".encode()) % (300 * _DAY_SECONDS))


def _moment(stamp: np.datetime64) -> datetime:
    found: datetime = stamp.astype("datetime64[us]").astype(datetime)
    return found.replace(tzinfo=UTC)


_QUERIES: dict[str, tuple[str, LiteralString]] = {
    "mitxonline": (
        OPENEDX,
        """SELECT id, display_name, start, "end", enrollment_start, enrollment_end, self_paced, modified
           FROM course_overviews_courseoverview ORDER BY created, id""",
    ),
    # runs that partners give are not in xPRO's own Open edX
    "xpro": (
        MITXPRO,
        """SELECT courseware_id, title, start_date, end_date, enrollment_start, enrollment_end, false, updated_on
           FROM courses_courserun WHERE courseware_id IS NOT NULL AND external_course_run_id IS NULL ORDER BY id""",
    ),
}


def runs_from_databases(dsn: str, deployment: str) -> tuple[CourseRun, ...]:
    """A deployment's runs as the generated databases have them now; ``dsn`` is the server's address. Raises ``psycopg.Error`` when they are not there."""
    if deployment not in _QUERIES:
        seed, day = _rows(dsn, MITXONLINE, "SELECT seed, day FROM generator_state")[0]
        return _residential(seed, day)
    database, query = _QUERIES[deployment]
    return tuple(
        CourseRun(id_, title, _utc(start), _utc(end), _utc(opens), _utc(closes), self_paced, _known(published), _days(_known(published)))
        for id_, title, start, end, opens, closes, self_paced, published in _rows(dsn, database, query)
    )


def _rows(dsn: str, database: str, query: LiteralString) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, dbname=database, options="-c timezone=UTC") as connection:
        return connection.execute(query).fetchall()


def _known(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _utc(moment: datetime | None) -> datetime | None:
    return None if moment is None else _known(moment)


def _days(published: datetime) -> int:
    """The generator changes a run at most once a day, so the day counts its publications well enough."""
    return max(0, (published - _FIRST_DAY).days)


def _parsed(text: str | None) -> datetime | None:
    return None if text is None else _utc(datetime.fromisoformat(text))


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment.replace(tzinfo=None).isoformat(timespec='seconds')}Z"
