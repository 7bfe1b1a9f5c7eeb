"""MIT xPRO's application database, one day after the other: about a fifth of MITx Online's size, and nearly every enrolment is bought."""

from __future__ import annotations

from typing import Any

import numpy as np

from include.local.data import mitxpro_changes as changes
from include.local.data.enrolling import add_certificates, add_grades, choose_pairs
from include.local.data.frames import Arrays, Connection, Frame, insert, next_ids, read, take
from include.local.data.mitxonline_learners import dollars
from include.local.data.mitxpro_catalog import COUPON_SHARES, COURSERUN, PROGRAM, write_catalog
from include.local.data.people import other_case, people
from include.local.data.steps import DAY, Step, between, choice, maybe, pick, uuids, where

SHARED = 0.3  # of xPRO's learners have an account at MITx Online


def write_day(connection: Connection, step: Step, application: Connection) -> None:
    """The rows of the day in the caller's transaction. ``application`` is MITx Online's database, already at this day; its addresses are read."""
    if step.day == 0:
        write_catalog(connection, step)
    else:
        changes.change_catalog(connection, step)
        changes.change_learners(connection, step)
        changes.change_orders(connection, step)
        changes.change_results(connection, step)
    _add_learners(connection, step, application)
    _add_enrollments(connection, step)
    _add_programs(connection, step)
    _add_other_orders(connection, step)
    _add_bulk_orders(connection, step)
    _add_results(connection, step)


def _add_learners(connection: Connection, step: Step, application: Connection) -> None:
    rng = step.rng("learners")
    count = step.size(4_000, least=2)
    ids = next_ids(connection, "users_user", count)
    person = people(rng, ids, domain_prefix="work.")
    _share_addresses(connection, step, application, person["email"])
    created = step.moments(rng, count)
    stamps = {"created_on": created, "updated_on": np.where(rng.random(count) < 0.2, between(rng, created, np.full(count, step.end)), created)}
    users: Frame = {
        "id": ids,
        "username": person["username"],
        "email": person["email"],
        "name": person["name"],
        "is_staff": rng.random(count) < 0.01,
        "is_superuser": np.zeros(count, dtype=bool),
        "is_active": rng.random(count) < 0.99,
        "last_login": maybe(rng, stamps["updated_on"], 0.1),
    }
    insert(connection, "users_user", {**users, **stamps})
    addressed = np.flatnonzero(rng.random(count) < 0.98)
    address: Arrays = {name: person[name] for name in ("first_name", "last_name", "country")}
    address["street_address_1"] = np.array([f"{number} Example Street" for number in rng.integers(1, 400, count).tolist()], dtype=object)
    address["city"] = choice(rng, ("Springfield", "Örebro", "Recife", "Nagoya"), count)
    address["state_or_territory"] = np.array(["" if state is None else state for state in person["state"]], dtype=object)
    address["postal_code"] = np.array([f"{number:05d}" for number in rng.integers(0, 99_999, count).tolist()], dtype=object)
    rows = take({"user_id": ids, **address, **stamps}, addressed)
    insert(connection, "users_legaladdress", {"id": next_ids(connection, "users_legaladdress", len(addressed)), **rows})
    profiled = np.flatnonzero(rng.random(count) < 0.95)
    profile = {name: person[name] for name in ("gender", "birth_year", "company", "job_title", "industry", "years_experience")}
    profile["leadership_level"] = choice(rng, ("", "Individual contributor", "Manager", "Executive"), count)
    profile["highest_education"] = np.array(["" if level is None else level for level in person["education"]], dtype=object)
    rows = take({"user_id": ids, **profile, **stamps}, profiled)
    insert(connection, "users_profile", {"id": next_ids(connection, "users_profile", len(profiled)), **rows})


def _share_addresses(connection: Connection, step: Step, application: Connection, emails: np.ndarray[Any, Any]) -> None:
    """Give some of the new accounts the address of an account at MITx Online, typed differently. Changes ``emails``."""
    rng = step.rng("shared addresses")
    taken = {email.strip().lower() for email in read(connection, "SELECT email FROM users_user ORDER BY id")["email"].tolist()}
    there = read(application, "SELECT email FROM users_user WHERE is_active AND email <> '' AND created_on < %(end)s ORDER BY id", {"end": str(step.end)})
    free = np.array([email.strip().lower() not in taken for email in there["email"].tolist()], dtype=bool)
    places = np.flatnonzero((rng.random(len(emails)) < SHARED) & (emails != ""))
    chosen = rng.permutation(pick(rng, take(there, free), len(places))["email"])
    emails[places[: len(chosen)]] = other_case(rng, chosen)


_RUNS = "SELECT id AS run_id, enrollment_start, enrollment_end FROM courses_courserun WHERE live AND enrollment_start < %(end)s ORDER BY id"
_USERS = "SELECT id AS user_id, created_on FROM users_user WHERE is_active AND email <> '' ORDER BY id"


def _add_enrollments(connection: Connection, step: Step) -> None:
    """Most enrolments come with an order; the others were made by an administrator or with a code of a bulk order."""
    rng = step.rng("enrollments")
    known = read(connection, "SELECT user_id, run_id FROM courses_courserunenrollment ORDER BY id")
    runs = read(connection, _RUNS, {"end": str(step.end)})
    if step.day:
        runs["enrollment_end"] = np.full(len(runs["run_id"]), np.datetime64("NaT", "us"))  # late comers are let in, so that no day is without work
    pairs = choose_pairs(rng, step, step.size(7_000, least=4), users=read(connection, _USERS), runs=runs, known=known)
    count = len(pairs["user_id"])
    ordered = rng.random(count) < 0.7
    ordered[:1] = True
    states = choice(rng, ("fulfilled", "refunded"), int(ordered.sum()), (95, 5))
    orders = np.full(count, None, dtype=object)
    orders[ordered] = add_orders(connection, step, take(pairs, ordered), states, topic="orders")
    change = np.full(count, None, dtype=object)
    change[ordered] = where(states == "refunded", "refunded", None)
    change[~ordered] = choice(rng, (None, "deferred", "transferred"), int((~ordered).sum()), (96, 2, 2))
    active = np.array([status is None for status in change.tolist()], dtype=bool)
    created = pairs["enrolled_on"]
    frame: Frame = {
        "id": next_ids(connection, "courses_courserunenrollment", count),
        "user_id": pairs["user_id"],
        "run_id": pairs["run_id"],
        "order_id": orders,
        "active": active,
        "change_status": change,
        "edx_enrolled": active & (rng.random(count) < 0.99),
        "created_on": created,
        "updated_on": np.where(active, created, between(rng, created, np.full(count, step.end))),
    }
    insert(connection, "courses_courserunenrollment", frame)


def _add_programs(connection: Connection, step: Step) -> None:
    rng = step.rng("programs")
    known = read(connection, "SELECT user_id FROM courses_programenrollment ORDER BY id")["user_id"]
    users = read(connection, _USERS)
    buyers = pick(rng, take(users, ~np.isin(users["user_id"], known)), step.size(300, least=1))
    count = len(buyers["user_id"])
    created = between(rng, np.maximum(buyers["created_on"], step.start), np.full(count, step.end))
    pairs = {"user_id": buyers["user_id"], "run_id": rng.integers(1, 3, count), "enrolled_on": created}
    orders = add_orders(connection, step, pairs, np.full(count, "fulfilled", dtype=object), topic="program orders", kind=PROGRAM)
    frame: Frame = {
        "id": next_ids(connection, "courses_programenrollment", count),
        "user_id": pairs["user_id"],
        "program_id": pairs["run_id"],
        "order_id": orders,
        "active": np.ones(count, dtype=bool),
        "change_status": [None] * count,
        "created_on": created,
        "updated_on": created,
    }
    insert(connection, "courses_programenrollment", frame)


def _add_other_orders(connection: Connection, step: Step) -> None:
    """Orders that were begun and left, or whose payment failed."""
    rng = step.rng("other orders")
    users, runs = read(connection, _USERS), read(connection, _RUNS, {"end": str(step.end)})
    buyers = pick(rng, users, step.size(600, least=2))
    count = len(buyers["user_id"])
    created = between(rng, np.maximum(buyers["created_on"], step.start), np.full(count, step.end))
    pairs = {"user_id": buyers["user_id"], "run_id": rng.choice(runs["run_id"], count), "enrolled_on": created}
    add_orders(connection, step, pairs, choice(rng, ("created", "failed"), count), topic="unpaid orders")


def add_orders(connection: Connection, step: Step, pairs: Arrays, states: np.ndarray[Any, Any], *, topic: str, kind: int = COURSERUN) -> np.ndarray[Any, Any]:
    """One order with one line for each pair: ``user_id``, ``run_id`` (of a program where ``kind`` says so) and ``enrolled_on``; returns their ids."""
    rng = step.rng(topic)
    count = len(states)
    found = read(
        connection,
        """SELECT DISTINCT ON (p.object_id) p.object_id, v.id AS version, (v.price * 100)::bigint AS cents FROM ecommerce_product p
           JOIN ecommerce_productversion v ON v.product_id = p.id WHERE p.content_type_id = %(kind)s ORDER BY p.object_id, v.id DESC""",
        {"kind": kind},
    )
    places = np.searchsorted(found["object_id"], pairs["run_id"])
    coupons = np.where(rng.random(count) < 0.3, rng.integers(1, 51, count), 0)
    off = np.array([round(float(share) * 100) for share in COUPON_SHARES])[((coupons - 1) // 5) % len(COUPON_SHARES)]
    cents = found["cents"][places] * (100 - np.where(coupons > 0, off, 0)) // 100
    ids = next_ids(connection, "ecommerce_order", count)
    created = pairs["enrolled_on"]
    updated = np.where(states == "refunded", between(rng, created, np.minimum(created + 30 * DAY, step.end)), created)
    orders: Frame = {"id": ids, "purchaser_id": pairs["user_id"], "status": states, "total_price_paid": dollars(cents)}
    insert(connection, "ecommerce_order", {**orders, "created_on": created, "updated_on": updated})
    stamps = {"created_on": created, "updated_on": created}
    lines: Frame = {"id": next_ids(connection, "ecommerce_line", count), "order_id": ids, "product_version_id": found["version"][places]}
    insert(connection, "ecommerce_line", {**lines, "quantity": np.ones(count, dtype=np.int64), **stamps})
    used = np.flatnonzero(coupons > 0)
    redemptions: Frame = {
        "id": next_ids(connection, "ecommerce_couponredemption", len(used)),
        "order_id": ids[used],
        "coupon_version_id": coupons[used],
        "created_on": created[used],
        "updated_on": created[used],
    }
    insert(connection, "ecommerce_couponredemption", redemptions)
    return ids


def _add_bulk_orders(connection: Connection, step: Step) -> None:
    rng = step.rng("bulk orders")
    count = step.size(200, least=1)
    versions = read(connection, "SELECT id, price FROM ecommerce_productversion ORDER BY id")
    places = rng.integers(0, len(versions["id"]), count)
    seats = rng.integers(2, 40, count)
    prices = versions["price"][places]
    created = step.moments(rng, count)
    frame: Frame = {
        "id": next_ids(connection, "b2b_ecommerce_b2border", count),
        "product_version_id": versions["id"][places],
        "coupon_payment_version_id": maybe(rng, rng.integers(1, 11, count), 0.6),
        "unique_id": uuids(rng, count),
        "status": choice(rng, ("fulfilled", "created", "failed", "refunded"), count, (80, 12, 5, 3)),
        "number_of_seats": seats,
        "per_item_price": prices,
        "total_price": prices * seats.astype(object),
        "email": [f"Training{number}@firm.example.com" for number in rng.integers(1, 50, count).tolist()],
        "contract_number": maybe(rng, np.array([f"C-{number}" for number in rng.integers(1000, 9999, count).tolist()], dtype=object), 0.5),
        "created_on": created,
        "updated_on": created,
    }
    insert(connection, "b2b_ecommerce_b2border", frame)


def _add_results(connection: Connection, step: Step) -> None:
    """Grades and certificates: on day 0 of all runs that have ended, later of some learners in runs that have begun."""
    rng = step.rng("results")
    found = read(
        connection,
        """SELECT e.user_id, e.run_id, e.created_on, r.end_date FROM courses_courserunenrollment e JOIN courses_courserun r ON r.id = e.run_id
           WHERE e.active AND r.start_date < %(begun)s AND NOT EXISTS
           (SELECT FROM courses_courserungrade g WHERE g.user_id = e.user_id AND g.course_run_id = e.run_id) ORDER BY e.id""",
        {"begun": str(step.end)},
    )
    if step.day == 0:
        found = take(found, found["end_date"] < step.end)
        chosen = pick(rng, found, round(len(found["user_id"]) * 0.8))
        available = np.maximum(chosen["end_date"], chosen["created_on"])
    else:
        chosen = pick(rng, found, step.size(4_000, least=2))
        available = np.full(len(chosen["user_id"]), step.start)
    graded = add_grades(connection, step, rng, chosen, available)
    add_certificates(connection, step, rng, take(graded, graded["passed"] & (rng.random(len(graded["passed"])) < 0.97)), issue_date=False)
