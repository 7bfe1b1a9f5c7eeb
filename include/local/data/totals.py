"""Totals of three reports, computed from the source databases alone.

This module is the other side of a check: the reporting models of the dbt project must give the same rows. It therefore shares nothing with
them, neither SQL nor names of intermediate steps; both sides share only the definitions, which are written here, at each dataclass.

Common to all three: ``platform`` is ``mitxonline`` or ``xpro``. ``courserun_readable_id`` is ``courses_courserun.courseware_id``, unique only together
with the platform. Runs whose ``courseware_id`` is null have no row. A run that no longer exists in the source has no row.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, fields
from decimal import Decimal
from typing import Any, LiteralString

import psycopg

from include.local.data.names import MITXONLINE, MITXPRO, OPENEDX


@dataclass(frozen=True, order=True)
class EnrollmentTotals:
    """One row of ``enrollment_summary_report``; grain: platform, courserun_readable_id; one row for every run with at least one enrolment row.

    - ``enrollment_count``: rows of ``courses_courserunenrollment`` of the run, active or not (the table has one row per user and run).
    - ``active_count``: of these, the ones with ``active``.
    - ``verified_count``: of the active ones, those whose ``enrollment_mode`` is ``verified``; at xPRO, which has no modes, all active ones.
    - ``certificate_count``: distinct users with at least one row in ``courses_courseruncertificate`` of the run with ``is_revoked`` false.
    - ``passed_count``: distinct users with a row in ``courses_courserungrade`` of the run with ``passed`` true.

    Certificates and grades count whether or not their user's enrolment is still active.
    """

    platform: str
    courserun_readable_id: str
    enrollment_count: int
    active_count: int
    verified_count: int
    certificate_count: int
    passed_count: int


@dataclass(frozen=True, order=True)
class RevenueTotals:
    """One row of ``revenue_summary_report``; grain: platform, courserun_readable_id; one row for every run with at least one order that was ever paid.

    An order belongs to the run that its only line bought: at MITx Online ``ecommerce_line.purchased_object_id`` where the purchased content type is
    (``courses``, ``courserun``); at xPRO ``ecommerce_product.object_id`` of the line's product version where the product's content type is that.
    Orders of programs belong to no run and are left out; so are xPRO's bulk orders (``b2b_ecommerce_b2border``). *Ever paid* is
    ``state`` in (``fulfilled``, ``partially_refunded``, ``refunded``) at MITx Online and ``status`` in (``fulfilled``, ``refunded``) at xPRO.

    - ``order_count``: orders ever paid, free ones included.
    - ``fulfilled_order_count``: of these, the ones in ``fulfilled`` or ``partially_refunded``.
    - ``refunded_order_count``: of these, the ones in ``refunded`` or ``partially_refunded``.
    - ``gross_paid_amount``: US dollars paid for orders ever paid. MITx Online: the sum of ``ecommerce_transaction.amount`` with type ``payment``
      (0 when there is none). xPRO: the sum of ``total_price_paid``.
    - ``refunded_amount``: US dollars given back, positive. MITx Online: the sum of ``amount`` with type ``refund``. xPRO: the sum of
      ``total_price_paid`` over orders in ``refunded``.
    - ``net_amount``: ``gross_paid_amount - refunded_amount``.
    """

    platform: str
    courserun_readable_id: str
    order_count: int
    fulfilled_order_count: int
    refunded_order_count: int
    gross_paid_amount: Decimal
    refunded_amount: Decimal
    net_amount: Decimal


@dataclass(frozen=True, order=True)
class OrganizationTotals:
    """One row of ``organization_administration_report``; grain: organization_key, courserun_readable_id, user_email. MITx Online only.

    Rows come from the rows of ``courses_courserunenrollment`` (active or not) in runs whose ``b2b_contract_id`` is set. ``organization_key`` is
    ``b2b_organizationpage.org_key`` of the contract's organisation; contracts count whether active or not. ``user_email`` is ``users_user.email``
    without leading and trailing blanks, in lower case; enrolments of users whose address is then empty are left out.
    The counts add up the enrolments of one address (there is one unless two accounts share it):

    - ``enrolled_count``: the enrolments.
    - ``certificate_count``: enrolments whose user has at least one row in ``courses_courseruncertificate`` of the run with ``is_revoked`` false.
    - ``active_count``: enrolments whose user did anything in the run at Open edX: at least one row in ``courseware_studentmodule`` with the run's
      ``course_id``, by the ``student_id`` of the ``auth_user`` whose ``username`` equals the user's ``openedx_openedxuser.edx_username``
      (``platform`` = ``edx``).
    """

    organization_key: str
    courserun_readable_id: str
    user_email: str
    enrolled_count: int
    certificate_count: int
    active_count: int


_ENROLLMENTS: dict[str, LiteralString] = {
    "mitxonline": """
        SELECT run.courseware_id, count(*), count(*) FILTER (WHERE e.active), count(*) FILTER (WHERE e.active AND e.enrollment_mode = 'verified'), {tail}""",
    "xpro": """
        SELECT run.courseware_id, count(*), count(*) FILTER (WHERE e.active), count(*) FILTER (WHERE e.active), {tail}""",
}
_ENROLLMENTS_TAIL: LiteralString = """
    (SELECT count(DISTINCT c.user_id) FROM courses_courseruncertificate c WHERE c.course_run_id = run.id AND NOT c.is_revoked),
    (SELECT count(DISTINCT g.user_id) FROM courses_courserungrade g WHERE g.course_run_id = run.id AND g.passed)
    FROM courses_courserun run JOIN courses_courserunenrollment e ON e.run_id = run.id
    WHERE run.courseware_id IS NOT NULL GROUP BY run.id, run.courseware_id"""

_REVENUE: dict[str, LiteralString] = {
    "mitxonline": """
        SELECT run.courseware_id, count(*), count(*) FILTER (WHERE o.state <> 'refunded'), count(*) FILTER (WHERE o.state <> 'fulfilled'),
               sum(coalesce(t.paid, 0)), sum(coalesce(t.refunded, 0))
        FROM ecommerce_order o
        JOIN ecommerce_line l ON l.order_id = o.id
        JOIN django_content_type ct ON ct.id = l.purchased_content_type_id AND ct.app_label = 'courses' AND ct.model = 'courserun'
        JOIN courses_courserun run ON run.id = l.purchased_object_id AND run.courseware_id IS NOT NULL
        LEFT JOIN (SELECT order_id, sum(amount) FILTER (WHERE transaction_type = 'payment') AS paid,
                          sum(amount) FILTER (WHERE transaction_type = 'refund') AS refunded
                   FROM ecommerce_transaction GROUP BY order_id) t ON t.order_id = o.id
        WHERE o.state IN ('fulfilled', 'partially_refunded', 'refunded')
        GROUP BY run.courseware_id""",
    "xpro": """
        SELECT run.courseware_id, count(*), count(*) FILTER (WHERE o.status = 'fulfilled'), count(*) FILTER (WHERE o.status = 'refunded'),
               sum(o.total_price_paid), coalesce(sum(o.total_price_paid) FILTER (WHERE o.status = 'refunded'), 0)
        FROM ecommerce_order o
        JOIN ecommerce_line l ON l.order_id = o.id
        JOIN ecommerce_productversion v ON v.id = l.product_version_id
        JOIN ecommerce_product p ON p.id = v.product_id
        JOIN django_content_type ct ON ct.id = p.content_type_id AND ct.app_label = 'courses' AND ct.model = 'courserun'
        JOIN courses_courserun run ON run.id = p.object_id AND run.courseware_id IS NOT NULL
        WHERE o.status IN ('fulfilled', 'refunded')
        GROUP BY run.courseware_id""",
}

_CONTRACT_ENROLLMENTS: LiteralString = """
    SELECT o.org_key, run.courseware_id, u.email,
           EXISTS (SELECT FROM courses_courseruncertificate c WHERE c.user_id = u.id AND c.course_run_id = run.id AND NOT c.is_revoked),
           (SELECT x.edx_username FROM openedx_openedxuser x WHERE x.user_id = u.id AND x.platform = 'edx')
    FROM courses_courserunenrollment e
    JOIN courses_courserun run ON run.id = e.run_id
    JOIN b2b_contractpage k ON k.page_ptr_id = run.b2b_contract_id
    JOIN b2b_organizationpage o ON o.page_ptr_id = k.organization_id
    JOIN users_user u ON u.id = e.user_id"""

_LEARNERS_SEEN: LiteralString = """
    SELECT DISTINCT u.username, m.course_id FROM courseware_studentmodule m JOIN auth_user u ON u.id = m.student_id WHERE m.course_id = ANY(%s)"""


def _rows(dsn: str, database: str, query: LiteralString, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, dbname=database) as connection:
        return connection.execute(query, parameters or None).fetchall()


def _databases() -> Iterable[tuple[str, str]]:
    return (("mitxonline", MITXONLINE), ("xpro", MITXPRO))


def enrollment_totals(dsn: str) -> tuple[EnrollmentTotals, ...]:
    """The enrolment report, sorted by platform and run. ``dsn`` is the server's address; the database names are the units'."""
    found = [
        EnrollmentTotals(platform, *row)
        for platform, database in _databases()
        for row in _rows(dsn, database, _ENROLLMENTS[platform].replace("{tail}", _ENROLLMENTS_TAIL))
    ]
    return tuple(sorted(found))


def revenue_totals(dsn: str) -> tuple[RevenueTotals, ...]:
    """The revenue report, sorted by platform and run; amounts in US dollars. ``dsn`` as for :func:`enrollment_totals`."""
    found = []
    for platform, database in _databases():
        for run, orders, fulfilled, refunds, paid, refunded in _rows(dsn, database, _REVENUE[platform]):
            found.append(RevenueTotals(platform, run, orders, fulfilled, refunds, paid, refunded, paid - refunded))
    return tuple(sorted(found))


def organization_totals(dsn: str) -> tuple[OrganizationTotals, ...]:
    """The organisations' report, sorted by organisation, run and address. ``dsn`` as for :func:`enrollment_totals`."""
    enrollments = _rows(dsn, MITXONLINE, _CONTRACT_ENROLLMENTS)
    runs = sorted({row[1] for row in enrollments if row[1] is not None})
    seen = set(_rows(dsn, OPENEDX, _LEARNERS_SEEN, (runs,)))
    counts: dict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for organization, run, email, certified, edx_username in enrollments:
        address = email.strip(" ").lower()
        if run is None or not address:
            continue
        count = counts[organization, run, address]
        count[0] += 1
        count[1] += certified
        count[2] += (edx_username, run) in seen
    return tuple(sorted(OrganizationTotals(*key, *count) for key, count in counts.items()))


def as_row(total: EnrollmentTotals | RevenueTotals | OrganizationTotals) -> tuple[Any, ...]:
    """A total as a plain tuple, in the order of its fields: what a query on the report's table gives for the same columns."""
    return tuple(getattr(total, field.name) for field in fields(total))
