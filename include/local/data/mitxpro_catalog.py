"""MIT xPRO, first day: what is offered. The first three courses carry ids of MITx Online's, on purpose: ids are unique on one platform only."""

from __future__ import annotations

from typing import Any

import numpy as np

from include.local.data import catalog, mitxonline_catalog
from include.local.data.frames import Connection, Frame, insert, next_ids, read
from include.local.data.steps import DAY, Step, choice

ORGANIZATION = "xPRO"
COURSERUN, PROGRAM = 1, 2  # ids in django_content_type
COLLISIONS = 3
COUPON_SHARES = ("0.10", "0.25", "1.00")


def write_catalog(connection: Connection, step: Step) -> None:
    """Everything of the catalogue, for an empty database."""
    rng = step.rng("catalog")
    created = step.start
    platforms: Frame = {"id": [1, 2, 3], "name": ["xPRO", "Emeritus", "Global Alumni"]}
    insert(connection, "courses_platform", _stamped(platforms, created))
    insert(connection, "django_content_type", {"id": [COURSERUN, PROGRAM], "app_label": ["courses"] * 2, "model": ["courserun", "program"]})
    programs: Frame = {
        "id": [1, 2],
        "platform_id": [1, 2],
        "title": ["Systems in Practice", "Leading with Data"],
        "readable_id": ["program-v1:xPRO+SYSx", "program-v1:xPRO+LDx"],
        "is_external": [False, True],
        "live": [True, True],
    }
    insert(connection, "courses_program", _stamped(programs, created))
    courses = max(6, round(12 * step.scale))
    _write_courses(connection, courses, created)
    _write_runs(connection, rng, courses, created)
    _write_products(connection, rng, created)
    _write_coupons(connection, rng, created)


def _stamped(frame: Frame, moment: Any) -> Frame:
    rows = len(next(iter(frame.values())))
    return {**frame, "created_on": np.full(rows, moment), "updated_on": np.full(rows, moment)}


def _key(index: int) -> str:
    organization = mitxonline_catalog.ORGANIZATION if index < COLLISIONS else ORGANIZATION
    return catalog.course(index).readable_id(organization)


def _write_courses(connection: Connection, courses: int, created: np.datetime64) -> None:
    external = [index % 5 == 4 for index in range(courses)]
    frame: Frame = {
        "id": np.arange(courses) + 1,
        "program_id": [1 if index < 3 else 2 if external[index] else None for index in range(courses)],
        "platform_id": [2 if is_external else 1 for is_external in external],
        "position_in_program": [index + 1 if index < 3 else None for index in range(courses)],
        "title": [f"{catalog.course(index).title} for Professionals" for index in range(courses)],
        "readable_id": [_key(index) for index in range(courses)],
        "is_external": external,
        "live": [True] * courses,
    }
    insert(connection, "courses_course", _stamped(frame, created))


def _write_runs(connection: Connection, rng: np.random.Generator, courses: int, created: np.datetime64) -> None:
    """Three or four runs a course, under MITx Online's tags where the course's id is one of its; one run without dates and one without an id."""
    rows: list[dict[str, Any]] = []
    for index in range(courses):
        # The first course shares all its terms with MITx Online's first course, the others may share some.
        terms = [3, 5, 6] if index == 0 else catalog.terms_of(rng, 3 + int(rng.integers(0, 2)))
        for number, term in enumerate(terms, start=1):
            tag, start, end = catalog.term(term)
            rows.append(_run(len(rows) + 1, index, tag if index < COLLISIONS else f"R{number}", start, end))
    rows[-1] |= {"courseware_id": None, "external_course_run_id": "MXP-PENDING", "live": False}
    rows.append(_run(len(rows) + 1, courses - 1, "R9", None, None))
    insert(connection, "courses_courserun", _stamped({name: [row[name] for row in rows] for name in rows[0]}, created))


def _run(id_: int, index: int, tag: str, start: Any, end: Any) -> dict[str, Any]:
    known = start is not None
    return {
        "id": id_,
        "course_id": index + 1,
        "title": f"{catalog.course(index).title} for Professionals",
        "courseware_id": f"{_key(index)}+{tag}",
        "external_course_run_id": f"MXP-{id_:04d}" if index % 5 == 4 else None,
        "run_tag": tag,
        "courseware_url_path": f"/courses/{_key(index)}+{tag}/course/" if known else None,
        "start_date": start,
        "end_date": end,
        "enrollment_start": start - 90 * DAY if known else None,
        "enrollment_end": start + 21 * DAY if known else None,
        "live": known,
    }


def _write_products(connection: Connection, rng: np.random.Generator, created: np.datetime64) -> None:
    runs = read(connection, "SELECT id, title FROM courses_courserun WHERE live ORDER BY id")
    programs = read(connection, "SELECT id, title FROM courses_program ORDER BY id")
    kinds = np.concatenate([np.full(len(runs["id"]), COURSERUN), np.full(len(programs["id"]), PROGRAM)])
    count = len(kinds)
    ids = np.arange(count) + 1
    products: Frame = {
        "id": ids,
        "content_type_id": kinds,
        "object_id": np.concatenate([runs["id"], programs["id"]]),
        "is_active": np.ones(count, dtype=bool),
        "is_private": rng.random(count) < 0.1,
        "visible_in_bulk_form": rng.random(count) < 0.8,
    }
    insert(connection, "ecommerce_product", _stamped(products, created))
    prices = np.where(kinds == PROGRAM, 1999, choice(rng, (499, 749, 999), count).astype(np.int64))
    add_product_versions(connection, ids, prices, np.concatenate([runs["title"], programs["title"]]), np.full(count, created))


def add_product_versions(
    connection: Connection, products: np.ndarray[Any, Any], prices: np.ndarray[Any, Any], titles: np.ndarray[Any, Any], created: np.ndarray[Any, Any]
) -> None:
    """A new version of each product at these prices (whole US dollars)."""
    frame: Frame = {
        "id": next_ids(connection, "ecommerce_productversion", len(products)),
        "product_id": products,
        "price": [f"{price}.00" for price in prices.tolist()],
        "description": titles,
        "text_id": [f"xpro-product-{product}" for product in products.tolist()],
        "created_on": created,
        "updated_on": created,
    }
    insert(connection, "ecommerce_productversion", frame)


def _write_coupons(connection: Connection, rng: np.random.Generator, created: np.datetime64) -> None:
    """Ten sets of five coupons each; 10 %, 25 % or everything off."""
    sets, each = 10, 5
    ids = np.arange(sets) + 1
    insert(connection, "ecommerce_couponpayment", _stamped({"id": ids, "name": [f"Campaign {i}" for i in ids.tolist()]}, created))
    terms: Frame = {
        "id": ids,
        "payment_id": ids,
        "amount": [COUPON_SHARES[i % len(COUPON_SHARES)] for i in range(sets)],
        "discount_type": ["percent-off"] * sets,
        "coupon_type": choice(rng, ("promo", "single-use"), sets),
        "num_coupon_codes": np.full(sets, each),
        "max_redemptions": np.full(sets, 100_000),
        "max_redemptions_per_user": np.full(sets, 10),
        "activation_date": np.full(sets, created),
        "expiration_date": choice(rng, (None, np.datetime64("2027-06-30", "us")), sets),
        "payment_type": choice(rng, ("marketing", "sales", "staff", None), sets),
        "automatic": np.zeros(sets, dtype=bool),
    }
    insert(connection, "ecommerce_couponpaymentversion", _stamped(terms, created))
    coupons = np.arange(sets * each) + 1
    codes = np.arange(sets * each + 1) + 1  # the last one is a spare: without a version no order can use it
    frame: Frame = {
        "id": codes,
        "payment_id": np.append(np.repeat(ids, each), 1),
        "coupon_code": [f"XPRO-{number:05d}" for number in (codes * 7919 % 99991).tolist()],
        "enabled": np.ones(len(codes), dtype=bool),
        "is_global": np.ones(len(codes), dtype=bool),
    }
    insert(connection, "ecommerce_coupon", _stamped(frame, created))
    insert(connection, "ecommerce_couponversion", _stamped({"id": coupons, "coupon_id": coupons, "payment_version_id": np.repeat(ids, each)}, created))
