"""MIT xPRO, day N: rows of earlier days that change or go."""

from __future__ import annotations

import hashlib

import numpy as np

from include.local.data.enrolling import reissued
from include.local.data.frames import Connection, Frame, delete, insert, next_ids, read, update
from include.local.data.mitxpro_catalog import add_product_versions
from include.local.data.steps import DAY, Step, choice, pick


def change_catalog(connection: Connection, step: Step) -> None:
    """A run moves, another is renamed, a price rises, a coupon that nobody has used is withdrawn for another."""
    rng = step.rng("catalog changes")
    runs = read(connection, "SELECT id, title, end_date FROM courses_courserun WHERE end_date > %(start)s ORDER BY id", {"start": str(step.start)})
    moved = pick(rng, runs, step.size(200, least=1))
    later = moved["end_date"] + rng.integers(1, 15, len(moved["id"])) * DAY
    update(connection, "courses_courserun", {"id": moved["id"], "end_date": later, "updated_on": step.moments(rng, len(later))})
    renamed = pick(rng, runs, 1)
    titles = [f"{title.partition(' (')[0]} (updated on day {step.day})" for title in renamed["title"]]
    update(connection, "courses_courserun", {"id": renamed["id"], "title": titles, "updated_on": step.moments(rng, 1)})
    products = read(
        connection,
        """SELECT DISTINCT ON (product_id) product_id AS id, price::bigint AS price, description FROM ecommerce_productversion
           ORDER BY product_id, id DESC""",
    )
    dearer = pick(rng, products, 1)
    add_product_versions(connection, dearer["id"], dearer["price"] + 50, dearer["description"], step.moments(rng, 1))
    _replace_coupon(connection, step, rng)


def _replace_coupon(connection: Connection, step: Step, rng: np.random.Generator) -> None:
    """Yesterday's spare coupon goes (it has no version, so no order can name it) and today's comes."""
    spare = read(
        connection, "SELECT c.id FROM ecommerce_coupon c WHERE NOT EXISTS (SELECT FROM ecommerce_couponversion v WHERE v.coupon_id = c.id) ORDER BY c.id"
    )
    new = next_ids(connection, "ecommerce_coupon", 1)
    delete(connection, "ecommerce_coupon", spare["id"])
    moment = step.moments(rng, 1)
    frame: Frame = {"id": new, "payment_id": [1], "coupon_code": [f"SPARE-{step.day:04d}"], "enabled": [False], "is_global": [False]}
    insert(connection, "ecommerce_coupon", {**frame, "created_on": moment, "updated_on": moment})


def change_learners(connection: Connection, step: Step) -> None:
    """Learners change company and job; one in a while asks to be forgotten."""
    rng = step.rng("learner changes")
    profiles = read(connection, "SELECT id FROM users_profile ORDER BY id")
    moved = pick(rng, profiles, step.size(2_000, least=1))
    count = len(moved["id"])
    jobs, companies = choice(rng, ("Director", "Researcher", "Consultant"), count), choice(rng, ("Blue Heron Foods", "Tidewater Labs", ""), count)
    update(connection, "users_profile", {"id": moved["id"], "job_title": jobs, "company": companies, "updated_on": step.moments(rng, count)})
    users = read(connection, "SELECT id, username FROM users_user WHERE is_active AND NOT is_staff ORDER BY id")
    gone = pick(rng, users, step.size(100, least=1))
    count = len(gone["id"])
    marks = [hashlib.blake2b(name.encode(), digest_size=12).hexdigest() for name in gone["username"]]
    frame: Frame = {"id": gone["id"], "email": [f"retired_email_{mark}@retired.example.org" for mark in marks], "name": [""] * count}
    update(connection, "users_user", {**frame, "is_active": np.zeros(count, dtype=bool), "updated_on": step.moments(rng, count)})


def change_orders(connection: Connection, step: Step) -> None:
    """Refunds: the order's status and its enrolments."""
    rng = step.rng("order changes")
    fulfilled = read(
        connection,
        """SELECT o.id FROM ecommerce_order o JOIN courses_courserunenrollment e ON e.order_id = o.id
           WHERE o.status = 'fulfilled' AND o.total_price_paid > 0 AND o.updated_on < %(start)s ORDER BY o.id""",
        {"start": str(step.start)},
    )
    refunds = pick(rng, fulfilled, step.size(800, least=1))
    count = len(refunds["id"])
    moments = step.moments(rng, count)
    update(connection, "ecommerce_order", {"id": refunds["id"], "status": ["refunded"] * count, "updated_on": moments})
    inactive = np.zeros(count, dtype=bool)
    frame: Frame = {"order_id": refunds["id"], "active": inactive, "edx_enrolled": inactive, "change_status": ["refunded"] * count, "updated_on": moments}
    update(connection, "courses_courserunenrollment", frame, key="order_id")


def change_results(connection: Connection, step: Step) -> None:
    """A certificate is revoked and issued again; a grade is corrected."""
    rng = step.rng("result changes")
    limits = {"start": str(step.start)}
    valid = read(
        connection,
        "SELECT id, user_id, course_run_id FROM courses_courseruncertificate WHERE NOT is_revoked AND created_on < %(start)s ORDER BY id",
        limits,
    )
    again = pick(rng, valid, step.size(200, least=1))
    count = len(again["id"])
    moments = step.moments(rng, count)
    update(connection, "courses_courseruncertificate", {"id": again["id"], "is_revoked": np.ones(count, dtype=bool), "updated_on": moments})
    insert(connection, "courses_courseruncertificate", reissued(connection, rng, again, moments))
    failed = read(connection, "SELECT id FROM courses_courserungrade WHERE NOT passed AND created_on < %(start)s ORDER BY id", limits)
    corrected = pick(rng, failed, step.size(300, least=1))
    count = len(corrected["id"])
    values: Frame = {
        "grade": np.full(count, 0.65),
        "letter_grade": ["C"] * count,
        "passed": np.ones(count, dtype=bool),
        "set_by_admin": np.ones(count, dtype=bool),
    }
    update(connection, "courses_courserungrade", {"id": corrected["id"], **values, "updated_on": step.moments(rng, count)})
