"""MITx Online, first day: what is offered. Departments, courses, runs, programs, organisations, contracts, products, discounts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from include.local.data import catalog
from include.local.data.frames import Connection, Frame, insert, next_ids, read
from include.local.data.steps import DAY, Step, choice, uuids

ORGANIZATION = "MITxT"
COURSERUN, PROGRAM, PRODUCT = 1, 2, 3  # ids in django_content_type
DISCOUNT_SHARES = (10, 25, 50, 100)


@dataclass(frozen=True)
class Contract:
    """A contract of a partner organisation and the term its runs are given in."""

    id: int
    organization_id: int
    name: str
    term: int
    active: bool
    max_learners: int | None


ORGANIZATIONS = ((101, "Harborlight Mutual", "HARBOR"), (102, 'Vellum Works, S.A. "Nord"', "VELLUM"))
CONTRACTS = (
    Contract(201, 101, "Harborlight 2025", 4, False, 400),
    Contract(202, 101, "Harborlight 2026", 5, True, 600),
    Contract(203, 102, "Vellum staff development", 5, True, None),
)


def write_catalog(connection: Connection, step: Step) -> None:
    """Everything of the catalogue, for an empty database."""
    rng = step.rng("catalog")
    created = step.start
    _write_fixed(connection, created)
    courses = max(12, round(60 * step.scale))
    _write_courses(connection, rng, courses, created)
    _write_runs(connection, rng, courses, created)
    _write_programs(connection, courses, created)
    _write_first_products(connection, rng, step)
    _write_discounts(connection, rng, created)


def _stamped(frame: Frame, moment: Any) -> Frame:
    rows = len(next(iter(frame.values())))
    return {**frame, "created_on": np.full(rows, moment), "updated_on": np.full(rows, moment)}


def _write_fixed(connection: Connection, created: np.datetime64) -> None:
    names = [name for _, name in catalog.DEPARTMENTS]
    departments: Frame = {"id": range(1, len(names) + 1), "name": names, "slug": [catalog.slug(name) for name in names]}
    insert(connection, "courses_department", _stamped(departments, created))
    kinds: Frame = {"id": [COURSERUN, PROGRAM, PRODUCT], "app_label": ["courses", "courses", "ecommerce"], "model": ["courserun", "program", "product"]}
    insert(connection, "django_content_type", kinds)
    ids, titles, keys = zip(*ORGANIZATIONS, strict=True)
    rng = np.random.default_rng([int(id_) for id_, _, _ in ORGANIZATIONS])
    organizations: Frame = {"page_ptr_id": ids, "name": titles, "org_key": keys, "description": ["", "Staff, partners\nand apprentices"]}
    insert(connection, "b2b_organizationpage", {**organizations, "sso_organization_id": [uuids(rng, 1)[0], None]})
    ends = [np.datetime64("2025-12-31"), np.datetime64("2026-12-31"), None]
    contracts: Frame = {
        "page_ptr_id": [c.id for c in CONTRACTS],
        "organization_id": [c.organization_id for c in CONTRACTS],
        "name": [c.name for c in CONTRACTS],
        "description": [""] * len(CONTRACTS),
        "integration_type": ["sso", "sso", "non-sso"],
        "membership_type": ["managed", "managed", "code"],
        "contract_start": [np.datetime64("2025-01-01"), np.datetime64("2026-01-01"), None],
        "contract_end": ends,
        "active": [c.active for c in CONTRACTS],
        "max_learners": [c.max_learners for c in CONTRACTS],
        "enrollment_fixed_price": ["0.00", "0.00", "49.00"],
    }
    insert(connection, "b2b_contractpage", contracts)


def _write_courses(connection: Connection, rng: np.random.Generator, courses: int, created: np.datetime64) -> None:
    all_courses = [catalog.course(index) for index in range(courses)]
    ids = np.arange(courses) + 1
    frame: Frame = {
        "id": ids,
        "title": [course.title for course in all_courses],
        "readable_id": [course.readable_id(ORGANIZATION) for course in all_courses],
        "live": rng.random(courses) < 0.95,
    }
    insert(connection, "courses_course", _stamped(frame, created))
    second = np.flatnonzero(rng.random(courses) < 0.2)  # some courses belong to two departments
    departments = np.array([course.department + 1 for course in all_courses])
    neighbours = departments[second] % len(catalog.DEPARTMENTS) + 1
    links: Frame = {
        "id": np.arange(courses + len(second)) + 1,
        "course_id": np.concatenate([ids, ids[second]]),
        "department_id": np.concatenate([departments, neighbours]),
    }
    insert(connection, "courses_course_departments", links)


def run_row(id_: int, index: int, tag: str, dates: tuple[Any, Any], *, contract: int | None = None) -> dict[str, Any]:
    """One row of courses_courserun but for its modification times.

    ``index`` is the course's place in the catalogue. ``dates`` are start and end; both missing for a draft.
    """
    start, end = dates
    course = catalog.course(index)
    readable_id = course.readable_id(ORGANIZATION)
    known = start is not None
    return {
        "id": id_,
        "course_id": index + 1,
        "title": course.title,
        "courseware_id": f"{readable_id}+{tag}",
        "run_tag": tag,
        "courseware_url_path": f"/learn/course/{readable_id}+{tag}/home" if known else None,
        "start_date": start,
        "end_date": end,
        "enrollment_start": start - 60 * DAY if known else None,
        "enrollment_end": end - 14 * DAY if known else None,
        "upgrade_deadline": end - 21 * DAY if known and contract is None else None,
        "certificate_available_date": end + 7 * DAY if known else None,
        "is_self_paced": id_ % 7 == 0,
        "live": known,
        "b2b_contract_id": contract,
    }


def insert_runs(connection: Connection, rows: list[dict[str, Any]], created: np.datetime64) -> None:
    """Write rows of :func:`run_row`."""
    insert(connection, "courses_courserun", _stamped({name: [row[name] for row in rows] for name in rows[0]}, created))


def _write_runs(connection: Connection, rng: np.random.Generator, courses: int, created: np.datetime64) -> None:
    rows: list[dict[str, Any]] = []

    def add(index: int, tag: str, dates: tuple[Any, Any], contract: int | None = None) -> None:
        rows.append(run_row(len(rows) + 1, index, tag, dates, contract=contract))

    for index in range(courses):
        terms = {0: [3, 5, 6]}.get(index) or catalog.terms_of(rng, 3 + int(rng.integers(0, 2)))
        for number in terms:
            tag, start, end = catalog.term(number)
            add(index, tag, (start, end))
    for contract in CONTRACTS:
        tag, start, end = catalog.term(contract.term)
        key = next(key for id_, _, key in ORGANIZATIONS if id_ == contract.organization_id)
        for index in range(4):
            add(index, f"{key}_{tag}", (start, end), contract.id)
    for index in rng.choice(courses, size=3, replace=False).tolist():
        add(index, "1T2027", (None, None))
    insert_runs(connection, rows, created)


def _write_programs(connection: Connection, courses: int, created: np.datetime64) -> None:
    programs = max(2, courses // 12)
    ids = np.arange(programs) + 1
    names = [catalog.DEPARTMENTS[i % len(catalog.DEPARTMENTS)][1] for i in range(programs)]
    frame: Frame = {
        "id": ids,
        "title": [f"Program in {name}" for name in names],
        "readable_id": [f"program-v1:{ORGANIZATION}+P{i:02d}" for i in ids.tolist()],
        "program_type": ["Series", *["MicroMasters®"] * (programs - 1)],
        "live": [True] * programs,
    }
    insert(connection, "courses_program", _stamped(frame, created))
    nodes: list[tuple[Any, ...]] = []
    for program in ids.tolist():
        root = f"{program:04d}"
        members = [(program - 1 + 3 * place) % courses + 1 for place in range(4)]
        nodes.append((program, root, 1, 2, "program_root", None, None, "", None, False))
        for branch, (operator, value, part) in enumerate((("all_of", None, members[:2]), ("min_number_of", "1", members[2:])), start=1):
            path = f"{root}{branch:04d}"
            elective = operator == "min_number_of"
            nodes.append((program, path, 2, len(part), "operator", operator, value, "Electives" if elective else "Core", None, elective))
            nodes += [(program, f"{path}{leaf:04d}", 3, 0, "course", None, None, None, course, False) for leaf, course in enumerate(part, start=1)]
    names_ = ("program_id", "path", "depth", "numchild", "node_type", "operator", "operator_value", "title", "course_id", "elective_flag")
    insert(connection, "courses_programrequirement", {"id": range(1, len(nodes) + 1), **dict(zip(names_, zip(*nodes, strict=True), strict=True))})


def _write_first_products(connection: Connection, rng: np.random.Generator, step: Step) -> None:
    """A product for every run that is open to everybody and has dates, and for every program; half of them had a lower price before."""
    runs = read(connection, "SELECT id, title FROM courses_courserun WHERE b2b_contract_id IS NULL AND start_date IS NOT NULL ORDER BY id")
    programs = read(connection, "SELECT id, title FROM courses_program ORDER BY id")
    kinds = np.concatenate([np.full(len(runs["id"]), COURSERUN), np.full(len(programs["id"]), PROGRAM)])
    objects = np.concatenate([runs["id"], programs["id"]])
    prices = np.where(kinds == PROGRAM, 600, choice(rng, (75, 100, 149, 200), len(kinds)).astype(np.int64))
    frame: Frame = {
        "id": np.arange(len(kinds)) + 1,
        "content_type_id": kinds,
        "object_id": objects,
        "price": [f"{price}.00" for price in prices],
        "description": np.concatenate([runs["title"], programs["title"]]),
        "is_active": rng.random(len(kinds)) < 0.97,
    }
    insert(connection, "ecommerce_product", _stamped(frame, step.start))
    half = np.flatnonzero(rng.random(len(kinds)) < 0.5)
    products = np.asarray(frame["id"])
    add_product_versions(connection, products[half], prices[half] - 25)
    add_product_versions(connection, products, prices)


def add_product_versions(connection: Connection, products: np.ndarray[Any, Any], prices: np.ndarray[Any, Any]) -> None:
    """A new version of each product at these prices (whole US dollars), as django-reversion writes it."""
    ids = next_ids(connection, "reversion_version", len(products))
    data = [
        json.dumps([{"model": "ecommerce.product", "pk": product, "fields": {"price": f"{price}.00", "is_active": True}}])
        for product, price in zip(products.tolist(), prices.tolist(), strict=True)
    ]
    frame: Frame = {
        "id": ids,
        "revision_id": ids,
        "content_type_id": np.full(len(ids), PRODUCT),
        "object_id": [str(product) for product in products.tolist()],
        "db": ["default"] * len(ids),
        "format": ["json"] * len(ids),
        "serialized_data": data,
        "object_repr": [f"#{product} ${price}.00" for product, price in zip(products.tolist(), prices.tolist(), strict=True)],
    }
    insert(connection, "reversion_version", frame)


def _write_discounts(connection: Connection, rng: np.random.Generator, created: np.datetime64) -> None:
    count = 24
    shares = [DISCOUNT_SHARES[i % len(DISCOUNT_SHARES)] for i in range(count)]
    frame: Frame = {
        "id": np.arange(count) + 1,
        "discount_code": [f"WELCOME{share}-{number:02d}" for number, share in enumerate(shares)],
        "discount_type": ["percent-off"] * count,
        "amount": shares,
        "redemption_type": choice(rng, ("unlimited", "one-time"), count),
        "payment_type": choice(rng, ("marketing", "financial-assistance", "staff", None), count),
        "max_redemptions": choice(rng, (None, 500), count),
        "activation_date": choice(rng, (None, created), count),
        "expiration_date": choice(rng, (None, np.datetime64("2027-01-01", "us")), count),
        "automatic": [False] * count,
        "for_flexible_pricing": [share == 50 for share in shares],
    }
    insert(connection, "ecommerce_discount", _stamped(frame, created))
