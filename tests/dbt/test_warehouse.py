"""The whole project on a real Trino: raw tables from the generator's databases, builds of two days, reports against independent totals.

The models live in schemas of their own (``ol_warehouse_dbt_tests_…``) and the sources in a PostgreSQL of their own, so that tests of the whole platform
in the same session are not disturbed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trino

from include.config.environments import EnvironmentSettings, read_environment
from include.contract import PermanentError
from include.jobs.warehouse.dbt import write_base
from include.lake.catalog import open_catalog
from include.local.data import totals
from include.local.data.generate import generate
from include.local.paths import Paths
from include.local.platform import Platform
from tests.dbt.project import PROJECT, command, run_dbt
from tests.dbt.raw_tables import sync_all

pytestmark = [pytest.mark.lake, pytest.mark.timeout(1800)]

PREFIX = "ol_warehouse_dbt_tests"
SCALE, SEED = 0.03, 11
MAIN = ("--exclude", "tag:warehouse_engagement")  # tests/dbt/test_engagement.py has these
MERGED = ("dim_course_run", "tfact_enrollment", "tfact_certificate")


@dataclass
class Warehouse:
    """A lake with the project's schemas, the databases its raw tables come from, and the folders dbt works with."""

    lake: Platform
    sources: str
    settings: EnvironmentSettings
    profiles: Path
    work: Path
    clock: datetime = datetime(2026, 7, 1, tzinfo=UTC)

    def sync(self, day: int) -> None:
        """Source databases at ``day``, and raw tables as a sync an hour after the last one leaves them."""
        generate(self.sources, scale=SCALE, seed=SEED, day=day)
        self.clock += timedelta(hours=1)
        assert sync_all(self.sources, open_catalog(self.settings), self.settings, self.clock) > 0

    def dbt(self, *arguments: str, project: Path = PROJECT) -> str:
        done = run_dbt(self.work, *arguments, environment=dict(os.environ), project=project, profiles=self.profiles)
        assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
        return done.stdout

    def query(self, text: str) -> list[tuple[Any, ...]]:
        where = self.lake.trino
        with trino.dbapi.connect(host=where.host, port=where.port, user=where.user, catalog=where.catalog, schema="information_schema") as connection:
            cursor = connection.cursor()
            cursor.execute(text)
            return [tuple(row) for row in cursor.fetchall()]

    def table(self, layer: str, name: str) -> str:
        return f'"{PREFIX}_{layer}"."{name}"'

    def rows(self, layer: str, name: str) -> set[tuple[Any, ...]]:
        found = self.query(f"SELECT * FROM {self.table(layer, name)}")
        assert len(set(found)) == len(found)
        return set(found)


@pytest.fixture(scope="module")
def warehouse(lake: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    """The raw tables and a full build of day 0, unit tests included."""
    settings = read_environment({})
    settings = settings.model_copy(update={"lake": settings.lake.model_copy(update={"schema_prefix": PREFIX})})
    profiles = tmp_path_factory.mktemp("profiles")
    text = (PROJECT / "profiles.yml").read_text(encoding="utf-8")
    (profiles / "profiles.yml").write_text(text.replace("schema: ol_warehouse_local", f"schema: {PREFIX}"), encoding="utf-8")
    sources = Platform(Paths(state=tmp_path_factory.mktemp("sources")), ())
    try:
        sources.start(attached=True)
        found = Warehouse(lake, sources.postgres_dsn, settings, profiles, tmp_path_factory.mktemp("target"))
        found.sync(day=0)
        found.dbt("build", *MAIN)
        yield found
        for layer in ("raw", "staging", "intermediate", "dimensional", "mart", "reporting"):
            found.query(f'DROP SCHEMA IF EXISTS "{PREFIX}_{layer}" CASCADE')
    finally:
        sources.clean()


def assert_reports_equal_totals(warehouse: Warehouse) -> None:
    for report, expected in (
        ("enrollment_summary_report", totals.enrollment_totals(warehouse.sources)),
        ("revenue_summary_report", totals.revenue_totals(warehouse.sources)),
        ("organization_administration_report", totals.organization_totals(warehouse.sources)),
    ):
        assert len(expected) > 10
        columns = ", ".join(field.name for field in fields(expected[0]))
        found = warehouse.query(f"SELECT {columns} FROM {warehouse.table('reporting', report)}")
        assert sorted(found) == sorted(totals.as_row(row) for row in expected), report


def test_reports_equal_the_sources_totals_on_day_0(warehouse: Warehouse) -> None:
    assert_reports_equal_totals(warehouse)
    ((platforms,),) = warehouse.query(f"SELECT count(DISTINCT platform) FROM {warehouse.table('dimensional', 'tfact_enrollment')}")
    assert platforms == 2


def test_staging_holds_one_row_per_key_of_appended_streams(warehouse: Warehouse) -> None:
    """The raw table has versions and duplicates, staging the newest of each."""
    table = "mitxonline__openedx__mysql__courseware_studentmodule"
    raw, staging = warehouse.table("raw", f"raw__{table}"), warehouse.table("staging", f"stg__{table}")
    ((keys, newest),) = warehouse.query(f"SELECT count(DISTINCT id), max(modified) FROM {raw}")
    assert warehouse.query(f"SELECT count(*), max(studentmodule_updated_on) FROM {staging}") == [(keys, newest)]


def test_a_contract_is_compared_by_full_type_and_the_live_report_stays(warehouse: Warehouse, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(PROJECT, project, ignore=shutil.ignore_patterns("target", "logs"))
    yml = project / "models" / "reporting" / "_models.yml"
    text = yml.read_text(encoding="utf-8")
    assert text.count("decimal(38,9)") == 3
    yml.write_text(text.replace("decimal(38,9)", "decimal(38,2)"), encoding="utf-8")
    before = warehouse.rows("reporting", "revenue_summary_report")
    done = run_dbt(tmp_path / "target", "run", "--select", "revenue_summary_report", environment=dict(os.environ), project=project, profiles=warehouse.profiles)
    assert done.returncode != 0
    assert "contract" in done.stdout
    assert "decimal(38,9)" in done.stdout
    assert warehouse.rows("reporting", "revenue_summary_report") == before != set()


def test_readers_never_see_a_report_missing_or_empty_while_it_is_rebuilt(warehouse: Warehouse) -> None:
    seen: list[int] = []
    errors: list[Exception] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            try:
                seen.append(warehouse.query(f"SELECT count(*) FROM {warehouse.table('reporting', 'enrollment_summary_report')}")[0][0])
            except trino.exceptions.TrinoQueryError as error:
                errors.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        warehouse.dbt("run", "--select", "enrollment_summary_report")
    finally:
        stop.set()
        reader.join()
    assert not errors
    assert len(seen) > 5
    assert len(set(seen)) == 1
    assert seen[0] > 0


def test_the_next_day_is_merged_and_a_second_build_changes_nothing(warehouse: Warehouse) -> None:
    before = {name: warehouse.rows("dimensional", name) for name in MERGED}
    warehouse.sync(day=1)
    warehouse.dbt("build", *MAIN, "--exclude-resource-type", "unit_test")
    assert_reports_equal_totals(warehouse)
    after = {name: warehouse.rows("dimensional", name) for name in MERGED}
    for name in MERGED:
        assert after[name] - before[name], f"{name}: day 1 brought nothing"
        assert after[name] & before[name], f"{name}: written anew, not merged"

    runs = warehouse.table("dimensional", "dim_course_run")
    ((ended, versions),) = warehouse.query(f"SELECT count_if(NOT is_current), count(*) - count(DISTINCT courserun_key) FROM {runs}")
    assert ended >= versions > 0, "titles and dates of runs changed on day 1"
    ((deleted,),) = warehouse.query(f"SELECT count_if(is_deleted) FROM {warehouse.table('dimensional', 'tfact_certificate')}")
    assert deleted > 0, "certificates were deleted on day 1"

    # the same source rows, extracted anew
    warehouse.sync(day=1)
    warehouse.dbt("run", "--select", *(f"+{name}" for name in MERGED))
    assert {name: warehouse.rows("dimensional", name) for name in MERGED} == after


def test_a_killed_build_is_made_good_by_the_next(warehouse: Warehouse) -> None:
    """Killed among the merges of day 2: what is visible is whole tables, and the next run ends where an undisturbed one would."""
    warehouse.sync(day=2)
    counts = {layer: len(warehouse.query(f"SHOW TABLES FROM {PREFIX}_{layer}")) for layer in ("dimensional", "reporting")}
    log = warehouse.work / "killed.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            command(warehouse.work, "run", *MAIN, profiles=warehouse.profiles),
            env=dict(os.environ),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        deadline = time.monotonic() + 600
        while not re.search(r"START sql incremental model \S+\.tfact_enrollment", log.read_text(encoding="utf-8")):
            assert process.poll() is None, log.read_text(encoding="utf-8")[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for layer, count in counts.items():
        tables = {name for (name,) in warehouse.query(f"SHOW TABLES FROM {PREFIX}_{layer}")}
        tables = {name for name in tables if not name.endswith("__dbt_tmp")}
        assert len(tables) == count
        assert all(warehouse.query(f"SELECT count(*) FROM {warehouse.table(layer, name)}")[0][0] > 0 for name in tables)
    warehouse.dbt("run", *MAIN)
    assert_reports_equal_totals(warehouse)
    for layer, count in counts.items():
        assert len(warehouse.query(f"SHOW TABLES FROM {PREFIX}_{layer}")) == count, "a temporary relation was left behind"


def test_a_developer_builds_one_model_and_reads_the_rest_from_the_base(warehouse: Warehouse, tmp_path: Path) -> None:
    """In schemas of one's own; the base's tables stay as they are."""
    report = "enrollment_summary_report"
    before = warehouse.query(f'SELECT snapshot_id FROM "{PREFIX}_reporting"."{report}$snapshots" ORDER BY committed_at')
    environment = {**os.environ, "OL_SCHEMA_SUFFIX": "anna"}
    try:
        parsed = run_dbt(tmp_path, "parse", environment=environment, profiles=warehouse.profiles)
        assert parsed.returncode == 0, parsed.stdout
        write_base(tmp_path / "manifest.json", tmp_path / "base" / "manifest.json", "anna")
        deferring = ("--defer", "--state", str(tmp_path / "base"), "--exclude-resource-type", "unit_test")
        done = run_dbt(tmp_path, "build", "--select", report, *deferring, environment=environment, profiles=warehouse.profiles)
        assert done.returncode == 0, done.stdout[-4000:]
        mine = f'"{PREFIX}_reporting_anna"."{report}"'
        assert sorted(warehouse.query(f"SELECT * FROM {mine}")) == sorted(warehouse.query(f"SELECT * FROM {warehouse.table('reporting', report)}"))
        schemas = {row[0] for row in warehouse.query("SELECT DISTINCT table_schema FROM tables")}
        assert {schema for schema in schemas if schema.endswith("_anna")} == {f"{PREFIX}_reporting_anna"}
        assert warehouse.query(f'SELECT snapshot_id FROM "{PREFIX}_reporting"."{report}$snapshots" ORDER BY committed_at') == before
        compiled = (tmp_path / "compiled" / "open_learning" / "models" / "reporting" / f"{report}.sql").read_text(encoding="utf-8")
        assert f'"{PREFIX}_mart"' in compiled or f'"{PREFIX}_dimensional"' in compiled or f'"{PREFIX}_intermediate"' in compiled
    finally:
        for layer in ("reporting", "mart", "staging", "intermediate", "dimensional"):
            warehouse.query(f'DROP SCHEMA IF EXISTS "{PREFIX}_{layer}_anna" CASCADE')


def test_a_base_needs_the_suffix_on_every_model(tmp_path: Path) -> None:
    node = {"resource_type": "model", "schema": "ol_warehouse_local_mart", "relation_name": "x"}
    (tmp_path / "manifest.json").write_text(json.dumps({"nodes": {"model.p.m": node}}), encoding="utf-8")
    with pytest.raises(PermanentError, match=r"model\.p\.m: found schema ol_warehouse_local_mart; allowed: one that ends with _anna"):
        write_base(tmp_path / "manifest.json", tmp_path / "base" / "manifest.json", "anna")
