"""MITx Online, day N: rows of earlier days that change or go. Only rows older than the day are touched, so every change is one an earlier sync has seen."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from include.local.data.enrolling import reissued
from include.local.data.frames import Arrays, Column, Connection, delete, insert, next_ids, read, take, update
from include.local.data.mitxonline_catalog import add_product_versions, insert_runs, run_row
from include.local.data.mitxonline_learners import add_transactions
from include.local.data.people import FIRST, LAST
from include.local.data.steps import DAY, Step, choice, pick

_DRAFTS = """SELECT r.id FROM courses_courserun r WHERE r.start_date IS NULL AND r.created_on < %(start)s
             AND NOT EXISTS (SELECT FROM courses_courserunenrollment e WHERE e.run_id = r.id)
             AND NOT EXISTS (SELECT FROM ecommerce_product p WHERE p.content_type_id = 1 AND p.object_id = r.id) ORDER BY r.id"""


def _changed(connection: Connection, step: Step, rng: np.random.Generator, table: str, rows: Arrays, **values: Any) -> None:
    """Set columns and ``updated_on`` (a moment of the day) in the rows with the ids of ``rows``."""
    count = len(rows["id"])
    wide = {name: value if isinstance(value, (list, np.ndarray)) else [value] * count for name, value in values.items()}
    update(connection, table, {"id": rows["id"], **wide, "updated_on": step.moments(rng, count)})


def change_catalog(connection: Connection, step: Step) -> None:
    """Runs move and are renamed, a draft goes and another comes, a course changes its title and a department, prices rise."""
    rng = step.rng("catalog changes")
    limits = {"start": str(step.start)}
    runs = read(connection, "SELECT id, title, start_date, end_date FROM courses_courserun WHERE end_date > %(start)s ORDER BY id", limits)
    moved = pick(rng, runs, step.size(600, least=2))
    _changed(connection, step, rng, "courses_courserun", moved, end_date=moved["end_date"] + rng.integers(1, 15, len(moved["id"])) * DAY)
    renamed = pick(rng, runs, step.size(400, least=1))
    titles = [f"{title.partition(' (')[0]} (revised on day {step.day})" for title in renamed["title"]]
    _changed(connection, step, rng, "courses_courserun", renamed, title=titles)
    drafts = read(connection, _DRAFTS, limits)["id"]
    delete(connection, "courses_courserun", drafts[:1])
    courses = read(connection, "SELECT id, title FROM courses_course ORDER BY id")
    course = pick(rng, courses, 1)
    _changed(connection, step, rng, "courses_course", course, title=[f"{title.partition(' – ')[0]} – edition {step.day}" for title in course["title"]])
    index = int(course["id"][0]) - 1
    row = run_row(int(next_ids(connection, "courses_courserun", 1)[0]), index, f"D{step.day}", (None, None))
    insert_runs(connection, [row], step.moments(rng, 1)[0])
    _move_department(connection, rng)
    products = read(connection, "SELECT id, price::bigint AS price FROM ecommerce_product WHERE is_active ORDER BY id")
    dearer = pick(rng, products, step.size(300, least=1))
    prices = dearer["price"] + 10
    _changed(connection, step, rng, "ecommerce_product", dearer, price=[f"{price}.00" for price in prices.tolist()])
    add_product_versions(connection, dearer["id"], prices)


def _move_department(connection: Connection, rng: np.random.Generator) -> None:
    """One course leaves a department for one it is not in: a deleted row and a new one."""
    links = read(connection, "SELECT id, course_id FROM courses_course_departments ORDER BY id")
    link = pick(rng, links, 1)
    course = int(link["course_id"][0])
    other = read(
        connection,
        """SELECT d.id FROM courses_department d WHERE NOT EXISTS
           (SELECT FROM courses_course_departments l WHERE l.course_id = %(course)s AND l.department_id = d.id) ORDER BY d.id""",
        {"course": course},
    )
    new = next_ids(connection, "courses_course_departments", 1)
    delete(connection, "courses_course_departments", link["id"])
    insert(connection, "courses_course_departments", {"id": new, "course_id": [course], "department_id": pick(rng, other, 1)["id"]})


def change_learners(connection: Connection, step: Step) -> None:
    """Learners change their names, profiles and jobs; a few ask to be forgotten."""
    rng = step.rng("learner changes")
    users = read(connection, "SELECT id FROM users_user WHERE is_active AND NOT is_staff ORDER BY id")
    renamed = pick(rng, users, step.size(10_000, least=2))
    first, last = rng.integers(0, len(FIRST), len(renamed["id"])).tolist(), rng.integers(0, len(LAST), len(renamed["id"])).tolist()
    names = [f"{FIRST[f][0]} {LAST[s][0]}" for f, s in zip(first, last, strict=True)]
    _changed(connection, step, rng, "users_user", renamed, name=names)
    profiles = read(connection, "SELECT id FROM users_userprofile ORDER BY id")
    moved = pick(rng, profiles, step.size(8_000, least=2))
    _changed(connection, step, rng, "users_userprofile", moved, job_title=choice(rng, ("Director", "Researcher", "Retired", ""), len(moved["id"])))
    gone = pick(rng, users, step.size(400))
    marks = [hashlib.blake2b(str(id_).encode(), digest_size=12).hexdigest() for id_ in gone["id"].tolist()]
    addresses = [f"retired_email_{mark}@retired.example.org" for mark in marks]
    _changed(connection, step, rng, "users_user", gone, email=addresses, name="", is_active=False, global_id=None)


def change_enrollments(connection: Connection, step: Step) -> None:
    """Some leave, and some of those who left before come back: the same row, active again."""
    rng = step.rng("enrollment changes")
    limits = {"start": str(step.start)}
    left = read(
        connection,
        """SELECT id FROM courses_courserunenrollment WHERE NOT active AND change_status = 'unenrolled' AND updated_on < %(start)s
           AND NOT EXISTS (SELECT FROM users_user u WHERE u.id = user_id AND NOT u.is_active) ORDER BY id""",
        limits,
    )
    back = pick(rng, left, step.size(12_000, least=2))
    _changed(connection, step, rng, "courses_courserunenrollment", back, active=True, change_status=None, edx_enrolled=True)
    active = read(
        connection,
        """SELECT id FROM courses_courserunenrollment WHERE active AND enrollment_mode = 'audit' AND updated_on < %(start)s ORDER BY id""",
        limits,
    )
    leaving = pick(rng, active, step.size(40_000, least=3))
    _changed(connection, step, rng, "courses_courserunenrollment", leaving, active=False, change_status="unenrolled", edx_enrolled=False)


_ORDERS = """SELECT o.id, o.state, (o.total_price_paid * 100)::bigint AS cents, e.id AS enrollment FROM ecommerce_order o
             JOIN ecommerce_line l ON l.order_id = o.id AND l.purchased_content_type_id = 1
             JOIN courses_courserunenrollment e ON e.user_id = o.purchaser_id AND e.run_id = l.purchased_object_id
             WHERE o.state = %(state)s AND o.updated_on < %(start)s AND o.total_price_paid > 0 ORDER BY o.id"""


def change_orders(connection: Connection, step: Step) -> None:
    """Refunds, some of them partial; pending orders are paid or cancelled. Enrolments follow their orders."""
    rng = step.rng("order changes")
    fulfilled = read(connection, _ORDERS, {"state": "fulfilled", "start": str(step.start)})
    refunds = pick(rng, fulfilled, step.size(4_000, least=2))
    partial = rng.random(len(refunds["id"])) < 0.2
    partial[0] = False
    states = np.where(partial, "partially_refunded", "refunded")
    moments = step.moments(rng, len(states))
    _settle(connection, refunds, moments=moments, states=states, kind="refund", divisor=np.where(partial, 2, 1))
    whole = {"id": refunds["enrollment"][~partial]}
    _changed(connection, step, rng, "courses_courserunenrollment", whole, active=False, change_status="refunded", edx_enrolled=False)
    pending = pick(rng, read(connection, _ORDERS, {"state": "pending", "start": str(step.start)}), step.size(6_000, least=4))
    paid = rng.random(len(pending["id"])) < 0.6
    paying = take(pending, paid)
    count = int(paid.sum())
    _settle(connection, paying, moments=step.moments(rng, count), states=["fulfilled"] * count, kind="payment", divisor=[1] * count)
    enrolled = {"id": paying["enrollment"]}
    _changed(connection, step, rng, "courses_courserunenrollment", enrolled, active=True, change_status=None, enrollment_mode="verified", edx_enrolled=True)
    cancelled = {"id": pending["id"][~paid]}
    _changed(connection, step, rng, "ecommerce_order", cancelled, state="canceled")
    delete(connection, "ecommerce_discountredemption", cancelled["id"], key="redeemed_order_id")


def _settle(connection: Connection, orders: Arrays, *, moments: np.ndarray[Any, Any], states: Column, kind: str, divisor: Column) -> None:
    """Move orders to their new states and write the money's movement at the same moments."""
    update(connection, "ecommerce_order", {"id": orders["id"], "state": states, "updated_on": moments})
    add_transactions(connection, orders["id"], orders["cents"] // np.asarray(divisor), moments, kind)


def change_certificates(connection: Connection, step: Step) -> None:
    """Some certificates are revoked and issued again; one given by mistake is deleted. Some grades are corrected."""
    rng = step.rng("certificate changes")
    valid = read(
        connection,
        "SELECT id, user_id, course_run_id FROM courses_courseruncertificate WHERE NOT is_revoked AND created_on < %(start)s ORDER BY id",
        {"start": str(step.start)},
    )
    chosen = pick(rng, valid, step.size(1_000, least=1) + 1)
    delete(connection, "courses_courseruncertificate", chosen["id"][:1])
    again = take(chosen, np.arange(1, len(chosen["id"])))
    count = len(again["id"])
    moments = step.moments(rng, count)
    update(connection, "courses_courseruncertificate", {"id": again["id"], "is_revoked": np.ones(count, dtype=bool), "updated_on": moments})
    insert(connection, "courses_courseruncertificate", {**reissued(connection, rng, again, moments), "issue_date": moments})
    failed = read(connection, "SELECT id FROM courses_courserungrade WHERE NOT passed AND created_on < %(start)s ORDER BY id", {"start": str(step.start)})
    corrected = pick(rng, failed, step.size(2_000, least=1))
    _changed(connection, step, rng, "courses_courserungrade", corrected, grade=0.65, letter_grade="C", passed=True, set_by_admin=True)


def remove_members(connection: Connection, step: Step) -> None:
    """Members leave their organisation: the membership and the contracts that came with it are deleted."""
    rng = step.rng("members leaving")
    members = read(connection, "SELECT id, user_id FROM b2b_userorganization ORDER BY id OFFSET 1")
    leaving = pick(rng, members, step.size(400, least=1))
    delete(connection, "b2b_userorganization", leaving["id"])
    delete(connection, "users_user_b2b_contracts", leaving["user_id"], key="user_id")
