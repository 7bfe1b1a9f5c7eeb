"""Which course runs a deployment has: those of the source databases, so that a course means the same everywhere."""

from __future__ import annotations

from datetime import datetime
from typing import LiteralString

import psycopg

from include.local.data import catalog
from include.local.data.names import MITXPRO, OPENEDX
from include.local.data.olx.plan import CourseRun

RESIDENTIAL = "MITx"
RESIDENTIAL_COURSES = 6  # without a database of its own here; every course in two terms

_SOURCES: dict[str, tuple[str, LiteralString]] = {
    "mitxonline": (
        OPENEDX,
        """SELECT id, display_name, start, "end", enrollment_start, enrollment_end, self_paced FROM course_overviews_courseoverview ORDER BY id""",
    ),
    "xpro": (
        MITXPRO,
        """SELECT courseware_id, title, start_date, end_date, enrollment_start, enrollment_end, NULL::boolean FROM courses_courserun
           WHERE courseware_id IS NOT NULL ORDER BY courseware_id""",
    ),
}
DEPLOYMENTS = ("mitx", *_SOURCES)


def course_runs(deployment: str, dsn: str = "") -> list[CourseRun]:
    """The course runs of a deployment, by id. ``dsn`` is the address of the server with the generated databases; ``mitx`` needs none.

    Raises ``ValueError`` for another deployment.
    """
    if deployment == "mitx":
        return sorted((_residential(index, term) for index in range(RESIDENTIAL_COURSES) for term in (4, 5)), key=lambda run: run.course_id)
    if deployment not in _SOURCES:
        raise ValueError(f"deployment: found {deployment!r}; allowed: {', '.join(DEPLOYMENTS)}")
    database, query = _SOURCES[deployment]
    with psycopg.connect(dsn, dbname=database) as connection:
        rows = connection.execute(query).fetchall()
    return [CourseRun(row[0], row[1] or "", _text(row[2]), _text(row[3]), _text(row[4]), _text(row[5]), row[6]) for row in rows]


def _residential(index: int, number: int) -> CourseRun:
    course = catalog.course(index)
    tag, start, end = catalog.term(number)
    first, last = f"{start.astype('datetime64[s]')}Z", f"{end.astype('datetime64[s]')}Z"
    return CourseRun(f"{course.readable_id(RESIDENTIAL)}+{tag}", course.title, first, last)


def _text(moment: datetime | None) -> str | None:
    return f"{moment.replace(tzinfo=None).isoformat(timespec='seconds')}Z" if moment else None
