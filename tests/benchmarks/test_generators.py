"""The inputs of the workloads: the same every time, and accepted by the real configuration and factories' readers."""

import json
import threading
import urllib.error
import urllib.request
from collections import Counter
from datetime import datetime
from http.server import ThreadingHTTPServer
from pathlib import Path

import bson
import pytest
import yaml
from bson import Binary, Code, DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp

from benchmarks.airbyte_server import handler
from benchmarks.connections import STAGED, STREAMS, api_answer, connections, manifest, unit_yaml, write_repository
from benchmarks.forum_documents import documents
from benchmarks.machine import cpu_seconds
from benchmarks.p2_latency import _phases
from benchmarks.p14_bson import CODEC
from benchmarks.synthetic import AREAS, LEVELS, MODELS, STAGING, write_project
from include.config.environments import read_environment
from include.config.load import load_units_strictly
from include.lake.manifest import load_warehouse


def test_connections_are_the_same_every_time_and_distinct() -> None:
    found = connections(30)
    assert found == connections(30)
    assert found[:10] == connections(10)
    assert found != connections(30, seed=1)
    assert len({connection.id for connection in found}) == 30


def test_forum_documents_are_the_same_every_time_and_have_every_type_of_pymongo() -> None:
    found = list(documents(4000))
    assert found == list(documents(4000))
    assert found[:10] == list(documents(10))
    assert 600 < sum(map(len, found)) / len(found) < 650
    kinds = {type(value) for raw in found for value in bson.decode(raw, CODEC).values()}
    assert kinds >= {
        float,
        str,
        dict,
        list,
        bytes,
        Binary,
        ObjectId,
        bool,
        datetime,
        DatetimeMS,
        type(None),
        Regex,
        Code,
        int,
        Int64,
        Timestamp,
        Decimal128,
        MinKey,
        MaxKey,
    }


def test_generated_units_are_units(tmp_path: Path) -> None:
    write_repository(tmp_path / "code", connections(5))
    units = load_units_strictly("airbyte", read_environment({}), tmp_path / "code" / "include" / "units")
    assert [unit.id for unit in units] == [connection.unit for connection in connections(5)]
    assert {len(unit.streams) for unit in units} == {STREAMS}
    warehouse = load_warehouse(tmp_path / "code" / "include" / "dbt" / "open_learning" / "target" / "manifest.json")
    assert {len(warehouse.staging_of(unit.dbt_staging)) for unit in units} == {STAGED}
    assert all(model.tests for model in warehouse.models)


def test_the_api_tells_what_the_unit_files_tell() -> None:
    for connection in connections(5):
        unit, answer = yaml.safe_load(unit_yaml(connection)), api_answer(connection)
        assert answer["prefix"] == unit["table_prefix"]
        assert [stream["name"] for stream in answer["configurations"]["streams"]] == [stream["name"] for stream in unit["streams"]]
    assert len(manifest(connections(5))["sources"]) == 5 * STAGED


def test_the_api_gives_pages_and_single_connections() -> None:
    answers = {connection.id: json.dumps(api_answer(connection)).encode() for connection in connections(5)}
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(answers, latency=0.0))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_address[1]}/api/public/v1/connections"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        pages = [json.load(opener.open(f"{base}?limit=2&offset={offset}"))["data"] for offset in (0, 2, 4, 6)]
        one = json.load(opener.open(f"{base}/{connections(5)[3].id}"))
        with pytest.raises(urllib.error.HTTPError, match="404"):
            opener.open(f"{base}/00000000-0000-4000-8000-000000000000")
    finally:
        server.shutdown()
        server.server_close()
    assert [len(page) for page in pages] == [2, 2, 1, 0]
    assert [connection["connectionId"] for page in pages for connection in page] == list(answers)
    assert one == api_answer(connections(5)[3])


def test_the_synthetic_project_has_its_size(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "models" / "old").mkdir(parents=True)
        write_project(tmp_path / name)
    texts = [{str(path.relative_to(tmp_path / name)): path.read_text() for path in (tmp_path / name).rglob("*.*")} for name in ("a", "b")]
    assert texts[0] == texts[1]
    layers = Counter(path.parent.name for path in (tmp_path / "a").rglob("*.sql"))
    assert layers == {"staging": STAGING, **dict(LEVELS)}
    assert MODELS == 677
    tests = [column for path in (tmp_path / "a").rglob("_models.yml") for model in yaml.safe_load(path.read_text())["models"] for column in model["columns"]]
    assert [column["data_tests"] for column in tests] == [["not_null"]] * (MODELS + STAGING)
    sql = [path.read_text() for path in (tmp_path / "a").rglob("*.sql")]
    assert len({text.split("'area': '")[1].split("'")[0] for text in sql}) == AREAS


def test_phases_of_a_run_add_up() -> None:
    run = {"end_date": "2026-01-01T00:00:01.5Z"}
    task = {"queued_when": "2026-01-01T00:00:00.2Z", "start_date": "2026-01-01T00:00:00.5Z", "end_date": "2026-01-01T00:00:01.3Z"}
    begin = 1767225600.0
    phases = _phases(begin, run, task)
    assert {name: round(seconds, 3) for name, seconds in phases.items()} == {"to queue": 0.2, "to start": 0.3, "task": 0.8, "to end of run": 0.2}
    assert sum(phases.values()) == pytest.approx(1.5)


def test_cpu_seconds_count_children_that_have_ended() -> None:
    import subprocess
    import sys

    import psutil

    me = psutil.Process()
    before = cpu_seconds([me])[me.pid]
    subprocess.run([sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True)
    assert cpu_seconds([me])[me.pid] - before >= 0.25
