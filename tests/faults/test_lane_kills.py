"""Whatever dies during the demo, the next demo makes it good; and a demo that is stopped or fails says so and leaves nothing running."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trino.dbapi
from psycopg import sql

from include.config.environments import current_environment
from include.config.load import load_units_strictly
from include.config.units import AirbyteUnit, Stream
from include.config.vocabulary import Layer, SyncMode
from include.lake.names import table_in
from include.local.paths import Paths
from include.local.platform import Platform
from tests.faults.demos import VICTIMS, Demo
from tests.variables import leave_platform

pytestmark = [pytest.mark.live, pytest.mark.timeout(3600)]

REPORTS = 3
USUALLY = 60.0  # seconds of a demo, until one has been measured
OWN_COLUMNS = "_airbyte_"


@dataclass
class Lane:
    """One platform's folder, and the demos that ran in it."""

    state: Path
    demos: list[Demo] = field(default_factory=list)
    seconds: float = USUALLY

    def demo(self) -> Demo:
        self.demos.append(Demo(self.state, self.state.parent / f"demo-{len(self.demos)}.log"))
        return self.demos[-1].start()

    def whole(self) -> Demo:
        """A demo that must succeed: reports equal to the sources, and nothing left."""
        begin = time.monotonic()
        demo = self.demo()
        assert demo.finish() == 0, demo.text[-6000:]
        self.seconds = time.monotonic() - begin
        assert len(re.findall(r"rows  equal$", demo.text, re.MULTILINE)) == REPORTS, demo.text[-3000:]
        assert demo.nothing_left() == []
        return demo


@pytest.fixture(scope="module")
def lane() -> Iterator[Lane]:
    folder = Path(tempfile.mkdtemp(prefix="fault-lane-"))
    found = Lane(folder / "state")
    yield found
    for demo in found.demos:
        if demo.process.poll() is None:
            demo.process.kill()
            demo.process.wait()
    if found.state.exists():
        Platform(Paths(state=found.state)).clean()
    shutil.rmtree(folder, ignore_errors=True)


def test_a_failing_lane_names_the_task_its_first_error_and_its_log(lane: Lane) -> None:
    demo = lane.demo()
    demo.wait_for(lambda: airbyte_refuses(lane.state, {"match": {"method": "POST", "path": "/jobs"}, "count": None, "status": 404}))
    assert demo.finish() == 1, demo.text[-4000:]
    said = re.search(r"FAILED after .*\n(\S+): task (\S+) failed\n  first error: (.*)\n(?:.*\n)*?  log: (.*)\n", demo.text)
    assert said, demo.text[-4000:]
    dag_id, task, error, log = said.groups()
    assert dag_id.startswith("airbyte__")
    assert task == "sync"
    assert "404" in error
    assert "is the id in the unit file right?" in error
    assert "404" in Path(log).read_text(encoding="utf-8")
    assert not re.search(r"^Traceback", demo.text, re.MULTILINE)
    assert demo.nothing_left() == []


def airbyte_refuses(state: Path, rule: dict[str, Any]) -> bool:
    """Gives the demo's Airbyte a fault, as soon as it is there."""
    try:
        port = json.loads((state / "ports.json").read_text(encoding="utf-8"))["airbyte"]
        request = urllib.request.Request(f"http://127.0.0.1:{port}/_faults", data=json.dumps([rule]).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=5) as answer:
            return bool(json.loads(answer.read()))
    except (OSError, KeyError, urllib.error.URLError, ValueError):
        return False


@pytest.mark.rounds(2, 0.3)
def test_a_demo_that_is_stopped_leaves_nothing_running(lane: Lane, seed: int) -> None:
    chance = random.Random(3000 + seed)
    number = (signal.SIGTERM, signal.SIGINT)[seed % 2]
    demo = lane.demo()
    time.sleep(chance.uniform(1, 0.9 * lane.seconds))
    os.kill(demo.process.pid, number)
    code = demo.finish(90)
    assert code == 128 + number, demo.text[-4000:]
    assert not re.search(r"^Traceback", demo.text, re.MULTILINE), demo.text[-4000:]
    assert demo.nothing_left() == []


@pytest.mark.rounds(1, 1.0)
def test_the_next_demo_makes_good_what_a_kill_broke(lane: Lane, seed: int) -> None:
    chance = random.Random(4000 + seed)
    kind = VICTIMS[(seed + 4) % len(VICTIMS)]  # each kind in turn
    demo = lane.demo()
    time.sleep(chance.uniform(0, 0.9 * lane.seconds))
    killed = demo.kill(kind) or demo.kill("demo")
    code = demo.finish()
    assert not re.search(r"^Traceback", demo.text, re.MULTILINE), f"{killed}\n{demo.text[-4000:]}"
    if code in (0, 1):
        assert demo.nothing_left() == []
        assert code == 0 or re.search(r"ended (with|by itself|while starting)|FAILED after", demo.text), demo.text[-4000:]
    else:
        assert (code, kind) in ((-signal.SIGKILL, kind), (-signal.SIGKILL, "demo")), f"exit code {code} after {killed}"
    lane.whole()


def test_no_row_was_doubled_or_lost(lane: Lane) -> None:
    """After all rounds: raw tables against the source databases, key by key, and no row twice in any table."""
    lane.whole()
    with pytest.MonkeyPatch.context() as patch:
        leave_platform(patch)
        platform = Platform(Paths(state=lane.state), ("lake",))
    platform.start(attached=True)
    try:
        where = platform.trino
        with trino.dbapi.connect(host=where.host, port=where.port, user=where.user, catalog=where.catalog) as lake:
            checked = sum(check_raw(platform, lake, unit) for unit in load_units_strictly("airbyte", current_environment()))
            assert checked > 10_000, "rows were compared"
            assert check_twice(lake) > 40, "tables were looked at"
    finally:
        platform.stop(only_own=True)


def check_raw(platform: Platform, lake: Any, unit: AirbyteUnit) -> int:
    """Every source row is in its raw table, and in tables that hold one row per key there is no other and none twice; rows compared."""
    compared = 0
    with psycopg.connect(platform.postgres.dsn(unit.id)) as source:
        for stream in unit.streams:
            keys = stream.primary_key or key_of(source, stream)
            listed = sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(key)) for key in keys)
            wanted = source.execute(sql.SQL("SELECT {} FROM {}").format(listed, sql.Identifier(stream.name))).fetchall()
            table = table_in(current_environment(), Layer.RAW, unit.table_of(stream)).sql
            texts = ", ".join(f'CAST("{key}" AS varchar)' for key in keys)
            found = [tuple(row) for row in ask(lake, f"SELECT {texts} FROM {table}")]
            name = f"{unit.id}: {stream.name}"
            assert set(wanted) - set(found) == set(), f"{name}: rows were lost"
            if stream.sync_mode is SyncMode.FULL_REFRESH_OVERWRITE:
                assert sorted(found) == sorted(wanted), name
            elif stream.sync_mode is SyncMode.INCREMENTAL_DEDUPED:
                assert len(found) == len(set(found)), f"{name}: keys were doubled"
            compared += len(wanted)
    return compared


def key_of(source: psycopg.Connection[Any], stream: Stream) -> tuple[str, ...]:
    """The source table's own primary key."""
    rows = source.execute(
        "SELECT a.attname FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY(i.indkey) "
        "WHERE i.indrelid = %s::regclass AND i.indisprimary ORDER BY a.attnum",
        [f"public.{stream.name}"],
    ).fetchall()
    assert rows, f"{stream.name} has no primary key"
    return tuple(row[0] for row in rows)


def check_twice(lake: Any) -> int:
    """No table of any layer holds the same row twice, Airbyte's own columns aside; tables looked at."""
    settings = current_environment()
    tables = 0
    for layer in (Layer.RAW, Layer.STAGING, Layer.INTERMEDIATE, Layer.DIMENSIONAL, Layer.MART, Layer.REPORTING):
        schema = settings.schema_for(layer)
        names = [row[0] for row in ask(lake, f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{schema}'")]
        left = [name for name in names if "__dbt_" in name]
        assert left == [], f"{schema}: left beside the tables"
        for name in names:
            columns = [row[0] for row in ask(lake, f'SHOW COLUMNS FROM "{schema}"."{name}"') if not row[0].startswith(OWN_COLUMNS)]
            listed = ", ".join(f'"{column}"' for column in columns)
            twice = ask(lake, f'SELECT count(*) - count(DISTINCT ROW({listed})) FROM "{schema}"."{name}"')[0][0]
            assert twice == 0, f"{schema}.{name}: {twice} rows are there twice"
            tables += 1
    return tables


def ask(lake: Any, text: str) -> list[Any]:
    cursor = lake.cursor()
    cursor.execute(text)
    return list(cursor.fetchall())
