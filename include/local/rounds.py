"""One round of a domain's DAGs on the local platform: started over Airflow's REST API, shown while it runs, and watched to its end."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TextIO

from include.config.environments import EnvironmentSettings
from include.local.airflow_api import TERMINAL, AirflowApi, Run, Task
from include.local.platform import Platform

GROUPS = "models."
ORDER = ("sync", "verify", "stage", "known", "sweep", "report", "remember", "deliver", "mirror")
LOOK_EVERY = 0.7  # seconds
MARKS = {"success": "✓", "failed": "✗", "upstream_failed": "✗", "skipped": "–", "running": "…", "deferred": "…", "up_for_retry": "↻"}


class LaneError(Exception):
    """A round failed; the message names the task, its first error and its log."""


@dataclass
class Round:
    """Runs DAGs over Airflow's REST API and watches them to the end.

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

    @property
    def dag_ids(self) -> list[str]:
        """The DAGs that take part."""
        raise NotImplementedError

    def begin(self) -> None:
        """Starts what starts the others."""
        raise NotImplementedError

    @property
    def needed(self) -> set[str]:
        """The DAGs without a successful run of which the round is not over."""
        return set(self.dag_ids)

    def news_left(self, runs: Sequence[Run]) -> bool:
        """Whether events wait that will start another run."""
        raise NotImplementedError

    def forget_news(self) -> None:
        """Drops events that an earlier, killed round left behind."""

    def run(self) -> list[Run]:
        """One round. The finished runs, oldest first. Raises ``LaneError`` at the first run that fails."""
        self.api.wait_for_dags(set(self.dag_ids), 240)
        for dag_id in self.dag_ids:
            self.api.unpause(dag_id)
        self._finish_earlier()
        self._seen = {(run.dag_id, run.run_id) for run in self.api.runs()}
        self.begin()
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

        Otherwise a DAG could start on news of an earlier round, before this round's have come in.
        """
        while left := [run for run in self.api.runs() if run.dag_id in self.dag_ids and run.state not in TERMINAL]:
            self.platform.check()
            text = f"an earlier round left {', '.join(sorted({run.dag_id for run in left}))} running; letting it end"
            if self._said.get("earlier") != text:
                self._said["earlier"] = text
                self.out.write(f"{text}\n")
            time.sleep(0.5)
        self.forget_news()

    def _new_runs(self) -> list[Run]:
        return [run for run in reversed(self.api.runs()) if run.dag_id in self.dag_ids and (run.dag_id, run.run_id) not in self._seen]

    def _at_rest(self, runs: Sequence[Run]) -> bool:
        done = {run.dag_id for run in runs if run.state == "success"}
        return self.needed <= done and all(run.state in TERMINAL for run in runs) and not self.news_left(runs)

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
        lines = self.lines(runs)
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

    def lines(self, runs: Sequence[Run]) -> list[tuple[str, str]]:
        """What is shown of the runs: lines, each with a key by which its next version is known."""
        return [line for run in runs for line in self._lines_of(run)]

    def _lines_of(self, run: Run) -> list[tuple[str, str]]:
        """A line for the run's own tasks, and one for its models."""
        tasks = self._tasks_of(run)
        own = [task for task in tasks if not task.task_id.startswith(GROUPS)]
        models = [task for task in tasks if task.task_id.startswith(GROUPS)]
        own.sort(key=lambda task: ORDER.index(task.task_id) if task.task_id in ORDER else len(ORDER))
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
