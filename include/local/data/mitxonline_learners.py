"""MITx Online, every day: new learners, enrolments, orders, grades and certificates. Day 0 calls the same functions with two years to fill."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from include.local.data.enrolling import choose_pairs
from include.local.data.frames import Arrays, Connection, Frame, insert, next_ids, read, take
from include.local.data.mitxonline_catalog import CONTRACTS, COURSERUN, DISCOUNT_SHARES, PROGRAM
from include.local.data.people import people
from include.local.data.steps import DAY, Step, between, choice, maybe, pick, uuids, where

PAID = ("fulfilled", "refunded", "partially_refunded")
UNPAID = ("pending", "canceled", "declined", "errored")


def add_learners(connection: Connection, step: Step) -> None:
    """Accounts with address, profile and Open edX user name; some lack one or the other."""
    rng = step.rng("learners")
    count = step.size(20_000, least=3)
    ids = next_ids(connection, "users_user", count)
    person = people(rng, ids)
    created = step.moments(rng, count)
    updated = np.where(rng.random(count) < 0.3, between(rng, created, np.full(count, step.end)), created)
    stamps = {"created_on": created, "updated_on": updated}
    users: Frame = {
        "id": ids,
        "username": person["username"],
        "email": person["email"],
        "name": person["name"],
        "global_id": maybe(rng, np.array(uuids(rng, count), dtype=object), 0.1),
        "is_staff": rng.random(count) < 0.005,
        "is_superuser": np.zeros(count, dtype=bool),
        "is_active": rng.random(count) < 0.985,
        "last_login": maybe(rng, updated, 0.1),
    }
    insert(connection, "users_user", {**users, **stamps})
    address = {name: person[name] for name in ("first_name", "last_name", "country", "state")}
    _insert_part(connection, "users_legaladdress", {"user_id": ids, **address, **stamps}, rng.random(count) < 0.97)
    profile = {name: person[name] for name in ("gender", "company", "job_title", "industry", "years_experience")}
    profile |= {"year_of_birth": person["birth_year"], "highest_education": person["education"]}
    profile |= {name: choice(rng, (True, False, None), count) for name in ("type_is_student", "type_is_professional", "type_is_educator")}
    _insert_part(connection, "users_userprofile", {"user_id": ids, **profile, **stamps}, rng.random(count) < 0.9)
    failed = rng.random(count) < 0.01
    edx = {"platform": np.full(count, "edx", dtype=object), "edx_username": where(failed, None, person["username"])}
    edx |= {"has_been_synced": ~failed, "has_sync_error": failed, "created_on": created, "updated_on": created}
    _insert_part(connection, "openedx_openedxuser", {"user_id": ids, **edx}, rng.random(count) < 0.985)


def _insert_part(connection: Connection, table: str, values: Arrays, rows: np.ndarray[Any, Any]) -> None:
    """Write those ``rows`` of the users' ``values`` that have an entry in ``table``."""
    insert(connection, table, {"id": next_ids(connection, table, int(rows.sum())), **take(values, rows)})


def add_members(connection: Connection, step: Step) -> None:
    """Members of the two organisations, among learners who belong to none yet, and their contracts."""
    rng = step.rng("members")
    free = read(
        connection,
        """SELECT u.id, u.created_on FROM users_user u WHERE u.is_active AND u.email <> '' AND u.created_on < %(end)s
           AND NOT EXISTS (SELECT FROM b2b_userorganization m WHERE m.user_id = u.id) ORDER BY u.id""",
        {"end": str(step.end)},
    )
    chosen = pick(rng, free, step.size(700, least=30 if step.day == 0 else 2))
    count = len(chosen["id"])
    organizations = np.where(rng.random(count) < 0.6, CONTRACTS[0].organization_id, CONTRACTS[-1].organization_id)
    members: Frame = {
        "id": next_ids(connection, "b2b_userorganization", count),
        "user_id": chosen["id"],
        "organization_id": organizations,
        "keep_until_seen": rng.random(count) < 0.1,
    }
    insert(connection, "b2b_userorganization", members)
    for contract in CONTRACTS:
        users = chosen["id"][organizations == contract.organization_id]
        if contract.active or step.day == 0:
            ids = next_ids(connection, "users_user_b2b_contracts", len(users))
            insert(connection, "users_user_b2b_contracts", {"id": ids, "user_id": users, "contractpage_id": np.full(len(users), contract.id)})


_USERS = "SELECT id AS user_id, created_on FROM users_user WHERE is_active AND email <> '' ORDER BY id"
_RUNS = """SELECT id AS run_id, enrollment_start, enrollment_end, end_date FROM courses_courserun
           WHERE live AND b2b_contract_id IS NULL AND enrollment_start < %(end)s ORDER BY id"""
_MEMBERS = """SELECT u.id AS user_id, u.created_on, r.id AS run_id, r.enrollment_start, r.enrollment_end
              FROM users_user_b2b_contracts k JOIN users_user u ON u.id = k.user_id JOIN courses_courserun r ON r.b2b_contract_id = k.contractpage_id
              WHERE u.is_active AND r.live AND r.enrollment_start < %(end)s AND r.enrollment_end > %(start)s
              AND NOT EXISTS (SELECT FROM courses_courserunenrollment e WHERE e.user_id = u.id AND e.run_id = r.id)
              ORDER BY u.id, r.id"""


def add_enrollments(connection: Connection, step: Step) -> None:
    """Enrolments in open runs, and of members in their contracts' runs; then the orders that made some of them verified."""
    rng = step.rng("enrollments")
    limits = {"start": str(step.start), "end": str(step.end)}
    known = read(connection, "SELECT user_id, run_id FROM courses_courserunenrollment ORDER BY id")
    pairs = choose_pairs(rng, step, step.size(80_000, least=10), users=read(connection, _USERS), runs=read(connection, _RUNS, limits), known=known)
    sold = read(connection, "SELECT object_id FROM ecommerce_product WHERE content_type_id = 1 AND is_active ORDER BY object_id")["object_id"]
    bought = (rng.random(len(pairs["user_id"])) < 0.25) & np.isin(pairs["run_id"], sold)
    states = choice(rng, PAID, int(bought.sum()), (94, 5, 1))
    change = np.full(len(bought), None, dtype=object)
    change[rng.random(len(bought)) < 0.08] = "unenrolled"
    change[bought] = where(states == "refunded", "refunded", None)
    _write_enrollments(connection, step, pairs, topic="enrollment rows", change=change, verified=bought)
    add_orders(connection, step, take(pairs, bought), states, topic="orders")
    _add_member_enrollments(connection, step, limits)


def _add_member_enrollments(connection: Connection, step: Step, limits: dict[str, str]) -> None:
    rng = step.rng("member enrollments")
    offered = read(connection, _MEMBERS, limits)
    rows = len(offered["user_id"])
    chosen = pick(rng, offered, round(rows * 0.6) if step.day == 0 else min(rows, max(4, round(rows * 0.05))))
    count = len(chosen["user_id"])
    low = np.maximum(np.maximum(chosen["created_on"], chosen["enrollment_start"]), step.start)
    chosen["enrolled_on"] = between(rng, low, np.maximum(np.minimum(chosen["enrollment_end"], step.end), low))
    inside = chosen["enrolled_on"] < step.end
    change = choice(rng, (None, "unenrolled"), count, (95, 5))
    everyone = np.ones(int(inside.sum()), dtype=bool)
    _write_enrollments(connection, step, take(chosen, inside), topic="member enrollment rows", change=change[inside], verified=everyone)


def _write_enrollments(connection: Connection, step: Step, pairs: Arrays, *, topic: str, change: np.ndarray[Any, Any], verified: np.ndarray[Any, Any]) -> None:
    rng = step.rng(topic)
    count = len(change)
    created = pairs["enrolled_on"]
    active = change == None  # noqa: E711 (element by element)
    later = ~active | (rng.random(count) < 0.03)  # these have changed since; among the active ones are those who left and came back
    frame: Frame = {
        "id": next_ids(connection, "courses_courserunenrollment", count),
        "user_id": pairs["user_id"],
        "run_id": pairs["run_id"],
        "active": active,
        "change_status": change,
        "enrollment_mode": np.where(verified, "verified", "audit"),
        "edx_enrolled": active & (rng.random(count) < 0.99),
        "edx_emails_subscription": rng.random(count) < 0.9,
        "created_on": created,
        "updated_on": np.where(later, between(rng, created, np.full(count, step.end)), created),
    }
    insert(connection, "courses_courserunenrollment", frame)


def add_other_orders(connection: Connection, step: Step) -> None:
    """Orders that led to no enrolment: unpaid ones for runs that their learners audit, and programs."""
    rng = step.rng("other orders")
    audited = read(
        connection,
        """SELECT e.user_id, e.run_id, e.created_on AS enrolled_on FROM courses_courserunenrollment e
           JOIN ecommerce_product p ON p.content_type_id = 1 AND p.object_id = e.run_id AND p.is_active
           WHERE e.enrollment_mode = 'audit' AND e.active
           AND NOT EXISTS (SELECT FROM ecommerce_order o JOIN ecommerce_line l ON l.order_id = o.id
                           WHERE o.purchaser_id = e.user_id AND l.purchased_object_id = e.run_id AND l.purchased_content_type_id = 1)
           ORDER BY e.id""",
    )
    unpaid = pick(rng, audited, step.size(4_000, least=4))
    unpaid["enrolled_on"] = between(rng, np.maximum(unpaid["enrolled_on"], step.start), np.full(len(unpaid["run_id"]), step.end))
    add_orders(connection, step, unpaid, choice(rng, UNPAID, len(unpaid["run_id"]), (45, 35, 15, 5)), topic="unpaid orders")
    users = read(connection, _USERS)
    programs = read(connection, "SELECT id FROM courses_program ORDER BY id")["id"]
    known = read(connection, "SELECT user_id FROM courses_programenrollment ORDER BY id")["user_id"]
    buyers = pick(rng, take(users, ~np.isin(users["user_id"], known)), step.size(1_200, least=2))
    count = len(buyers["user_id"])
    chosen = {"user_id": buyers["user_id"], "run_id": rng.choice(programs, count)}
    chosen["enrolled_on"] = between(rng, np.maximum(buyers["created_on"], step.start), np.full(count, step.end))
    paid = rng.random(count) < 0.8
    add_orders(connection, step, take(chosen, paid), np.full(int(paid.sum()), "fulfilled", dtype=object), topic="program orders", kind=PROGRAM)
    enrollments: Frame = {
        "id": next_ids(connection, "courses_programenrollment", count),
        "user_id": chosen["user_id"],
        "program_id": chosen["run_id"],
        "active": np.ones(count, dtype=bool),
        "change_status": [None] * count,
        "enrollment_mode": np.where(paid, "verified", "audit"),
        "created_on": chosen["enrolled_on"],
        "updated_on": chosen["enrolled_on"],
    }
    insert(connection, "courses_programenrollment", enrollments)


def add_orders(connection: Connection, step: Step, pairs: Arrays, states: np.ndarray[Any, Any], *, topic: str, kind: int = COURSERUN) -> None:
    """One order with one line for each pair: ``user_id``, ``run_id`` (of a program where ``kind`` says so) and ``enrolled_on``."""
    rng = step.rng(topic)
    count = len(states)
    if not count:
        return
    versions, cents = _latest_versions(connection, pairs["run_id"], kind)
    shares = np.where(rng.random(count) < 0.2, rng.choice(DISCOUNT_SHARES, count, p=(0.4, 0.3, 0.2, 0.1)), 0)
    cents = cents * (100 - shares) // 100
    ids = next_ids(connection, "ecommerce_order", count)
    created = pairs["enrolled_on"]
    changed = np.isin(states, ("refunded", "partially_refunded", "canceled"))
    updated = np.where(changed, between(rng, created, np.minimum(created + 30 * DAY, step.end)), created)
    stamps = {"created_on": created, "updated_on": updated}
    numbers = [f"mitxonline-production-{id_}" for id_ in ids.tolist()]
    orders: Frame = {"id": ids, "purchaser_id": pairs["user_id"], "state": states, "total_price_paid": dollars(cents), "reference_number": numbers, **stamps}
    insert(connection, "ecommerce_order", orders)
    lines: Frame = {
        "id": next_ids(connection, "ecommerce_line", count),
        "order_id": ids,
        "product_version_id": versions,
        "purchased_content_type_id": np.full(count, kind),
        "purchased_object_id": pairs["run_id"],
        "quantity": np.ones(count, dtype=np.int64),
        "created_on": created,
        "updated_on": created,
    }
    insert(connection, "ecommerce_line", lines)
    redeemed = np.flatnonzero((shares > 0) & (states != "canceled"))
    places = np.searchsorted(DISCOUNT_SHARES, shares[redeemed]) + 1
    redemptions: Frame = {
        "id": next_ids(connection, "ecommerce_discountredemption", len(redeemed)),
        "redeemed_discount_id": places + 4 * rng.integers(0, 6, len(redeemed)),
        "redeemed_order_id": ids[redeemed],
        "redeemed_by_id": pairs["user_id"][redeemed],
        "redemption_date": created[redeemed],
    }
    insert(connection, "ecommerce_discountredemption", redemptions)
    paid = np.isin(states, PAID) & (cents > 0)
    add_transactions(connection, ids[paid], cents[paid], created[paid], "payment")
    for state, divisor in (("refunded", 1), ("partially_refunded", 2)):
        back = paid & (states == state)
        add_transactions(connection, ids[back], cents[back] // divisor, updated[back], "refund")


def dollars(cents: np.ndarray[Any, Any]) -> list[str]:
    """Exact decimal text of amounts in cents."""
    return [f"{amount // 100}.{amount % 100:02d}" for amount in cents.tolist()]


def _latest_versions(connection: Connection, objects: np.ndarray[Any, Any], kind: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Newest product version and price in cents of what ``objects`` are sold as."""
    found = read(
        connection,
        """SELECT p.object_id, max(v.id) AS version, (p.price * 100)::bigint AS cents FROM ecommerce_product p
           JOIN reversion_version v ON v.object_id = p.id::text AND v.content_type_id = 3
           WHERE p.content_type_id = %(kind)s GROUP BY p.id ORDER BY p.object_id""",
        {"kind": kind},
    )
    places = np.searchsorted(found["object_id"], objects)
    return found["version"][places], found["cents"][places]


def add_transactions(connection: Connection, orders: np.ndarray[Any, Any], cents: np.ndarray[Any, Any], moments: np.ndarray[Any, Any], kind: str) -> None:
    """Payments or refunds (``kind``) of orders, amounts in cents."""
    count = len(orders)
    ids = next_ids(connection, "ecommerce_transaction", count)
    marks = [hashlib.blake2b(f"{kind}-{order}".encode(), digest_size=11).hexdigest() for order in orders.tolist()]
    frame: Frame = {
        "id": ids,
        "order_id": orders,
        "transaction_id": marks,
        "transaction_type": [kind] * count,
        "amount": dollars(cents),
        "data": [f'{{"decision": "ACCEPT", "req_reference_number": "mitxonline-production-{order}"}}' for order in orders.tolist()],
        "reason": ["" if kind == "payment" else "Requested by the learner"] * count,
        "created_on": moments,
        "updated_on": moments,
    }
    insert(connection, "ecommerce_transaction", frame)
