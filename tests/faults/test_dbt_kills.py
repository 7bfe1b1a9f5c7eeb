"""A build that is killed, or whose Trino is, goes on where it stopped: nothing is built twice, nothing is missing, nobody ever sees half a table."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from include.config.environments import read_environment
from include.lake.catalog import open_catalog
from include.local.data.generate import generate
from include.local.paths import Paths
from include.local.platform import Platform
from include.local.services.airbyte.connections import connections_of
from tests.faults.builds import MODELS, Build, Content, Reader, Warehouse
from tests.local.services.airbyte_harness import CATALOG, Service
from tests.variables import leave_platform

pytestmark = [pytest.mark.lake, pytest.mark.timeout(7200)]

SCALE, SEED = 0.02, 5
STAGING = "staging.mitxonline staging.mitxpro"  # of the connections


@pytest.fixture(scope="module")
def warehouse() -> Iterator[Warehouse]:
    """Two days of staging tables, and what undisturbed builds make of them. The Trino is the module's own: it will be killed."""
    state = Path(tempfile.mkdtemp(prefix="fault-lake-")) / "state"
    platform = Platform(Paths(state=state), ("lake",))
    with pytest.MonkeyPatch.context() as patch:
        leave_platform(patch)
        platform = Platform(Paths(state=state), ("lake",))
        try:
            platform.start(attached=True)
            for name, value in platform.environment().items():
                patch.setenv(name, value)
            yield prepared(Warehouse(platform, read_environment(os.environ), state.parent))
        finally:
            platform.clean()
            shutil.rmtree(state.parent, ignore_errors=True)


def prepared(warehouse: Warehouse) -> Warehouse:
    sync(warehouse, day=0)
    warehouse.seconds["merged"] = warehouse.build("day-0").run()
    warehouse.before, warehouse.snapshots = warehouse.contents(), warehouse.newest_snapshots()
    sync(warehouse, day=1)
    warehouse.seconds["merged"] = warehouse.build("day-1").run()
    warehouse.merged = warehouse.contents()
    changed = {name for name in MODELS if warehouse.merged[name] != warehouse.before[name]}
    assert {"dim_course_run", "tfact_enrollment", "tfact_certificate"} < changed, "a day that changes nothing shows nothing"
    return warehouse


def sync(warehouse: Warehouse, day: int) -> None:
    """The source databases at a day, synced by the local Airbyte, and the staging tables."""
    dsn = warehouse.platform.postgres.dsn
    generate(dsn(), scale=SCALE, seed=SEED, day=day)
    properties = {"uri": dsn("iceberg", driver="psycopg2"), "local.root": str(warehouse.platform.paths.lake), "warehouse": "local:///warehouse"}
    with Service.running(warehouse.platform, open_catalog(CATALOG, properties), state="airbyte_faults") as service:
        service.connections.update(connections_of(warehouse.settings))
        for connection_id in service.connections:
            assert service.client.sync(connection_id)["status"] == "succeeded"
    warehouse.build(f"staging-{day}", STAGING).run()


def starting_point(warehouse: Warehouse, chance: random.Random) -> tuple[str, dict[str, Content]]:
    """Tables of day 0 into which day 1 is merged, or no tables at all; and what the build must make of them."""
    if chance.random() < 0.6 and not warehouse.fresh:  # tables that were dropped once cannot be brought back to day 0
        warehouse.as_on_day_0()
        assert warehouse.contents() == warehouse.before
        return "merged", warehouse.merged
    if not warehouse.fresh:
        warehouse.as_before_the_first_build()
        warehouse.seconds["fresh"] = warehouse.build("from-nothing").run()
        warehouse.fresh = warehouse.contents()
    warehouse.as_before_the_first_build()
    return "fresh", warehouse.fresh


def assert_whole(warehouse: Warehouse, build: Build, reader: Reader, kind: str, expected: dict[str, Content]) -> None:
    assert build.done() == set(MODELS), build.log.read_text()[-3000:]
    assert warehouse.contents() == expected
    assert reader.errors == []
    assert reader.reads > len(MODELS), "the reader saw something"
    for name in MODELS:
        allowed = {warehouse.before[name] if kind == "merged" else None, expected[name]}
        assert reader.seen[name] <= allowed, f"{name}: half a table was visible: {reader.seen[name] - allowed}"
    beside = {table for _, table in warehouse.relations()} - set(MODELS)
    assert beside == set(), "something was left beside the tables"


@pytest.mark.rounds(2, 1.0)
def test_a_killed_build_goes_on_where_it_stopped(warehouse: Warehouse, seed: int) -> None:
    chance = random.Random(1000 + seed)
    killed = False
    while not killed:  # a build that was faster than the undisturbed one may have come to its end before
        kind, expected = starting_point(warehouse, chance)
        build = warehouse.build(f"kill-{seed}-{chance.random()}")
        snapshots = {name: warehouse.snapshot_ids(name) for name in MODELS}
        with Reader(warehouse) as reader:
            build.start()
            time.sleep(chance.uniform(0, warehouse.seconds[kind]))
            killed = build.kill() and not build.finished
            if not killed:
                warehouse.seconds[kind] *= 0.8
                continue
            done = build.done()
            built = {name: warehouse.snapshot_ids(name) for name in done}
            assert {name for name in done if built[name] == snapshots[name] and expected[name] != warehouse.before[name]} == set(), "done, but not written"
            again = time.time()
            build.start()
            assert build.finish() == 0, build.log.read_text()[-4000:]
    for name in sorted(done):
        assert warehouse.snapshot_ids(name) == built[name], f"{name} was done and has been written again"
        assert warehouse.statements_of(name, again) == [], f"{name} was done and has been built or tested again"
    assert all(warehouse.statements_of(name, again) for name in set(MODELS) - done), "what was not done was built"
    assert_whole(warehouse, build, reader, kind, expected)


@pytest.mark.rounds(1, 0.5)
def test_a_build_survives_its_trino(warehouse: Warehouse, seed: int) -> None:
    chance = random.Random(2000 + seed)
    kind, expected = starting_point(warehouse, chance)
    build = warehouse.build(f"trino-{seed}")
    with Reader(warehouse) as reader:
        build.start()
        time.sleep(chance.uniform(0, warehouse.seconds[kind]))
        record = warehouse.platform.processes.running("trino")
        assert record is not None
        os.kill(record.pid, signal.SIGKILL)
        time.sleep(chance.uniform(0, 3))
        warehouse.platform.start(attached=True)
        code = ended(build)
        for _ in range(3):  # the retries of the task
            if code == 0:
                break
            assert code == 75, f"exit code {code}\n{build.log.read_text()[-4000:]}"
            build.start()
            code = ended(build)
        assert code == 0, build.log.read_text()[-4000:]
    assert_whole(warehouse, build, reader, kind, expected)


def ended(build: Build) -> int:
    try:
        return build.finish()
    except subprocess.TimeoutExpired:
        build.kill()
        raise AssertionError(f"the build hangs:\n{build.log.read_text()[-4000:]}") from None
