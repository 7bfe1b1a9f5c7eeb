"""The totals of a handful of rows, written out by hand, and their agreement with a plain count over generated ones."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import psycopg
import pytest

from include.local.data.generate import SCHEMAS, generate
from include.local.data.names import DATABASES, MITXONLINE, MITXPRO, OPENEDX
from include.local.data.totals import EnrollmentTotals, OrganizationTotals, RevenueTotals, as_row, enrollment_totals, organization_totals, revenue_totals
from tests.local.data.conftest import SCALE, SEED
from tests.local.data.databases import drop, query, session

RUN = "course-v1:MITxT+14.310x+1T2026"
CLOSED = "course-v1:MITxT+14.310x+HARBOR_1T2026"
T = "'2026-01-01', '2026-01-01'"

# Run 1 is open and sold, run 2 belongs to a contract, run 3 has no enrolment. Users 1 and 2 are learners, 3 has no address, 4 no account at Open edX.
APPLICATION = f"""
    INSERT INTO users_user (id, username, email, name, is_staff, is_superuser, is_active, created_on, updated_on) VALUES
        (1, 'ada', 'Ada@Example.com ', '', false, false, true, {T}), (2, 'bo', 'bo@example.com', '', false, false, false, {T}),
        (3, 'cy', ' ', '', false, false, true, {T}), (4, 'di', 'di@example.com', '', false, false, true, {T});
    INSERT INTO openedx_openedxuser VALUES (1, 1, 'edx', 'ada_x', true, false, {T}), (2, 2, 'edx', 'bo', true, false, {T}),
        (3, 3, 'edx', 'cy', true, false, {T}), (4, 4, 'edx', NULL, false, true, {T});
    INSERT INTO b2b_organizationpage VALUES (10, 'Harborlight', 'HARBOR', '', NULL);
    INSERT INTO b2b_contractpage VALUES (20, 10, 'Old', '', 'sso', 'managed', NULL, NULL, false, NULL, NULL);
    INSERT INTO courses_course VALUES (1, 'Data', 'course-v1:MITxT+14.310x', true, {T});
    INSERT INTO courses_courserun (id, course_id, title, courseware_id, run_tag, is_self_paced, live, b2b_contract_id, created_on, updated_on) VALUES
        (1, 1, 'Data', '{RUN}', '1T2026', false, true, NULL, {T}), (2, 1, 'Data', '{CLOSED}', 'HARBOR_1T2026', false, true, 20, {T}),
        (3, 1, 'Data', 'course-v1:MITxT+14.310x+1T2027', '1T2027', false, false, NULL, {T});
    INSERT INTO courses_courserunenrollment (id, user_id, run_id, active, change_status, enrollment_mode, edx_enrolled, edx_emails_subscription,
                                             created_on, updated_on) VALUES
        (1, 1, 1, true, NULL, 'verified', true, true, {T}), (2, 2, 1, false, 'refunded', 'verified', false, true, {T}),
        (3, 3, 1, true, NULL, 'audit', true, true, {T}), (4, 1, 2, true, NULL, 'verified', true, true, {T}),
        (5, 2, 2, false, 'unenrolled', 'verified', false, true, {T}), (6, 3, 2, true, NULL, 'verified', true, true, {T}),
        (7, 4, 2, true, NULL, 'verified', false, true, {T});
    INSERT INTO courses_courserungrade VALUES (1, 1, 1, 0.9, 'A', true, false, {T}), (2, 2, 1, 0.7, 'C', true, false, {T}),
        (3, 3, 1, 0.1, NULL, false, false, {T});
    INSERT INTO courses_courseruncertificate VALUES (1, gen_random_uuid(), 1, 1, true, NULL, {T}), (2, gen_random_uuid(), 1, 1, false, NULL, {T}),
        (3, gen_random_uuid(), 1, 1, false, NULL, {T}), (4, gen_random_uuid(), 2, 1, true, NULL, {T}), (5, gen_random_uuid(), 2, 2, false, NULL, {T});
    INSERT INTO django_content_type VALUES (7, 'courses', 'courserun'), (8, 'courses', 'program'), (9, 'ecommerce', 'product');
    INSERT INTO reversion_version VALUES (1, 1, 9, '1', 'default', 'json', '[]', '');
    INSERT INTO ecommerce_order VALUES (1, 1, 'fulfilled', 100, '', {T}), (2, 2, 'refunded', 90.5, '', {T}), (3, 3, 'partially_refunded', 80, '', {T}),
        (4, 4, 'fulfilled', 0, '', {T}), (5, 1, 'pending', 100, '', {T}), (6, 1, 'fulfilled', 600, '', {T}), (7, 1, 'declined', 100, '', {T});
    INSERT INTO ecommerce_line (id, order_id, product_version_id, purchased_content_type_id, purchased_object_id, quantity, created_on, updated_on)
        SELECT id, id, 1, CASE id WHEN 6 THEN 8 ELSE 7 END, 1, 1, {T} FROM ecommerce_order;
    INSERT INTO ecommerce_transaction VALUES (1, 1, '', 'payment', 100, '{{}}', '', {T}), (2, 2, '', 'payment', 90.5, '{{}}', '', {T}),
        (3, 2, '', 'refund', 90.5, '{{}}', '', {T}), (4, 3, '', 'payment', 80, '{{}}', '', {T}), (5, 3, '', 'refund', 30.25, '{{}}', '', {T}),
        (6, 6, '', 'payment', 600, '{{}}', '', {T});
"""
EDX = """
    INSERT INTO auth_user (id, username, email, first_name, last_name, is_staff, is_active, is_superuser, date_joined)
        SELECT n + 50, name, '', '', '', false, true, false, '2026-01-01' FROM (VALUES (1, 'ada_x'), (2, 'bo'), (3, 'cy')) AS v (n, name);
    INSERT INTO courseware_studentmodule (id, module_type, module_id, student_id, course_id, done, created, modified)
        VALUES (1, 'problem', 'a', 51, '%(closed)s', 'na', '2026-01-01', '2026-01-01'), (2, 'problem', 'b', 51, '%(closed)s', 'na', '2026-01-01', '2026-01-01'),
               (3, 'problem', 'c', 52, '%(open)s', 'na', '2026-01-01', '2026-01-01');
"""
XPRO = f"""
    INSERT INTO users_user (id, username, email, name, is_staff, is_superuser, is_active, created_on, updated_on)
        VALUES (1, 'ada', 'ADA@example.com', '', false, false, true, {T}), (2, 'ed', 'ed@example.com', '', false, false, true, {T});
    INSERT INTO courses_platform VALUES (1, 'xPRO', {T});
    INSERT INTO courses_course VALUES (1, NULL, 1, NULL, 'Data', 'course-v1:MITxT+14.310x', false, true, {T});
    INSERT INTO courses_courserun (id, course_id, title, courseware_id, run_tag, live, created_on, updated_on)
        VALUES (5, 1, 'Data', '{RUN}', '1T2026', true, {T}), (6, 1, 'Data', NULL, 'R1', false, {T});
    INSERT INTO django_content_type VALUES (3, 'courses', 'courserun'), (4, 'courses', 'program');
    INSERT INTO ecommerce_product VALUES (1, 3, 5, true, false, true, {T}), (2, 4, 5, true, false, true, {T}), (3, 3, 6, true, false, true, {T});
    INSERT INTO ecommerce_productversion VALUES (1, 1, 500, '', '', {T}), (2, 2, 900, '', '', {T}), (3, 3, 10, '', '', {T}), (4, 1, 550, '', '', {T});
    INSERT INTO ecommerce_order VALUES (1, 1, 'fulfilled', 500, {T}), (2, 2, 'refunded', 275.50, {T}), (3, 2, 'created', 550, {T}),
        (4, 1, 'fulfilled', 900, {T}), (5, 1, 'fulfilled', 10, {T}), (6, 1, 'failed', 500, {T});
    INSERT INTO ecommerce_line VALUES (1, 1, 1, 1, {T}), (2, 2, 4, 1, {T}), (3, 3, 4, 1, {T}), (4, 4, 2, 1, {T}), (5, 5, 3, 1, {T}), (6, 6, 1, 1, {T});
    INSERT INTO b2b_ecommerce_b2border VALUES (1, 1, NULL, gen_random_uuid(), 'fulfilled', 9, 500, 4500, '', NULL, {T});
    INSERT INTO courses_courserunenrollment VALUES (1, 1, 5, 1, true, NULL, true, {T}), (2, 2, 5, 2, false, 'refunded', false, {T}),
        (3, 1, 6, NULL, true, NULL, true, {T});
    INSERT INTO courses_courserungrade VALUES (1, 1, 5, 1, 'A', true, false, {T});
    INSERT INTO courses_courseruncertificate VALUES (1, gen_random_uuid(), 1, 5, false, {T}), (2, gen_random_uuid(), 1, 6, false, {T});
"""


@pytest.fixture
def by_hand(server: str) -> str:
    """The three databases with the rows above."""
    drop(server)
    rows = {MITXONLINE: APPLICATION, OPENEDX: EDX % {"closed": CLOSED, "open": RUN}, MITXPRO: XPRO}
    with psycopg.connect(server, autocommit=True) as connection:
        for database in DATABASES:
            connection.execute(f"CREATE DATABASE {database}")
    for database in DATABASES:
        with session(server, database) as connection:
            connection.execute((SCHEMAS / f"{database}.sql").read_text())
            connection.execute(rows[database])
    return server


def test_enrollments_by_hand(by_hand):
    assert enrollment_totals(by_hand) == (
        EnrollmentTotals("mitxonline", RUN, 3, 2, 1, 1, 2),
        EnrollmentTotals("mitxonline", CLOSED, 4, 3, 3, 1, 0),
        EnrollmentTotals("xpro", RUN, 2, 1, 1, 1, 1),
    )


def test_revenue_by_hand(by_hand):
    assert revenue_totals(by_hand) == (
        RevenueTotals("mitxonline", RUN, 4, 3, 2, Decimal("270.5"), Decimal("120.75"), Decimal("149.75")),
        RevenueTotals("xpro", RUN, 2, 1, 1, Decimal("775.50"), Decimal("275.50"), Decimal("500.00")),
    )


def test_organizations_by_hand(by_hand):
    assert organization_totals(by_hand) == (
        OrganizationTotals("HARBOR", CLOSED, "ada@example.com", 1, 0, 1),
        OrganizationTotals("HARBOR", CLOSED, "bo@example.com", 1, 1, 0),
        OrganizationTotals("HARBOR", CLOSED, "di@example.com", 1, 0, 0),
    )


def test_totals_of_generated_rows_agree_with_whole_table_counts(day_one):
    enrollments, revenue, organizations = enrollment_totals(day_one), revenue_totals(day_one), organization_totals(day_one)
    for platform, database in (("mitxonline", MITXONLINE), ("xpro", MITXPRO)):
        rows = query(day_one, database, "SELECT courseware_id, active FROM courses_courserunenrollment e JOIN courses_courserun r ON r.id = e.run_id")
        counted = Counter(run for run, _ in rows)
        assert {row.courserun_readable_id: row.enrollment_count for row in enrollments if row.platform == platform} == counted
        assert sum(row.active_count for row in enrollments if row.platform == platform) == sum(active for _, active in rows)
    paid = query(day_one, MITXONLINE, "SELECT sum(CASE transaction_type WHEN 'payment' THEN amount ELSE -amount END) FROM ecommerce_transaction")[0][0]
    programs = query(
        day_one,
        MITXONLINE,
        """SELECT sum(amount) FROM ecommerce_transaction t JOIN ecommerce_line l ON l.order_id = t.order_id AND l.purchased_content_type_id = 2""",
    )[0][0]
    assert sum(row.net_amount for row in revenue if row.platform == "mitxonline") == paid - programs > 0
    assert {row.organization_key for row in organizations} == {"HARBOR", "VELLUM"}
    assert 0 < sum(row.certificate_count for row in organizations) < sum(row.enrolled_count for row in organizations)
    assert 0 < sum(row.active_count for row in organizations) < sum(row.enrolled_count for row in organizations)


def test_a_day_moves_every_total(day_zero):
    before = [enrollment_totals(day_zero), revenue_totals(day_zero), organization_totals(day_zero)]
    generate(day_zero, scale=SCALE, seed=SEED, day=1)
    after = [enrollment_totals(day_zero), revenue_totals(day_zero), organization_totals(day_zero)]
    for old, new in zip(before, after, strict=True):
        assert old != new
        assert not {as_row(row)[:2] for row in old} - {as_row(row)[:2] for row in new}  # no run or organisation disappears
    assert sum(row.refunded_amount for row in after[1]) > sum(row.refunded_amount for row in before[1])
