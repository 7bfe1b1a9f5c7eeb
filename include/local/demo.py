"""``make demo``: one complete lane on this machine, from the application databases to checked reports, and a summary of it."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

import psycopg
import requests
import trino.exceptions

from include.config.environments import EnvironmentSettings, current_environment
from include.config.load import load_units_strictly
from include.local.airflow_api import TERMINAL, AirflowApi, AirflowApiError, Run, Task
from include.local.data.generate import DATABASES, advance, generate, read_state
from include.local.paths import Paths
from include.local.platform import Platform, running_platform
from include.local.summary import print_summary

WAREHOUSE = "warehouse"
SCALE = 0.1  # of the generator: about 2,000 learners
SEED = 7
GROUPS = "models."
LOOK_EVERY = 0.7  # seconds
LAKE = ("postgres", "trino")  # all that the summary asks
OUTAGES = (AirflowApiError, psycopg.OperationalError, trino.exceptions.Error, requests.RequestException)  # a server is away, or refuses
MARKS = {"success": "✓", "failed": "✗", "upstream_failed": "✗", "skipped": "–", "running": "…", "deferred": "…", "up_for_retry": "↻"}


class LaneError(Exception):
    """The lane failed; the message names the task, its first error and its log."""


@dataclass
class Lane:
    """Runs the lane's DAGs over Airflow's REST API and watches them to the end.

    :param out: where progress goes; on a terminal the lines are redrawn in place.
    """

    platform: Platform
    settings: EnvironmentSettings
    out: TextIO = sys.stdout
    _seen: set[tuple[str, str]] = field(default_factory=set)
    _ended: dict[tuple[str, str], list[Task]] = field(default_factory=dict)
    _drawn: int = 0
    _said: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.api = AirflowApi(self.platform.airflow_url, *self.platform.airflow_login)
        self.connections = [unit.dag_id for unit in load_units_strictly("airbyte", self.settings)]

    @property
    def dag_ids(self) -> list[str]:
        """The lane's DAGs: every connection's, and the warehouse."""
        return [*self.connections, WAREHOUSE]

    def run(self) -> list[Run]:
        """One round: all connections are synced, and the warehouse follows their assets. The finished runs, oldest first.

        Raises ``LaneError`` at the first run that fails.
        """
        self.api.wait_for_dags(set(self.dag_ids), 240)
        for dag_id in self.dag_ids:
            self.api.unpause(dag_id)
        self._finish_earlier()
        self._seen = {(run.dag_id, run.run_id) for run in self.api.runs()}
        for dag_id in self.connections:
            self.api.trigger(dag_id)
        begin = time.monotonic()
        quiet = 0
        while True:
            self.platform.check()
            runs = self._new_runs()
            self._show(runs, time.monotonic() - begin)
            self._raise_for(runs)
            quiet = quiet + 1 if self._at_rest(runs) else 0
            if quiet == 2:  # seen twice: between an event and the run it makes there is a moment
                self._end_lines()
                return runs
            time.sleep(LOOK_EVERY)

    def _finish_earlier(self) -> None:
        """Lets runs that an earlier, killed round left behind come to their end, and forgets the news they brought.

        Otherwise the warehouse could start on news of an earlier round, before this round's syncs have come in.
        """
        while left := [run for run in self.api.runs() if run.dag_id in self.dag_ids and run.state not in TERMINAL]:
            self.platform.check()
            text = f"an earlier round left {', '.join(sorted({run.dag_id for run in left}))} running; letting it end"
            if self._said.get("earlier") != text:
                self._said["earlier"] = text
                self.out.write(f"{text}\n")
            time.sleep(0.5)
        self.api.forget_asset_events(WAREHOUSE)

    def _new_runs(self) -> list[Run]:
        return [run for run in reversed(self.api.runs()) if run.dag_id in self.dag_ids and (run.dag_id, run.run_id) not in self._seen]

    def _at_rest(self, runs: Sequence[Run]) -> bool:
        done = {run.dag_id for run in runs if run.state == "success"}
        return set(self.dag_ids) <= done and all(run.state in TERMINAL for run in runs) and self.api.queued_asset_events(WAREHOUSE) == 0

    # --- failures --------------------------------------------------------------------------------

    def _raise_for(self, runs: Sequence[Run]) -> None:
        for run in runs:
            if run.state == "failed":
                self._end_lines()
                raise LaneError(self._explain(run))

    def _explain(self, run: Run) -> str:
        failed = [task for task in self.api.tasks(run.dag_id, run.run_id) if task.state == "failed"]
        if not failed:
            return f"{run.dag_id} failed without a failed task (run {run.run_id}); see the scheduler's log in {self.platform.paths.logs}"
        task = failed[0]
        lines = self.api.log_lines(run.dag_id, run.run_id, task)
        errors = [line for line in lines if line.get("level") in ("error", "critical")]
        first = str(errors[0]["event"]) if errors else "the log holds no error; it may have been lost with the process"
        for line in errors:
            for detail in line.get("error_detail") or ():
                first = f"{detail.get('exc_type')}: {detail.get('exc_value')}"
                break
        folder = f"dag_id={run.dag_id}/run_id={run.run_id}/task_id={task.task_id}"
        found = sorted(self.platform.paths.state.rglob(f"{folder}/attempt={task.try_number}.log*"))
        log = found[0] if found else f"{self.platform.airflow_url}/dags/{run.dag_id}/runs/{run.run_id}/tasks/{task.task_id}"
        return f"{run.dag_id}: task {task.task_id} failed\n  first error: {first[:1500]}\n  log: {log}"

    # --- progress --------------------------------------------------------------------------------

    def _show(self, runs: Sequence[Run], elapsed: float) -> None:
        lines = [line for run in runs for line in self._lines_of(run)]
        if self.out.isatty():
            self.out.write(f"\x1b[{self._drawn}F\x1b[J" if self._drawn else "")
            self.out.write("".join(f"{elapsed:6.1f} s  {text}\n" for _, text in lines))
            self._drawn = len(lines)
        else:
            for key, text in lines:
                if self._said.get(key) != text:
                    self._said[key] = text
                    self.out.write(f"{elapsed:6.1f} s  {text}\n")
        self.out.flush()

    def _lines_of(self, run: Run) -> list[tuple[str, str]]:
        """A line for the run's own tasks, and one for its models."""
        tasks = self._tasks_of(run)
        own = [task for task in tasks if not task.task_id.startswith(GROUPS)]
        models = [task for task in tasks if task.task_id.startswith(GROUPS)]
        order = {"sync": 0, "verify": 1, "stage": 2}
        own.sort(key=lambda task: order.get(task.task_id, 9))
        lines = [(run.run_id, f"{run.dag_id:<40} " + "  ".join(f"{task.task_id} {_mark(task)}" for task in own))]
        if models:
            done = sum(task.state == "success" for task in models)
            bad = sum(task.state in ("failed", "upstream_failed") for task in models)
            text = f"{run.dag_id + ' · models':<40} {done} of {len(models)} built" + (f", {bad} failed" if bad else "")
            lines.append((f"{run.run_id} models", text))
        return lines

    def _tasks_of(self, run: Run) -> list[Task]:
        """The run's tasks; those of an ended run are asked for once, since every answer costs the lane processor time."""
        key = (run.dag_id, run.run_id)
        if key not in self._ended:
            tasks = self.api.tasks(run.dag_id, run.run_id)
            if run.state not in TERMINAL:
                return tasks
            self._ended[key] = tasks
        return self._ended[key]

    def _end_lines(self) -> None:
        self._drawn = 0
        self._said.clear()


def _mark(task: Task) -> str:
    mark = MARKS.get(task.state, "·")
    return f"{mark} {task.seconds:.1f} s" if task.state in ("success", "failed") else mark


def next_day(platform: Platform, scale: float, out: TextIO) -> int:
    """Fills the source databases on the first round and lets a day pass on each later one; the day they are at now.

    A round that was killed while it wrote is completed first: databases are never a day apart.
    """
    dsn = platform.postgres_dsn
    begin = time.monotonic()
    counts = advance(dsn) if read_state(dsn, DATABASES[0]) else generate(dsn, scale=scale, seed=SEED, day=0)
    state = read_state(dsn, DATABASES[0])
    day = state.day if state else 0
    rows = sum(sum(tables.values()) for tables in counts.values())
    out.write(f"source databases at day {day}: {rows:,} rows in {sum(len(tables) for tables in counts.values())} tables ({time.monotonic() - begin:.1f} s)\n")
    return day


def demo(scale: float = SCALE, paths: Paths | None = None, out: TextIO = sys.stdout) -> int:
    """Starts the platform (or uses the one that runs), runs one round of the lane and prints its summary.

    0 when the lane succeeded and the reports are right, 1 otherwise. What the demo started ends with it.
    """
    if isinstance(out, io.TextIOWrapper):
        out.reconfigure(line_buffering=True)  # progress is to be seen while it is made, in a pipe too
    begin = time.monotonic()
    with running_platform(paths, out=out) as platform:
        out.write(f"platform ready after {time.monotonic() - begin:.1f} s: Trino, PostgreSQL, Airbyte stand-in, Airflow at {platform.airflow_url}\n")
        settings = current_environment()
        try:
            next_day(platform, scale, out)
            runs = Lane(platform, settings, out).run()
            platform.stop(only_own=True, keep=LAKE)  # Airflow would go on tidying up, beside the summary
            right = print_summary(platform, settings, runs, out)
        except LaneError as error:
            out.write(f"\nFAILED after {time.monotonic() - begin:.1f} s\n{error}\n")
            return 1
        except OUTAGES as error:
            platform.check()  # when a program of the platform has ended, that says more
            out.write(f"\nFAILED after {time.monotonic() - begin:.1f} s\n{type(error).__name__}: {error}\n  logs: {platform.paths.logs}\n")
            return 1
        out.write(f"\n{'done' if right else 'FAILED: a report is not what the sources say'} after {time.monotonic() - begin:.1f} s\n")
        out.write("next: make up (Airflow's UI), make lake (query the tables), docs/howto (add a connection, a model)\n")
        return 0 if right else 1
