"""P1: parse and serialise the DAGs of 40, 200 and 1,000 Airbyte connections.

Ours is the unchanged DAG file over generated unit files; the peer asks Airbyte's API while it is parsed; the limit reads the same
contents as JSON and makes one mapping a table. Each parse has a process of its own, forked after the imports.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks.connections import SEED, STAGED, STREAMS, Connection, connections, unit_yaml, write_repository
from benchmarks.options import Options
from benchmarks.results import Case, Goal, Outcome, Series, alternate, seconds_text
from include.config.files import ROOT

SIZES = (1000, 200, 40)
GOAL = Goal(seconds=2.0)
LATENCY = 0.02
REPEATS = 5
PEER = ROOT / "benchmarks" / "peers" / "airbyte_at_parse_time.py"


def measure(options: Options) -> Outcome:
    """All sizes; the largest is the one with the goal."""
    repeats = options.repeats or REPEATS
    cases = tuple(_case(size, repeats) for size in SIZES)
    return Outcome(cases, {"sizes": SIZES, "streams": STREAMS, "staged": STAGED, "seed": SEED, "api_latency_seconds": LATENCY})


def _case(size: int, repeats: int) -> Case:
    found = connections(size)
    with tempfile.TemporaryDirectory(prefix="ol-bench-") as folder:
        repository = _repository(Path(folder) / "platform", found)
        with _api(size) as port, _Parser(repository, port) as parser:
            parser.ask("ours")  # leaves what later starts find, as the deployment's own first parse does
            series = alternate(repeats, {name: _taker(parser, name) for name in ("ours", "edited", "limit", "bare")})
            # a peer that waits for a thousand answers takes half a minute: three repeats of those
            series |= alternate(min(3, repeats) if size > 200 else repeats, {name: _taker(parser, name) for name in ("peer", "listed", "first", "task")})
    facts = _assert_equal(parser.answers, size)
    others = {name: Series(series[name], NOTES[name]).to_json() for name in ("first", "edited", "task", "listed", "bare")}
    ours = Series(series["ours"], "DAG file unchanged, units parsed before", details={**facts, "other": others})
    notes = [f"{name} {seconds_text(others[key]['median'])}" for key, name in LABELS.items()]
    case = Case(ours, Series(series["peer"], NOTES["peer"]), Series(series["limit"], NOTES["limit"]), notes=(f"{size} connections", *notes))
    return Case(case.ours, case.peer, case.limit, GOAL if size == max(SIZES) else None, "" if size == max(SIZES) else str(size), case.notes)


LABELS = {"first": "first parse ever", "edited": "one unit edited", "task": "start of a task", "bare": "Airflow alone", "listed": "peer with the list only"}
NOTES = {
    "first": "nothing kept from an earlier parse: all YAML files and the manifest are read",
    "edited": "one unit file differs from the parse before",
    "task": "the file as the start of one task parses it",
    "peer": "the list in pages of 100, then every connection by its id",
    "listed": "the peer without asking for each connection",
    "limit": "the same contents as JSON, parsed, one mapping a table",
    "bare": "the same DAGs, tasks and assets made without configuration",
}


def _taker(parser: _Parser, name: str) -> Any:
    return lambda: parser.ask(name)


def _assert_equal(answers: dict[str, list[dict[str, Any]]], size: int) -> dict[str, Any]:
    """Every parse found the same DAGs with the same raw tables. Raises ``AssertionError``."""
    checksums = {answer["checksum"] for name in ("ours", "first", "edited", "peer", "listed") for answer in answers[name]}
    counts = {answer["dags"] for name in ("ours", "first", "edited", "peer", "listed", "bare") for answer in answers[name]}
    tables = {answer["tables"] for answer in answers["limit"]}
    assert len(checksums) == 1, f"DAG ids and raw tables differ between ours and the peer: {checksums}"
    assert counts == {size}, f"DAGs: found {counts}, not {size}"
    assert tables == {size * STREAMS}, f"tables: found {tables}, not {size * STREAMS}"
    return {"dags": size, "assets": answers["ours"][0]["assets"], "parse": answers["ours"][-1]["parse"], "serialise": answers["ours"][-1]["serialise"]}


def _repository(folder: Path, found: tuple[Connection, ...]) -> Path:
    write_repository(folder, found)
    (folder / "dags" / "peer").mkdir()
    shutil.copy(PEER, folder / "dags" / "peer" / PEER.name)
    (folder / "as_json").mkdir()
    assets = {}
    for connection in found:
        unit = yaml.load(unit_yaml(connection), Loader=yaml.CSafeLoader)
        (folder / "as_json" / f"{connection.unit}.json").write_text(json.dumps(unit), encoding="utf-8")
        raw = [f"trino://trino.local:8080/ol_data_lake_local/ol_warehouse_local_raw/{connection.raw_prefix}{stream.name}" for stream in connection.streams]
        staging = [
            f"trino://trino.local:8080/ol_data_lake_local/ol_warehouse_local_staging/{connection.staging_prefix}{stream.name}" for stream in connection.staged
        ]
        assets[f"airbyte__{connection.unit}"] = raw + staging
    (folder / "assets.json").write_text(json.dumps(assets), encoding="utf-8")
    return folder


@contextmanager
def _api(count: int) -> Iterator[int]:
    """Airbyte's API over these connections, in a process of its own; its port."""
    command = [sys.executable, "-m", "benchmarks.airbyte_server", str(count), str(SEED), str(LATENCY)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin
        assert server.stdout
        try:
            yield int(server.stdout.readline())
        finally:
            server.stdin.close()


class _Parser:
    """The program that parses, started in a generated repository."""

    def __init__(self, repository: Path, port: int) -> None:
        self.repository, self.port = repository, port
        self.log = repository / "parsing.log"
        self.answers: dict[str, list[dict[str, Any]]] = {}

    def __enter__(self) -> _Parser:
        settings = {
            "AIRFLOW_HOME": str(self.repository / "home"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.repository),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(self.repository / "plugins"),
            "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "0",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
            "AIRFLOW_CONN_AIRBYTE": json.dumps({"conn_type": "airbyte", "host": f"http://127.0.0.1:{self.port}/api/public/v1"}),
            "OL_ENVIRONMENT": "local",
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "OL_", "PYTHONPATH"))}
        command = [sys.executable, str(ROOT / "benchmarks" / "parsing.py")]
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                command, cwd=self.repository, env={**kept, **settings}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        return self

    def ask(self, name: str) -> float:
        """One parse; its seconds."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the parsing program ended at {name}:\n{self.log.read_text(encoding='utf-8')[-3000:]}")
        answer = json.loads(line)
        self.answers.setdefault(name, []).append(answer)
        return float(answer["seconds"])

    def __exit__(self, *_: object) -> None:
        self.process.communicate()
