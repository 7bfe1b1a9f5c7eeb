"""The generator's promises: equal seeds give equal rows, days are all or nothing, references hold, the streams' contracts fit."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from include.config.vocabulary import SyncMode
from include.local.data.__main__ import main
from include.local.data.generate import GeneratorError, advance, generate, read_state
from include.local.data.names import DATABASES, MITXONLINE, MITXPRO, OPENEDX
from include.local.data.steps import EPOCH
from tests.local.data.conftest import SCALE, SEED
from tests.local.data.databases import checksums, columns, drop, query, restore, saved_rows, unit

DAY_ONE = EPOCH.astype(datetime).replace(tzinfo=UTC) + timedelta(days=1)


# --- equal seeds ---------------------------------------------------------------------------------


def test_equal_seeds_give_equal_rows_by_whatever_steps_the_day_is_reached(server, histories):
    drop(server)
    generate(server, scale=SCALE, seed=SEED, day=1)
    assert checksums(server) == histories[1]


def test_another_seed_gives_other_rows(server, histories):
    drop(server)
    generate(server, scale=0.02, seed=SEED + 1, day=0)
    other = checksums(server)
    drop(server)
    generate(server, scale=0.02, seed=SEED + 2, day=0)
    assert all(other[database] != checksum for database, checksum in checksums(server).items())


def test_the_present_day_asked_for_again_changes_nothing(day_one, histories):
    generate(day_one, scale=SCALE, seed=SEED, day=1)
    assert checksums(day_one) == histories[1]


def test_ten_days_one_after_the_other(server, histories):
    drop(server)
    generate(server, scale=0.01, seed=3, day=10)
    assert {read_state(server, database).day for database in DATABASES} == {10}
    assert not broken_references(server)


def test_advance_is_the_next_day(day_zero, histories):
    advance(day_zero)
    assert checksums(day_zero) == histories[1]


# --- what a day does -----------------------------------------------------------------------------


@pytest.mark.parametrize("database", DATABASES)
def test_a_day_adds_changes_and_deletes_a_little(server, histories, database):
    before, after = (saved_rows(server, day, database) for day in (0, 1))
    total = sum(len(rows) for rows in before.values())
    new = sum(len(after[table].keys() - before[table].keys()) for table in before)
    gone = sum(len(before[table].keys() - after[table].keys()) for table in before)
    changed = sum(before[table][key] != after[table][key] for table in before for key in before[table].keys() & after[table].keys())
    assert 0 < new < total * 0.05
    assert 0 < changed < total * 0.05
    assert 0 < gone < total * 0.01


@pytest.mark.parametrize("database", DATABASES)
def test_incremental_streams_show_every_change_at_their_cursor(server, histories, database):
    before, after = saved_rows(server, 0, database), saved_rows(server, 1, database)
    seen = 0
    for stream in unit(database).streams:
        if not stream.sync_mode.incremental:
            continue
        old, new = before[stream.name], after[stream.name]
        assert not old.keys() - new.keys(), f"{stream.name}: rows deleted, which {stream.sync_mode.value} never sees"
        place = stream.columns.index(stream.cursor)
        reached = max(row[place] for row in old.values())
        for key in new:
            if old.get(key) != new[key]:
                seen += 1
                cursor = new[key][place]
                assert cursor > reached, f"{stream.name} {key}: {stream.cursor} = {cursor}, not after {reached}"
                if isinstance(cursor, datetime):
                    assert DAY_ONE <= cursor.replace(tzinfo=UTC) < DAY_ONE + timedelta(days=1)
    assert seen > 0


def test_rows_are_deleted_where_only_a_full_refresh_sees_it(server, histories):
    gone = set()
    for database in DATABASES:
        before, after = saved_rows(server, 0, database), saved_rows(server, 1, database)
        tables = {table for table in before if before[table].keys() - after[table].keys()}
        modes = {stream.name: stream.sync_mode for stream in unit(database).streams}
        assert all(modes[table] is SyncMode.FULL_REFRESH_OVERWRITE for table in tables)
        gone |= {(database, table) for table in tables}
    assert {(MITXONLINE, "courses_courserun"), (MITXONLINE, "b2b_userorganization"), (OPENEDX, "student_courseaccessrole")} <= gone


def test_course_runs_change_so_that_their_history_has_versions(server, histories):
    names = unit(MITXONLINE).streams[[stream.name for stream in unit(MITXONLINE).streams].index("courses_courserun")].columns
    before, after = (saved_rows(server, day, MITXONLINE)["courses_courserun"] for day in (0, 1))
    changed = {name for key in before.keys() & after.keys() for name, old, new in zip(names, before[key], after[key], strict=True) if old != new}
    assert {"title", "end_date", "updated_on"} <= changed


# --- contracts and references --------------------------------------------------------------------


@pytest.mark.parametrize("database", DATABASES)
def test_streams_are_the_tables_and_their_columns(day_zero, database):
    tables = columns(day_zero, database)
    del tables["generator_state"]
    assert {stream.name: stream.columns for stream in unit(database).streams} == tables


def broken_references(dsn: str) -> list[str]:
    """Rows that point at nothing. The first load does not check foreign keys, so this does."""
    broken = []
    text = """SELECT c.conrelid::regclass::text, a.attname, c.confrelid::regclass::text, f.attname FROM pg_constraint c
              JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
              JOIN pg_attribute f ON f.attrelid = c.confrelid AND f.attnum = c.confkey[1]
              WHERE c.contype = 'f'"""
    for database in DATABASES:
        keys = query(dsn, database, text)
        assert len(keys) >= 5
        for table, column, target, key in keys:
            missing = query(
                dsn, database, f"SELECT count(*) FROM {table} t WHERE {column} IS NOT NULL AND NOT EXISTS (SELECT FROM {target} WHERE {key} = t.{column})"
            )
            if missing[0][0]:
                broken.append(f"{database}: {missing[0][0]} rows of {table}.{column} name no {target}")
    return broken


@pytest.mark.parametrize("day", [0, 1])
def test_every_reference_holds(server, histories, day, request):
    request.getfixturevalue("day_zero" if day == 0 else "day_one")
    assert not broken_references(server)


@pytest.mark.parametrize(
    ("database", "violations"),
    [
        (MITXONLINE, "SELECT o.id FROM ecommerce_order o LEFT JOIN ecommerce_line l ON l.order_id = o.id GROUP BY o.id HAVING count(l.id) <> 1"),
        (MITXPRO, "SELECT o.id FROM ecommerce_order o LEFT JOIN ecommerce_line l ON l.order_id = o.id GROUP BY o.id HAVING count(l.id) <> 1"),
        (MITXONLINE, "SELECT lower(trim(email)) FROM users_user WHERE email <> '' GROUP BY 1 HAVING count(*) > 1"),
        (MITXPRO, "SELECT lower(trim(email)) FROM users_user WHERE email <> '' GROUP BY 1 HAVING count(*) > 1"),
        (MITXONLINE, "SELECT e.id FROM courses_courserunenrollment e JOIN users_user u ON u.id = e.user_id WHERE e.created_on < u.created_on"),
        (MITXONLINE, "SELECT e.id FROM courses_courserunenrollment e JOIN courses_courserun r ON r.id = e.run_id WHERE e.created_on < r.enrollment_start"),
        (MITXONLINE, "SELECT id FROM ecommerce_order WHERE updated_on < created_on"),
        (MITXONLINE, "SELECT id FROM ecommerce_transaction WHERE amount <= 0"),
        (
            MITXONLINE,
            """SELECT o.id FROM ecommerce_order o LEFT JOIN ecommerce_transaction t ON t.order_id = o.id AND t.transaction_type = 'payment'
               WHERE (o.state IN ('fulfilled', 'refunded', 'partially_refunded') AND o.total_price_paid <> coalesce(t.amount, 0))
               OR (o.state IN ('pending', 'canceled', 'declined', 'errored') AND t.id IS NOT NULL)""",
        ),
        (
            MITXONLINE,
            """SELECT c.id FROM courses_courseruncertificate c WHERE NOT EXISTS
               (SELECT FROM courses_courserunenrollment e WHERE e.user_id = c.user_id AND e.run_id = c.course_run_id)""",
        ),
        (OPENEDX, "SELECT id FROM student_courseenrollment WHERE course_id NOT IN (SELECT id FROM course_overviews_courseoverview)"),
        (OPENEDX, "SELECT id FROM courseware_studentmodule WHERE modified < created"),
    ],
)
def test_rows_agree_with_each_other(day_one, database, violations):
    assert query(day_one, database, violations) == []


def test_open_edx_knows_the_runs_and_accounts_of_the_application(day_one):
    runs = {row[0] for row in query(day_one, MITXONLINE, "SELECT courseware_id FROM courses_courserun")}
    assert {row[0] for row in query(day_one, OPENEDX, "SELECT id FROM course_overviews_courseoverview")} == runs
    names = {row[0] for row in query(day_one, MITXONLINE, "SELECT edx_username FROM openedx_openedxuser WHERE edx_username IS NOT NULL")}
    assert {row[0] for row in query(day_one, OPENEDX, "SELECT username FROM auth_user")} == names


# --- awkward values ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("database", "cases"),
    [
        (MITXONLINE, "SELECT 1 FROM users_user WHERE email <> lower(email)"),
        (MITXONLINE, "SELECT 1 FROM users_user WHERE email LIKE '% '"),
        (MITXONLINE, "SELECT 1 FROM users_user WHERE email = ''"),
        (MITXONLINE, "SELECT 1 FROM users_user WHERE name <> trim(name)"),
        (MITXONLINE, "SELECT 1 FROM users_user WHERE octet_length(name) > length(name)"),
        (MITXONLINE, "SELECT 1 FROM users_userprofile WHERE year_of_birth IS NULL"),
        (MITXONLINE, "SELECT 1 FROM openedx_openedxuser WHERE edx_username IS NULL"),
        (MITXONLINE, "SELECT 1 FROM users_user u WHERE NOT EXISTS (SELECT FROM openedx_openedxuser x WHERE x.user_id = u.id)"),
        (MITXONLINE, "SELECT 1 FROM courses_courserun WHERE start_date IS NULL"),
        (MITXONLINE, "SELECT 1 FROM courses_courserunenrollment WHERE active AND updated_on > created_on"),
        (MITXONLINE, "SELECT 1 FROM courses_courseruncertificate GROUP BY user_id, course_run_id HAVING count(*) > 1 AND bool_or(is_revoked)"),
        (MITXONLINE, "SELECT 1 FROM ecommerce_order WHERE state = 'refunded'"),
        (MITXONLINE, "SELECT 1 FROM ecommerce_order WHERE state = 'fulfilled' AND total_price_paid = 0"),
        (MITXONLINE, "SELECT 1 FROM ecommerce_line WHERE purchased_content_type_id = 2"),
        (MITXONLINE, "SELECT 1 FROM b2b_contractpage WHERE NOT active OR contract_end IS NULL"),
        (MITXPRO, "SELECT 1 FROM courses_courserun WHERE courseware_id IS NULL"),
        (MITXPRO, "SELECT 1 FROM ecommerce_order WHERE status = 'refunded'"),
    ],
)
def test_awkward_values_are_there(day_one, database, cases):
    assert query(day_one, database, cases)


def test_platforms_share_run_ids_and_some_learners_with_other_letter_case(day_zero):
    runs = [{row[0] for row in query(day_zero, database, "SELECT courseware_id FROM courses_courserun")} for database in (MITXONLINE, MITXPRO)]
    assert "course-v1:MITxT+14.310x+1T2026" in runs[0] & runs[1]
    assert runs[1] - runs[0]
    text = "SELECT email FROM users_user WHERE email <> ''"
    here, there = ([row[0] for row in query(day_zero, database, text)] for database in (MITXONLINE, MITXPRO))
    plain = {email.strip().lower() for email in here}
    shared = [email for email in there if email.strip().lower() in plain]
    assert 0.15 * len(there) < len(shared) < 0.45 * len(there)
    assert len([email for email in shared if email not in here]) > len(shared) / 3


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"seed": 8}, "found seed 7, scale 0.05; asked for seed 8"),
        ({"scale": 0.1}, "scale 0.1; drop it first"),
        ({"day": 0}, "found day 1; asked for day 0"),
        ({"day": -1}, "day and seed: found -1"),
        ({"scale": 0}, "scale: found 0"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(day_one, histories, asked, said):
    with pytest.raises(GeneratorError, match=said):
        generate(day_one, **{"scale": SCALE, "seed": SEED, "day": 1, **asked})
    assert checksums(day_one) == histories[1]


def test_the_command_prints_rows_per_table_and_ends_with_1_when_refused(day_zero, capsys):
    assert main(["--dsn", day_zero, "--scale", str(SCALE), "--seed", str(SEED), "--day", "1"]) == 0
    printed = capsys.readouterr().out
    rows = query(day_zero, MITXONLINE, "SELECT count(*) FROM users_user")[0][0]
    assert f"  {'users_user':<36}{rows:>10,}\n" in printed
    assert main(["--dsn", day_zero, "--scale", str(SCALE), "--seed", str(SEED), "--day", "0"]) == 1
    assert "found day 1" in capsys.readouterr().err


# --- kills ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("database", DATABASES)
@pytest.mark.parametrize("attempt", range(2))
def test_a_killed_run_leaves_whole_days_and_the_next_run_finishes(day_zero, histories, database, attempt):
    dsn = day_zero
    command = [sys.executable, "-m", "include.local.data", "--dsn", dsn, "--scale", str(SCALE), "--seed", str(SEED), "--day", "1"]
    for _ in range(20):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            if _seen_writing(dsn, database, process):
                time.sleep(random.Random(f"{database}{attempt}").uniform(0, 0.1))
                break
        finally:
            process.kill()
            process.wait()
        restore(dsn, "day0")  # it was over before anybody looked
    else:
        raise AssertionError(f"no run was seen writing to {database}")
    _wait_until_quiet(dsn)
    left = checksums(dsn)
    assert all(left[name] in (histories[0][name], histories[1][name]) for name in DATABASES)
    finished = [left[name] == histories[1][name] for name in DATABASES]
    assert finished == sorted(finished, reverse=True), "a database is ahead of one that is written before it"
    generate(dsn, scale=SCALE, seed=SEED, day=1)
    assert checksums(dsn) == histories[1]


def _seen_writing(dsn: str, database: str, process: subprocess.Popen) -> bool:
    with psycopg.connect(dsn, autocommit=True) as connection:
        while process.poll() is None:
            if connection.execute("SELECT 1 FROM pg_stat_activity WHERE datname = %s AND backend_xid IS NOT NULL", (database,)).fetchone():
                return True
            time.sleep(0.002)
    return False


def _wait_until_quiet(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for _ in range(15_000):
            if not connection.execute("SELECT 1 FROM pg_stat_activity WHERE datname = ANY(%s)", (list(DATABASES),)).fetchone():
                return
            time.sleep(0.02)
    raise AssertionError("sessions of the killed run are still there after five minutes")
