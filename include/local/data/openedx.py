"""MITx Online's Open edX database, derived from the application's: what the application did on a day shows here on the same day."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from include.local.data import catalog
from include.local.data import openedx_results as results
from include.local.data.frames import Arrays, Connection, Frame, delete, insert, next_ids, read, take, update
from include.local.data.openedx_results import match, user_ids, window
from include.local.data.steps import DAY, Step, between, choice, maybe, pick

BLOCKS = 12
_ROLES = ("instructor", "staff", "beta_testers")


def write_day(connection: Connection, step: Step, application: Connection) -> None:
    """The rows of the day in the caller's transaction. ``application`` must already be at this day; it is only read."""
    _accounts(connection, step, application)
    _overviews(connection, step, application)
    _roles(connection, step)
    enrollments = _enrollments(connection, step, application)
    _state(connection, step, enrollments)
    results.add_grades(connection, step, application)
    results.add_certificates(connection, step, application)


def _accounts(connection: Connection, step: Step, application: Connection) -> None:
    rng = step.rng("accounts")
    new = read(
        application,
        """SELECT x.edx_username AS username, u.email, u.name, u.is_staff, u.is_active, u.last_login, x.created_on, a.first_name, a.last_name, a.country
           FROM openedx_openedxuser x JOIN users_user u ON u.id = x.user_id LEFT JOIN users_legaladdress a ON a.user_id = u.id
           WHERE x.edx_username IS NOT NULL AND x.created_on >= %(start)s AND x.created_on < %(end)s ORDER BY x.id""",
        window(step),
    )
    count = len(new["username"])
    ids = next_ids(connection, "auth_user", count)
    users: Frame = {
        "id": ids,
        "username": new["username"],
        "email": new["email"],
        "first_name": ["" if name is None else name for name in new["first_name"]],
        "last_name": ["" if name is None else name for name in new["last_name"]],
        "is_staff": new["is_staff"],
        "is_active": new["is_active"],
        "is_superuser": np.zeros(count, dtype=bool),
        "last_login": new["last_login"],
        "date_joined": new["created_on"],
    }
    insert(connection, "auth_user", users)
    profiles: Frame = {
        "id": ids,
        "user_id": ids,
        "name": new["name"],
        "language": choice(rng, ("en", "", "es", "pt-br"), count),
        "country": new["country"],
        "city": choice(rng, ("Springfield", "São Paulo", None, ""), count),
        "year_of_birth": maybe(rng, rng.integers(1950, 2009, count), 0.3),
        "gender": choice(rng, ("m", "f", "o", None), count),
        "level_of_education": choice(rng, ("p", "m", "b", "a", "hs", "none", None), count),
    }
    insert(connection, "auth_userprofile", profiles)
    if step.day:
        _changed_accounts(connection, step, application)


def _changed_accounts(connection: Connection, step: Step, application: Connection) -> None:
    changed = read(
        application,
        """SELECT x.edx_username AS username, u.name, u.email, u.is_active FROM openedx_openedxuser x JOIN users_user u ON u.id = x.user_id
           WHERE x.edx_username IS NOT NULL AND u.updated_on >= %(start)s AND u.updated_on < %(end)s AND u.created_on < %(start)s ORDER BY u.id""",
        window(step),
    )
    ids = user_ids(connection, changed["username"])
    update(connection, "auth_userprofile", {"id": ids, "name": changed["name"]})
    gone = ~changed["is_active"].astype(bool)
    update(connection, "auth_user", {"id": ids[gone], "email": changed["email"][gone], "is_active": np.zeros(int(gone.sum()), dtype=bool)})


def _overviews(connection: Connection, step: Step, application: Connection) -> None:
    """Course runs as Open edX publishes them: new and changed ones of the day; withdrawn ones go."""
    runs = read(
        application,
        """SELECT courseware_id AS id, title, start_date, end_date, enrollment_start, enrollment_end, is_self_paced, b2b_contract_id IS NOT NULL AS closed,
           created_on, updated_on FROM courses_courserun WHERE updated_on >= %(start)s AND updated_on < %(end)s ORDER BY id""",
        window(step),
    )
    known = set(read(connection, "SELECT id FROM course_overviews_courseoverview ORDER BY id")["id"].tolist())
    fresh = np.array([id_ not in known for id_ in runs["id"].tolist()], dtype=bool)
    parts = [id_.removeprefix("course-v1:").split("+") for id_ in runs["id"].tolist()]
    frame: Arrays = {
        "id": runs["id"],
        "org": np.array([part[0] for part in parts], dtype=object),
        "display_name": runs["title"],
        "display_number_with_default": np.array([part[1] for part in parts], dtype=object),
        "display_org_with_default": np.array([part[0] for part in parts], dtype=object),
        "start": runs["start_date"],
        "end": runs["end_date"],
        "enrollment_start": runs["enrollment_start"],
        "enrollment_end": runs["enrollment_end"],
        "self_paced": runs["is_self_paced"],
        "invitation_only": runs["closed"],
        "lowest_passing_grade": np.full(len(fresh), "0.60", dtype=object),
        "created": runs["created_on"],
        "modified": runs["updated_on"],
    }
    insert(connection, "course_overviews_courseoverview", take(frame, fresh))
    update(connection, "course_overviews_courseoverview", take({name: frame[name] for name in ("id", "display_name", "start", "end", "modified")}, ~fresh))
    present = set(read(application, "SELECT courseware_id FROM courses_courserun ORDER BY id")["courseware_id"].tolist())
    delete(connection, "course_overviews_courseoverview", sorted(known - present))


def _roles(connection: Connection, step: Step) -> None:
    """Two people teach every run; on later days one role is withdrawn and one given."""
    rng = step.rng("roles")
    users = read(connection, "SELECT id FROM auth_user WHERE is_active ORDER BY id LIMIT 500")["id"]
    runs = read(connection, "SELECT id, org FROM course_overviews_courseoverview ORDER BY id")
    known = read(connection, "SELECT id, user_id, course_id FROM student_courseaccessrole ORDER BY id")
    ids = next_ids(connection, "student_courseaccessrole", 1 if step.day else 2 * len(runs["id"]))
    if step.day:
        delete(connection, "student_courseaccessrole", pick(rng, known, 1)["id"])
        runs = pick(rng, runs, 1)
        users = users[~np.isin(users, known["user_id"][known["course_id"] == runs["id"][0]])]
    rows = [(run, org, user) for run, org in zip(runs["id"], runs["org"], strict=True) for user in rng.choice(users, 1 if step.day else 2, replace=False)]
    frame: Frame = {
        "id": ids,
        "user_id": [row[2] for row in rows],
        "org": [row[1] for row in rows],
        "course_id": [row[0] for row in rows],
        "role": choice(rng, _ROLES, len(rows), (4, 5, 1)),
    }
    insert(connection, "student_courseaccessrole", frame)


def _enrollments(connection: Connection, step: Step, application: Connection) -> Arrays:
    """Enrolments that the application sent here or changed on the day; returns the new ones: user_id, course_id, created and start of the run."""
    rows = read(
        application,
        """SELECT x.edx_username AS username, r.courseware_id AS course_id, e.enrollment_mode AS mode, e.active AND e.edx_enrolled AS is_active,
           e.created_on AS created, r.start_date FROM courses_courserunenrollment e JOIN courses_courserun r ON r.id = e.run_id
           JOIN openedx_openedxuser x ON x.user_id = e.user_id
           WHERE x.edx_username IS NOT NULL AND e.updated_on >= %(start)s AND e.updated_on < %(end)s ORDER BY e.id""",
        window(step),
    )
    users = user_ids(connection, rows["username"])
    found, old, new = match(read(connection, "SELECT id, user_id, course_id FROM student_courseenrollment ORDER BY id"), users, rows["course_id"])
    changes = {"id": found, "mode": rows["mode"], "is_active": rows["is_active"]}
    update(connection, "student_courseenrollment", take(changes, old))
    fresh = take({"user_id": users, **{name: rows[name] for name in ("course_id", "mode", "is_active", "created")}}, new)
    insert(connection, "student_courseenrollment", {"id": next_ids(connection, "student_courseenrollment", int(new.sum())), **fresh})
    return {**fresh, "start_date": rows["start_date"][new]}


def _state(connection: Connection, step: Step, enrollments: Arrays) -> None:
    """What learners did in runs that have begun: up to three blocks for two thirds of the new enrolments; later, new attempts at old blocks."""
    rng = step.rng("state")
    begun = take(enrollments, (enrollments["start_date"] < step.end) & (rng.random(len(enrollments["user_id"])) < 0.66))
    times = rng.integers(1, 4, len(begun["user_id"]))
    rows = take(begun, np.repeat(np.arange(len(times)), times))
    count = int(times.sum())
    place = (np.repeat(rng.integers(0, BLOCKS, len(times)), times) + np.arange(count)) % BLOCKS  # neighbours, so one learner's blocks differ
    problem = place % 3 != 0
    low = np.maximum(np.maximum(rows["created"], rows["start_date"]), step.start)
    created = between(rng, low, np.minimum(low + 90 * DAY, step.end))
    runs = rows["course_id"].tolist()
    names = {run: _block_names(run) for run in set(runs)}
    frame: Frame = {
        "id": next_ids(connection, "courseware_studentmodule", count),
        "module_type": np.where(problem, "problem", "video"),
        "module_id": [names[run][number] for run, number in zip(runs, place.tolist(), strict=True)],
        "student_id": rows["user_id"],
        "course_id": rows["course_id"],
        **_attempts(rng, problem),
        "created": created,
        "modified": between(rng, created, np.minimum(created + 14 * DAY, step.end)),
    }
    insert(connection, "courseware_studentmodule", frame)
    if step.day:
        _new_attempts(connection, step, rng)


def _block_names(course_id: str) -> list[str]:
    return [catalog.blocks(course_id, "video" if number % 3 == 0 else "problem", [number])[0] for number in range(BLOCKS)]


def _attempts(rng: np.random.Generator, problem: np.ndarray[Any, Any]) -> dict[str, Any]:
    """state, grade, max_grade and done of blocks: attempts at problems, positions in videos."""
    count = len(problem)
    tries, points, seconds = rng.integers(1, 5, count).tolist(), rng.integers(0, 5, count), rng.integers(0, 1800, count).tolist()
    states = [
        json.dumps({"attempts": t, "score": {"raw_earned": p, "raw_possible": 4}} if is_problem else {"saved_video_position": str(np.timedelta64(s, "s"))})
        for is_problem, t, p, s in zip(problem.tolist(), tries, points.tolist(), seconds, strict=True)
    ]
    grade = points.astype(object)
    grade[~problem] = None
    possible = np.full(count, 4, dtype=object)
    possible[~problem] = None
    return {"state": states, "grade": grade, "max_grade": possible, "done": np.where(problem & (points == 4), "f", "na")}


def _new_attempts(connection: Connection, step: Step, rng: np.random.Generator) -> None:
    old = read(
        connection,
        "SELECT id FROM courseware_studentmodule WHERE module_type = 'problem' AND modified < %(start)s ORDER BY id",
        window(step),
    )
    again = pick(rng, old, step.size(60_000, least=3))
    count = len(again["id"])
    update(connection, "courseware_studentmodule", {**again, **_attempts(rng, np.ones(count, dtype=bool)), "modified": step.moments(rng, count)})
