"""P17: from the request that reports 150 or 1,000 partitions of an asset to the end of the last of the runs they ask for.

Ours is the platform's ``airflow.cfg``; the peer is Airflow's own defaults, on the same PostgreSQL, with the same DAGs: one that reports changed
partitions with the operator of the Open edX sweep, one that runs once for each of them, as many at a time as of a deployment's course runs. The runs'
task is empty, so what is measured is the fan-out and not the work. The limit is a single run of one DAG with as many empty tasks: what the
scheduler can do when it makes no runs. The case ``two schedulers`` has a second one, as production has. ``OL_P17_KEYS`` sets the numbers of partitions.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, astuple, dataclass, field
from pathlib import Path

import psutil
import psycopg

from benchmarks.machine import cpu_seconds
from benchmarks.options import Options
from benchmarks.results import Case, Goal, Outcome, Series, seconds_text
from benchmarks.stage import STOCK, api_of, own_platform, remove, scratch, stamp, timed_run
from include.local.airflow import DATABASE
from include.local.platform import Platform
from include.local.programs import Service

KEYS = "1000,150"  # the first is the one with the goal
REPEATS = 3
GOALS = {1000: Goal(seconds=30.0), 150: Goal(seconds=10.0)}
BOUND = 900.0
OURS, PEER, TWO = "ours", "stock", "two schedulers"
REPORT, EACH, BARE = "report_partitions", "each_partition", "bare_{keys}"
DAG_FILE = '''"""Airflow DAGs: one reports changed partitions of an asset, one runs for each of them."""

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Param, PartitionedAssetTimetable, task

from include.config.environments import current_environment
from include.config.vocabulary import Layer
from include.contract import JobResult, TableResult
from include.factories.openedx import ACTIVE_COURSES
from include.lake.assets import asset_of
from include.lake.names import table_in
from include.operators.openedx import ReportChangedCourses

environment = current_environment()
table = table_in(environment, Layer.RAW, "raw__fan_out__partitions")
asset = asset_of(environment, table)

with DAG("report_partitions", schedule=None, catchup=False, params={"keys": Param([], type="array")}):

    @task
    def sweep(params):
        return JobResult(tables={str(table): TableResult(rows=len(params["keys"]))}, facts={"changed": params["keys"], "counts": {}}).to_json()

    sweep() >> ReportChangedCourses(task_id="report", asset=asset, sweep_task_id="sweep")

with DAG("each_partition", schedule=PartitionedAssetTimetable(assets=asset), catchup=False, max_active_runs=ACTIVE_COURSES):
    EmptyOperator(task_id="nothing")
'''
BARE_FILE = '''"""Airflow DAGs of many empty tasks."""

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

for keys in {sizes}:
    with DAG(f"bare_{{keys}}", schedule=None, catchup=False, auto_register=False) as dag:
        for number in range(keys):
            EmptyOperator(task_id=f"nothing_{{number}}")
    globals()[dag.dag_id] = dag
'''
ENDED = """
SELECT partition_key, state, run_type, extract(epoch FROM queued_at)::float8, extract(epoch FROM end_date)::float8
FROM dag_run WHERE dag_id = %s AND partition_key LIKE %s
"""


@dataclass(frozen=True)
class Fan:
    """One fan-out, in seconds since the request: until the keys were reported, until the last run was made, until the last run had ended.

    ``cpu`` are the processor seconds of all of Airflow in that time.
    """

    reported: float
    made: float
    seconds: float
    cpu: float


@dataclass
class _Stage:
    """One platform whose settings change between rounds, and what was measured on it."""

    code: Path
    platform: Platform
    sizes: tuple[int, ...]
    settings: Mapping[str, str]
    fans: dict[tuple[str, int], list[Fan]] = field(default_factory=dict)
    bare: dict[int, list[float]] = field(default_factory=dict)
    rounds: int = 0

    def round(self, name: str) -> None:
        """All sizes once with the settings of that name."""
        (self.code / "airflow.cfg").write_text(self.settings[name], encoding="utf-8")
        self.platform.start(attached=True)  # what reads other settings than it runs with is started again
        api = api_of(self.platform)
        dags = {REPORT, EACH, *(BARE.format(keys=keys) for keys in self.sizes)}
        api.wait_for_dags(dags, BOUND)
        for dag in dags:
            api.unpause(dag)
        with self._second_scheduler() if name == TWO else nullcontext():
            self.fan(50 if name == TWO else 5)  # the first runs load what later ones find loaded
            for keys in self.sizes[:1] if name == TWO else self.sizes:
                found = self.fan(keys)
                self.fans.setdefault((name, keys), []).append(found)
                print(f"  P17 {name}, {keys} partitions: {_text(found)}", file=sys.stderr, flush=True)
                if name == OURS:
                    run = timed_run(api, BARE.format(keys=keys), bound=BOUND)
                    assert run.state == "success", f"{run.run_id}: {run.state}"
                    self.bare.setdefault(keys, []).append(run.seconds)

    @contextmanager
    def _second_scheduler(self) -> Iterator[None]:
        command = (sys.executable, "-m", "airflow", "scheduler", "--skip-serve-logs")
        service = Service("airflow-second-scheduler", command, ready=lambda: True, environment=self.platform.environment(), directory=self.code)
        self.platform.processes.start(service, attached=True)
        try:
            yield
        finally:
            self.platform.processes.stop([service.name])

    def fan(self, keys: int) -> Fan:
        """Reports so many new partitions and waits for their runs; every one ran once. Raises ``AssertionError``."""
        self.rounds += 1
        wanted = [f"round-{self.rounds}+{number:04}" for number in range(keys)]
        api, cpu, begin = api_of(self.platform), self._cpu(), time.time()
        run_id = api.trigger(REPORT, {"keys": wanted})
        rows = self._runs(f"round-{self.rounds}+%")
        while sum(row[1] in ("success", "failed") for row in rows) < keys:
            assert time.time() - begin < BOUND, f"after {BOUND:.0f} s {Counter(row[1] for row in rows)} of {keys} runs"
            time.sleep(0.5)
            rows = self._runs(f"round-{self.rounds}+%")
        assert Counter(row[0] for row in rows) == Counter(wanted), "another set of partitions ran than was reported, or one ran twice"
        assert {(row[1], row[2]) for row in rows} == {("success", "asset_triggered")}
        report = api.call("GET", f"/dags/{REPORT}/dagRuns/{run_id}/taskInstances/report")
        made, ended = max(row[3] for row in rows), max(row[4] for row in rows)
        return Fan(stamp(report["end_date"]) - begin, made - begin, ended - begin, self._cpu() - cpu)

    def _cpu(self) -> float:
        records = [record for record in self.platform.processes.records() if record.name.startswith("airflow-") and record.alive]
        return sum(cpu_seconds(psutil.Process(record.pid) for record in records).values())

    def _runs(self, pattern: str) -> list[tuple[str, str, str, float, float]]:
        """From Airflow's own table: a page of the API for every hundred runs would keep the API server from its work."""
        with psycopg.connect(self.platform.postgres.dsn(DATABASE)) as connection:
            return connection.execute(ENDED, (EACH, pattern)).fetchall()


def measure(options: Options) -> Outcome:
    """Ours, stock and the limit, in alternating order."""
    repeats = options.repeats or REPEATS
    sizes = tuple(int(keys) for keys in os.environ.get("OL_P17_KEYS", KEYS).split(","))
    files = {"fan_out.py": DAG_FILE, "bare.py": BARE_FILE.format(sizes=sizes)}
    with scratch() as folder:
        try:
            with own_platform(folder, files, ("airflow",)) as platform:
                code = folder / "code"
                ours = (code / "airflow.cfg").read_text(encoding="utf-8")
                stage = _Stage(code, platform, sizes, {OURS: ours, TWO: ours, PEER: STOCK})
                for number in range(repeats):
                    for name in (OURS, TWO, PEER) if number % 2 == 0 else (PEER, TWO, OURS):
                        stage.round(name)
        finally:
            remove(folder)
    cases = (_case(stage, sizes[0]), _case(stage, sizes[0], TWO), *(_case(stage, keys) for keys in sizes[1:]))
    return Outcome(cases, {"keys": sizes, "database": "PostgreSQL"})


def _case(stage: _Stage, keys: int, name: str = OURS) -> Case:
    fans = stage.fans[name, keys]
    ours, stock = _series(fans), _series(stage.fans[PEER, keys])
    limit = Series(tuple(stage.bare[keys]), "as many empty tasks in one run")
    middle = Fan(*(statistics.median(values) for values in zip(*map(astuple, fans), strict=True)))
    notes = (f"{keys} partitions: {_text(middle)}", f"{keys / middle.seconds:.0f} runs/s, bare {keys / limit.median:.0f} tasks/s")
    named = name if name != OURS else f"{keys} partitions" if keys != stage.sizes[0] else ""
    return Case(ours, stock, limit, GOALS.get(keys), named, notes)


def _series(fans: list[Fan]) -> Series:
    return Series(tuple(fan.seconds for fan in fans), details={"phases": [asdict(fan) for fan in fans]})


def _text(fan: Fan) -> str:
    reported, made, seconds, cpu = (seconds_text(value) for value in astuple(fan))
    return f"reported after {reported}, all runs made after {made}, all ended after {seconds}, CPU of Airflow {cpu}"
