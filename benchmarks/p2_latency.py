"""P2: from the request that triggers a DAG of one task to its success.

Ours is the platform's ``airflow.cfg``; the peer is Airflow's own defaults, on the same PostgreSQL and with the same DAG; the limit is a
fork of a warm Python process that asks the API server one question. Both Airflows take turns, two blocks each.
"""

from __future__ import annotations

import os
import statistics
import time
from typing import Any

import httpx

from benchmarks.options import Options
from benchmarks.results import Case, Goal, Outcome, Series, seconds_text
from benchmarks.stage import STOCK, Timed, api_of, own_platform, remove, scratch, stamp, timed_run
from include.local.airflow_api import AirflowApi
from include.local.platform import Platform

REPEATS = 20
BLOCKS = 2
GOAL = Goal(seconds=0.5)
BOUND = 120.0
DAG_ID = "one_task"
DAG_FILE = '''"""Airflow DAG of one task that does nothing."""

from airflow.sdk import DAG, task

with DAG("one_task", schedule=None, catchup=False):

    @task
    def nothing() -> str:
        return "done"

    nothing()
'''


def measure(options: Options) -> Outcome:
    """Ours, stock and the limit."""
    repeats = options.repeats or REPEATS
    found: dict[str, list[Timed]] = {"ours": [], "stock": []}
    phases: dict[str, list[dict[str, float]]] = {"ours": [], "stock": []}
    limit: list[float] = []
    with scratch() as folder:
        try:
            with own_platform(folder, {"one_task.py": DAG_FILE}, ("airflow",)) as platform:
                ours = (folder / "code" / "airflow.cfg").read_text(encoding="utf-8")
                for block in range(2 * BLOCKS):
                    name = ("ours", "stock", "stock", "ours")[block % 4]
                    (folder / "code" / "airflow.cfg").write_text(ours if name == "ours" else STOCK, encoding="utf-8")
                    platform.start(attached=True)  # what reads other settings than it runs with is started again
                    _block(platform, -(-repeats // BLOCKS), found[name], phases[name])
                    limit += [_fork_and_ask(platform) for _ in range(5)]
        finally:
            remove(folder)
    series = {name: Series(tuple(run.seconds for run in runs), details={"phases": _medians(phases[name])}) for name, runs in found.items()}
    where = ", ".join(f"{phase} {seconds_text(seconds)}" for phase, seconds in _medians(phases["ours"]).items())
    case = Case(
        series["ours"], series["stock"], Series(tuple(limit), "fork of a warm Python process and one request"), GOAL, notes=(f"p50 of {repeats}: {where}",)
    )
    return Outcome((case,), {"runs": repeats, "blocks": BLOCKS, "database": "PostgreSQL", "executor": "LocalExecutor"})


def _block(platform: Platform, runs: int, found: list[Timed], phases: list[dict[str, float]]) -> None:
    api = api_of(platform)
    api.wait_for_dags({DAG_ID}, BOUND)
    api.unpause(DAG_ID)
    for _ in range(2):  # the first runs load what later ones find loaded
        timed_run(api, DAG_ID, bound=BOUND)
    for _ in range(runs):
        time.sleep(0.3)
        begin = time.time()
        run = timed_run(api, DAG_ID, bound=BOUND)
        task = _task(api, run)
        assert (run.state, task["state"]) == ("success", "success"), f"run {run.run_id}: {run.state}, its task: {task['state']}"
        value = api.call("GET", f"/dags/{DAG_ID}/dagRuns/{run.run_id}/taskInstances/nothing/xcomEntries/return_value")["value"]
        assert "done" in str(value), f"run {run.run_id}: the task returned {value!r}"
        found.append(run)
        phases.append(_phases(begin, run.run, task))


def _task(api: AirflowApi, run: Timed) -> dict[str, Any]:
    tasks: list[dict[str, Any]] = api.call("GET", f"/dags/{DAG_ID}/dagRuns/{run.run_id}/taskInstances")["task_instances"]
    return tasks[0]


def _phases(begin: float, run: dict[str, Any], task: dict[str, Any]) -> dict[str, float]:
    """Where the time went, in seconds: until the task was queued, until it ran, while it ran, until the run was seen to be done."""
    queued, started, ended = stamp(task["queued_when"]), stamp(task["start_date"]), stamp(task["end_date"])
    return {"to queue": queued - begin, "to start": started - queued, "task": ended - started, "to end of run": stamp(run["end_date"]) - ended}


def _medians(phases: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(one[name] for one in phases) for name in phases[0]}


def _fork_and_ask(platform: Platform) -> float:
    """A process forked from this one asks the API server for its version; seconds until it has ended."""
    url = f"{platform.airflow_url}/api/v2/version"
    begin = time.perf_counter()
    child = os.fork()
    if not child:
        code = 1
        try:
            code = 0 if httpx.get(url, timeout=30.0).status_code == 200 else 1
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0, f"{url}: no answer"
    return time.perf_counter() - begin
