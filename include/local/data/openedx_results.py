"""MITx Online's Open edX: grades and certificates, and how rows of the application are found there."""

from __future__ import annotations

from typing import Any

import numpy as np

from include.local.data import catalog
from include.local.data.frames import Arrays, Connection, Frame, insert, next_ids, read, take, update
from include.local.data.steps import Step, maybe, uuids


def window(step: Step) -> dict[str, str]:
    """Query parameters ``start`` and ``end``: the step's first moment and the first one after it."""
    return {"start": str(step.start), "end": str(step.end)}


def user_ids(connection: Connection, usernames: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Ids of the Open edX accounts with these names; -1 where there is none."""
    found = read(connection, "SELECT id, username FROM auth_user ORDER BY id")
    ids = dict(zip(found["username"].tolist(), found["id"].tolist(), strict=True))
    return np.array([ids.get(name, -1) for name in usernames.tolist()], dtype=np.int64)


def match(known: Arrays, users: np.ndarray[Any, Any], courses: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], ...]:
    """For pairs of user id and course id: the id of the ``known`` row (id, user_id, course_id) or -1; whether there is one; whether one must be made.

    Pairs whose user id is -1 are neither old nor new: the learner has no account here.
    """
    ids = dict(zip(zip(known["user_id"].tolist(), known["course_id"].tolist(), strict=True), known["id"].tolist(), strict=True))
    found = np.array([ids.get(pair, -1) for pair in zip(users.tolist(), courses.tolist(), strict=True)], dtype=np.int64)
    return found, found >= 0, (found < 0) & (users >= 0)


def add_grades(connection: Connection, step: Step, application: Connection) -> None:
    """The application's grades of the day, and for new ones the grades of two subsections each."""
    rng = step.rng("grades")
    rows = read(
        application,
        """SELECT x.edx_username AS username, r.courseware_id AS course_id, g.grade, g.passed, g.created_on, g.updated_on FROM courses_courserungrade g
           JOIN courses_courserun r ON r.id = g.course_run_id JOIN openedx_openedxuser x ON x.user_id = g.user_id
           WHERE x.edx_username IS NOT NULL AND g.updated_on >= %(start)s AND g.updated_on < %(end)s ORDER BY g.id""",
        window(step),
    )
    users = user_ids(connection, rows["username"])
    count = len(users)
    frame: Arrays = {
        "user_id": users,
        "course_id": rows["course_id"],
        "course_edited_timestamp": maybe(rng, rows["created_on"], 0.05),
        "course_version": np.full(count, "5f0c1e", dtype=object),
        "grading_policy_hash": np.full(count, "Jb2kTTxNUrtYQxkM0VmUZg==", dtype=object),
        "percent_grade": rows["grade"],
        "letter_grade": np.where(rows["passed"].astype(bool), "Pass", ""),
        "passed_timestamp": np.where(rows["passed"].astype(bool), rows["updated_on"], np.datetime64("NaT")),
        "created": rows["created_on"],
        "modified": rows["updated_on"],
    }
    found, old, new = match(read(connection, "SELECT id, user_id, course_id FROM grades_persistentcoursegrade ORDER BY id"), users, rows["course_id"])
    changes = {"id": found, **{name: frame[name] for name in ("percent_grade", "letter_grade", "passed_timestamp", "modified")}}
    update(connection, "grades_persistentcoursegrade", take(changes, old))
    fresh = take(frame, new)
    insert(connection, "grades_persistentcoursegrade", {"id": next_ids(connection, "grades_persistentcoursegrade", int(new.sum())), **fresh})
    _subsections(connection, rng, fresh)


def _subsections(connection: Connection, rng: np.random.Generator, grades: Arrays) -> None:
    count = len(grades["user_id"])
    rows = take(grades, np.repeat(np.arange(count), 2))
    runs = rows["course_id"].tolist()
    earned = np.round(rows["percent_grade"].astype(float) * 20)
    frame: Frame = {
        "id": next_ids(connection, "grades_persistentsubsectiongrade", 2 * count),
        "user_id": rows["user_id"],
        "course_id": rows["course_id"],
        "usage_key": [catalog.blocks(run, "sequential", [number % 2])[0] for number, run in enumerate(runs)],
        "subtree_edited_timestamp": rows["course_edited_timestamp"],
        "course_version": rows["course_version"],
        "earned_all": earned,
        "possible_all": np.full(2 * count, 20.0),
        "earned_graded": np.where(rng.random(2 * count) < 0.9, earned, 0.0),
        "possible_graded": np.full(2 * count, 20.0),
        "first_attempted": maybe(rng, rows["created"], 0.1),
        "created": rows["created"],
        "modified": rows["modified"],
    }
    insert(connection, "grades_persistentsubsectiongrade", frame)


def add_certificates(connection: Connection, step: Step, application: Connection) -> None:
    """One certificate per learner and run, whatever the application revoked and issued again; downloadable unless all its rows are revoked."""
    rng = step.rng("certificates")
    rows = read(
        application,
        """SELECT x.edx_username AS username, r.courseware_id AS course_id, u.name, bool_and(c.is_revoked) AS revoked,
           min(c.created_on) AS created, max(c.updated_on) AS modified, max(g.grade)::text AS grade
           FROM courses_courseruncertificate c JOIN courses_courserun r ON r.id = c.course_run_id JOIN users_user u ON u.id = c.user_id
           JOIN openedx_openedxuser x ON x.user_id = u.id
           LEFT JOIN courses_courserungrade g ON g.user_id = u.id AND g.course_run_id = r.id
           WHERE x.edx_username IS NOT NULL GROUP BY u.id, r.id, x.id
           HAVING max(c.updated_on) >= %(start)s AND max(c.updated_on) < %(end)s ORDER BY u.id, r.id""",
        window(step),
    )
    users = user_ids(connection, rows["username"])
    status = np.where(rows["revoked"].astype(bool), "unavailable", "downloadable")
    found, old, new = match(read(connection, "SELECT id, user_id, course_id FROM certificates_generatedcertificate ORDER BY id"), users, rows["course_id"])
    update(connection, "certificates_generatedcertificate", take({"id": found, "status": status, "modified_date": rows["modified"]}, old))
    count = int(new.sum())
    frame: Frame = {
        "id": next_ids(connection, "certificates_generatedcertificate", count),
        "user_id": users[new],
        "course_id": rows["course_id"][new],
        "verify_uuid": [text.replace("-", "") for text in uuids(rng, count)],
        "grade": ["" if grade is None else grade[:5] for grade in rows["grade"][new]],
        "status": status[new],
        "mode": np.full(count, "verified", dtype=object),
        "name": rows["name"][new],
        "error_reason": [""] * count,
        "created_date": rows["created"][new],
        "modified_date": rows["modified"][new],
    }
    insert(connection, "certificates_generatedcertificate", frame)
