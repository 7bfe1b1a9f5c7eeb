"""The contestants of P4 on one platform: plain ``dbt build``, the ``warehouse`` DAG in both granularities, and Cosmos' watcher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.machine import cpu_seconds
from benchmarks.stage import api_of, timed_run
from include.config.environments import EnvironmentSettings
from include.config.files import ROOT
from include.config.vocabulary import Layer
from include.lake.names import table_in
from include.local.airflow_api import TERMINAL
from include.local.platform import Platform
from include.local.summary import Lake

PROJECT = Path("include") / "dbt" / "open_learning"
STAGING = "config.schema:staging"
NOT_COMPARED = "tag:warehouse_engagement"  # what another DAG builds
THREADS = 4
AT_ONCE = 40  # tables counted by one query: Trino refuses one of more than 150 stages
AIRFLOW = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
PEER = "cosmos_watcher"
DAG_FILE = '''"""Airflow DAG of the dbt project with granularity {granularity}."""

from include.config.environments import current_environment
from include.config.load import load_warehouse_unit
from include.config.vocabulary import Granularity
from include.factories.warehouse import build_warehouse_dag
from include.lake.manifest import load_warehouse

unit = load_warehouse_unit().model_copy(update={{"id": "compared_{granularity}"}})
environment = current_environment().model_copy(update={{"granularity": Granularity("{granularity}")}})
dag = build_warehouse_dag(unit, environment, load_warehouse())
'''


def dag_files() -> dict[str, str]:
    """The DAG files of a platform on which builds are compared."""
    peer = (ROOT / "benchmarks" / "peers" / "cosmos_watcher.py").read_text(encoding="utf-8")
    return {**{f"transform/{name}.py": DAG_FILE.format(granularity=name) for name in ("area", "model")}, "peer/watcher.py": peer}


@dataclass(frozen=True)
class Built:
    """One build: seconds, CPU seconds of dbt and Airflow together and of Trino, results by node, rows by table, and how far it came."""

    seconds: float
    cpu: float
    trino_cpu: float
    nodes: Mapping[str, str]
    rows: Mapping[str, int]
    unfinished: str = ""
    tasks: Mapping[str, int] = field(default_factory=dict)


class Builds:
    """Runs builds on a platform.

    :param bound: seconds after which a run is stopped and reported as unfinished.
    """

    def __init__(self, platform: Platform, settings: EnvironmentSettings, bound: float = 600.0) -> None:
        self.platform, self.settings, self.bound = platform, settings, bound
        self.code = platform.paths.root
        self.project = self.code / PROJECT
        self.api = api_of(platform)
        self.environment = {**os.environ, **platform.environment(), "OL_ENVIRONMENT": "local"}

    def plain(self) -> Built:
        """``dbt build`` from the command line, with the parse state that the job finds as well."""
        before = self._cpu(("trino",))
        begin = time.perf_counter()
        process = subprocess.Popen(
            _dbt(self.project, "build", "--exclude-resource-type", "unit_test", "--exclude", STAGING, NOT_COMPARED),
            cwd=self.code,
            env=self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        output = process.stdout.read() if process.stdout else ""
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begin
        assert status == 0, f"dbt build failed:\n{output[-3000:]}"
        results = self.project / "target" / "run_results.json"
        return Built(seconds, usage.ru_utime + usage.ru_stime, self._cpu(("trino",)) - before, _results(results), self._rows())

    def warehouse(self, granularity: str) -> Built:
        """The platform's own DAG."""
        found = self._dag(f"compared_{granularity}")
        if found.unfinished:
            return found
        folder = Path(self.environment["OL_WORK_ROOT"]) / "dbt-artifacts" / "runs" / f"compared_{granularity}"
        newest = max(folder.glob("*/run_results.json"), key=lambda path: path.stat().st_mtime)
        return Built(found.seconds, found.cpu, found.trino_cpu, _results(newest), found.rows, tasks=found.tasks)

    def watcher(self) -> Built:
        """Cosmos. A run of its that fails is told, and is no failure of the benchmark."""
        return self._dag(PEER)

    def build_staging(self) -> None:
        """Builds what the compared builds leave out."""
        _succeed(_dbt(self.project, "run", "--select", STAGING, "--exclude", NOT_COMPARED), self.code, self.environment)

    def open_dags(self) -> None:
        """Waits until Airflow knows the DAGs and lets them run."""
        names = {"compared_area", "compared_model", PEER}
        self.api.wait_for_dags(names, 300)
        for name in names:
            self.api.unpause(name)

    # --- inside ----------------------------------------------------------------------------------

    def _dag(self, dag_id: str) -> Built:
        before, trino = self._cpu(AIRFLOW), self._cpu(("trino",))
        run = timed_run(self.api, dag_id, bound=self.bound, every=1.0)
        cpu, trino = self._cpu(AIRFLOW) - before, self._cpu(("trino",)) - trino
        states = self._task_states(dag_id, run.run_id)
        tasks = {state: list(states.values()).count(state) for state in sorted(set(states.values()))}
        if run.state not in TERMINAL:
            self._end(dag_id, run.run_id)
            done = sum(state == "success" for name, state in states.items() if name.endswith((".run", "_run")))
            total = sum(name.endswith((".run", "_run")) for name in states)
            return Built(run.seconds, cpu, trino, {}, {}, f"{done} of {total} models' tasks after {run.seconds:.0f} s", tasks)
        if run.state != "success" and dag_id == PEER:
            return Built(run.seconds, cpu, trino, {}, {}, f"{run.state}, tasks {tasks}", tasks)
        assert run.state == "success", f"{dag_id}: {run.state}, tasks {tasks}"
        return Built(run.seconds, cpu, trino, {}, self._rows(), tasks=tasks)

    def _task_states(self, dag_id: str, run_id: str) -> dict[str, str]:
        return {task.task_id: task.state for task in self.api.tasks(dag_id, run_id)}

    def _end(self, dag_id: str, run_id: str) -> None:
        """Fails a run that takes too long and waits until nothing of it is left running."""
        self.api.call("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}", json={"state": "failed"})
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and any(state in ("running", "deferred", "queued") for state in self._task_states(dag_id, run_id).values()):
            time.sleep(2)

    def _cpu(self, names: tuple[str, ...]) -> float:
        processes = [psutil.Process(record.pid) for record in self.platform.processes.records() if record.name in names and record.alive]
        return sum(cpu_seconds(processes).values())

    def _rows(self) -> dict[str, int]:
        """Rows of every table and view that a build makes."""
        lake = Lake(self.platform, self.settings)
        found: dict[str, int] = {}
        for layer in (Layer.INTERMEDIATE, Layer.DIMENSIONAL, Layer.MART, Layer.REPORTING):
            schema = self.settings.schema_for(layer)
            names = [row[0] for row in lake.rows(f"SELECT table_name FROM information_schema.tables WHERE table_schema = '{schema}' ORDER BY 1")]
            for begin in range(0, len(names), AT_ONCE):
                some = names[begin : begin + AT_ONCE]
                parts = [f"SELECT '{layer.value}.{name}', count(*) FROM {table_in(self.settings, layer, name).sql}" for name in some]
                found |= dict(lake.rows(" UNION ALL ".join(parts)))
        return found


def parse(code: Path) -> None:
    """Makes the manifest and the parse state in a copy of the repository, as ``make setup`` does; needs no lake."""
    target = code / PROJECT / "target"
    _succeed(_dbt(code / PROJECT, "parse", "--target-path", "target/parse"), code, os.environ)
    for name in ("manifest.json", "partial_parse.msgpack"):
        (target / name).write_bytes((target / "parse" / name).read_bytes())


def _dbt(project: Path, command: str, *arguments: str) -> list[str]:
    places = ["--project-dir", str(project), "--profiles-dir", str(project), "--target", "local"]
    threads = ["--threads", str(THREADS)] if command != "parse" else []
    return [str(Path(sys.executable).parent / "dbt"), "--no-use-colors", command, *arguments, *places, *threads]


def _succeed(command: list[str], folder: Path, environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout[-3000:]}{done.stderr[-2000:]}"


def _results(path: Path) -> dict[str, str]:
    """dbt's status by unique id."""
    data: dict[str, Any] = json.loads(path.read_bytes())
    return {result["unique_id"]: result["status"] for result in data["results"]}
