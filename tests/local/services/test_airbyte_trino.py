"""Trino reads what a sync wrote, and maintains it between two syncs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trino
from airbyte_harness import SCHEMA, Service, Shop

from include.local.platform import Platform

pytestmark = pytest.mark.lake


@pytest.fixture
def ask(lake: Platform) -> Callable[[str], list[list[Any]]]:
    address = lake.trino

    def ask(statement: str) -> list[list[Any]]:
        with trino.dbapi.connect(host=address.host, port=address.port, user="test", catalog=address.catalog, schema=SCHEMA) as connection:
            return list(connection.cursor().execute(statement).fetchall())

    return ask


def test_trino_sees_rows_types_and_branches(shop: Shop, ask: Callable[[str], list[list[Any]]]) -> None:
    shop.sync()
    people = f"{shop.prefix}people"
    assert ask(f"SELECT count(*), count(DISTINCT _airbyte_raw_id), sum(id), min(json_extract_scalar(extra, '$.n')) FROM {people}") == [[300, 300, 45150, "1"]]
    assert ask(f"SELECT count(*) FROM {people} WHERE seen = timestamp '2026-01-01 00:00:07 UTC' AND noted = timestamp '2026-01-01 00:00:07.123456'") == [[1]]
    assert ask(f"SELECT CAST(sum(balance) AS varchar) FROM {people} WHERE active") == [
        [str(shop.source("SELECT sum(round(balance, 9)) FROM people WHERE active")[0][0])]
    ]
    types = dict(row[:2] for row in ask(f"SHOW COLUMNS FROM {people}"))
    assert types == {
        "_airbyte_raw_id": "varchar",
        "_airbyte_extracted_at": "timestamp(6) with time zone",
        "_airbyte_meta": "varchar",
        "_airbyte_generation_id": "bigint",
        **dict.fromkeys(("email", "name", "extra", "tags"), "varchar"),
        **{"id": "bigint", "balance": "decimal(38,9)", "active": "boolean", "born": "date", "score": "double"},
        **{"seen": "timestamp(6) with time zone", "noted": "timestamp(6)", "updated_on": "timestamp(6) with time zone"},
    }
    refs = ask(f'SELECT name, type, snapshot_id FROM "{people}$refs" ORDER BY name')
    assert [row[:2] for row in refs] == [["airbyte_staging", "BRANCH"], ["main", "BRANCH"]]
    assert refs[0][2] == refs[1][2]


def test_main_left_behind_shows_trino_the_old_rows(shop: Shop, ask: Callable[[str], list[list[Any]]], service: Service) -> None:
    shop.sync()
    shop.execute("INSERT INTO events VALUES (201, 'new', '2026-02-01')")
    service.client.faults({"match": {"method": "POST", "path": "/jobs"}, "job": {"main_behind": True}})
    shop.sync()
    assert ask(f"SELECT count(*) FROM {shop.prefix}events") == [[200]]
    assert ask(f"SELECT count(*) FROM {shop.prefix}events FOR VERSION AS OF 'airbyte_staging'") == [[201]]


def test_syncs_go_on_after_trinos_maintenance(shop: Shop, ask: Callable[[str], list[list[Any]]]) -> None:
    shop.sync()
    for day in range(1, 4):
        shop.execute(f"INSERT INTO events SELECT 1000 * {day} + g, 'day', timestamptz '2026-02-0{day}' + g * interval '1 s' FROM generate_series(1, 10) g")
        shop.execute(f"UPDATE people SET name = 'day {day}', updated_on = '2026-02-0{day}' WHERE id <= {day}")
        shop.sync()
    for stream in ("events", "people"):
        table = f"{shop.prefix}{stream}"
        ask(f"ALTER TABLE {table} EXECUTE optimize")
        ask(f"ALTER TABLE {table} EXECUTE expire_snapshots(retention_threshold => '0s')")
        ask(f"ALTER TABLE {table} EXECUTE remove_orphan_files(retention_threshold => '0s')")
    ask(f"DELETE FROM {shop.prefix}people WHERE id = 300")
    shop.execute("INSERT INTO events VALUES (9999, 'last', '2026-03-01'); UPDATE people SET name = 'last', updated_on = '2026-03-01' WHERE id = 7")
    assert shop.sync()["status"] == "succeeded"
    assert ask(f"SELECT count(*), count(DISTINCT id) FROM {shop.prefix}events") == [[231, 231]]
    assert ask(f"SELECT count(*), count(DISTINCT id), max(id) FROM {shop.prefix}people") == [[299, 299, 299]]
    assert ask(f"SELECT name FROM {shop.prefix}people WHERE id IN (1, 2, 3, 7) ORDER BY id") == [["day 3"], ["day 3"], ["day 3"], ["last"]]
