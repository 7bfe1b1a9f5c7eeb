"""MITx Online's application database, one day after the other."""

from __future__ import annotations

import numpy as np

from include.local.data import mitxonline_changes as changes
from include.local.data import mitxonline_learners as learners
from include.local.data.enrolling import add_certificates, add_grades
from include.local.data.frames import Arrays, Connection, Frame, insert, next_ids, read, take
from include.local.data.mitxonline_catalog import write_catalog
from include.local.data.steps import DAY, Step, between, pick, uuids


def write_day(connection: Connection, step: Step) -> None:
    """The rows of the first day, or the changes of a later one, in the caller's transaction."""
    if step.day == 0:
        write_catalog(connection, step)
    else:
        changes.change_catalog(connection, step)
        changes.change_learners(connection, step)
        changes.change_enrollments(connection, step)
        changes.change_orders(connection, step)
        changes.change_certificates(connection, step)
        changes.remove_members(connection, step)
    learners.add_learners(connection, step)
    learners.add_members(connection, step)
    learners.add_enrollments(connection, step)
    learners.add_other_orders(connection, step)
    _add_results(connection, step)
    _add_program_certificates(connection, step)


_UNGRADED = """SELECT e.user_id, e.run_id, e.enrollment_mode = 'verified' AS verified, e.created_on, r.end_date FROM courses_courserunenrollment e
               JOIN courses_courserun r ON r.id = e.run_id
               WHERE e.active AND r.start_date < %(begun)s AND NOT EXISTS
               (SELECT FROM courses_courserungrade g WHERE g.user_id = e.user_id AND g.course_run_id = e.run_id) ORDER BY e.id"""


def _add_results(connection: Connection, step: Step) -> None:
    """Grades and certificates: on day 0 of all runs that have ended, later of some learners in runs that have begun."""
    rng = step.rng("results")
    found = read(connection, _UNGRADED, {"begun": str(step.end)})
    if step.day == 0:
        found = take(found, found["end_date"] < step.end)
        chosen = pick(rng, found, round(len(found["user_id"]) * 0.7))
        available = np.maximum(chosen["end_date"], chosen["created_on"])
    else:
        chosen = pick(rng, found, step.size(25_000, least=6))
        available = np.full(len(chosen["user_id"]), step.start)
    graded = add_grades(connection, step, rng, chosen, available)
    certified = chosen["verified"] & graded["passed"] & (rng.random(len(graded["passed"])) < 0.95)
    add_certificates(connection, step, rng, take(graded, certified), issue_date=True)


def _add_program_certificates(connection: Connection, step: Step) -> None:
    rng = step.rng("program certificates")
    waiting = read(
        connection,
        """SELECT e.user_id, e.program_id, e.created_on FROM courses_programenrollment e WHERE e.active AND e.enrollment_mode = 'verified'
           AND NOT EXISTS (SELECT FROM courses_programcertificate c WHERE c.user_id = e.user_id AND c.program_id = e.program_id) ORDER BY e.id""",
    )
    chosen: Arrays = pick(rng, waiting, step.size(300, least=1))
    count = len(chosen["user_id"])
    moments = between(rng, np.maximum(np.minimum(chosen["created_on"] + 90 * DAY, step.end - DAY), step.start), np.full(count, step.end))
    frame: Frame = {
        "id": next_ids(connection, "courses_programcertificate", count),
        "uuid": uuids(rng, count),
        "user_id": chosen["user_id"],
        "program_id": chosen["program_id"],
        "is_revoked": rng.random(count) < 0.01,
        "issue_date": moments,
        "created_on": moments,
        "updated_on": moments,
    }
    insert(connection, "courses_programcertificate", frame)
