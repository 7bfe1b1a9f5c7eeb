"""``make demo DOMAIN=openedx``: the Open edX domain once on this machine, from the deployments' APIs, log files and forum dumps to the lake and MIT Learn."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TextIO

from include.config.environments import current_environment
from include.config.load import load_units_strictly
from include.config.openedx import OpenedxUnit
from include.local.airflow_api import TERMINAL, Run
from include.local.demo import next_day, perform
from include.local.openedx_inputs import Inputs, deliver
from include.local.openedx_sources import SourceRecords, deployments
from include.local.openedx_summary import print_openedx_summary
from include.local.paths import Paths
from include.local.platform import Part, Platform
from include.local.rounds import Round

PARTS: tuple[Part, ...] = ("lake", "openedx", "forum", "airflow")
KEEP = ("postgres", "trino", "openedx", "learn")  # all that the summary asks
SCALE = 0.02  # of the generator: about 400 learners; a course run's pipeline is four tasks
LEARN = "learn_webhooks"
ENGAGEMENT = "warehouse_engagement"
AFTERWARDS = (LEARN, ENGAGEMENT)


@dataclass
class OpenedxRound(Round):
    """Sweeps, what they bring about, a day of logs, the forums; when the course runs are done, MIT Learn is told and the engagement reports are built."""

    inputs: Inputs = field(kw_only=True)
    _reported: dict[str, int] = field(default_factory=dict)
    _told: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        self.units: tuple[OpenedxUnit, ...] = load_units_strictly("openedx", self.settings)

    @property
    def dag_ids(self) -> list[str]:
        """Every DAG of every deployment, the one that tells MIT Learn, and the one that builds the models."""
        parts = [(unit, part) for unit in self.units for part in ("sweep", "course", "tracking_logs", "forum")]
        return [*(unit.dag_id(part) for unit, part in parts if part != "forum" or unit.id in self.inputs.forums), *AFTERWARDS]

    @property
    def needed(self) -> set[str]:
        """All but the course runs, since a day on which nothing was published brings none; and those that follow them, once they are started."""
        return {dag_id for dag_id in self.dag_ids if not dag_id.endswith("__course") and (self._told or dag_id not in AFTERWARDS)}

    def begin(self) -> None:
        """Starts the sweeps, the logs of the day and the forums."""
        for unit in self.units:
            self.api.trigger(unit.dag_id("sweep"))
            self.api.trigger(unit.dag_id("tracking_logs"), partition_key=self.inputs.day.isoformat())
            if unit.id in self.inputs.forums:
                self.api.trigger(unit.dag_id("forum"))

    def news_left(self, runs: Sequence[Run]) -> bool:
        """Whether a changed course run waits for its run; and when none does any more, MIT Learn is told and the reports are built, once."""
        courses = sum(run.dag_id.endswith("__course") for run in runs)
        if courses < sum(self._changed(run) for run in runs if run.dag_id.endswith("__sweep")):
            return True
        if not self._told and all(run.state in TERMINAL for run in runs):
            for dag_id in AFTERWARDS:
                self.api.trigger(dag_id)
            self._told = True
            return True
        return False

    def _changed(self, sweep: Run) -> int:
        """How many course runs a sweep reported; none when its report was skipped."""
        if sweep.run_id not in self._reported:
            path = f"/dags/{sweep.dag_id}/dagRuns/{sweep.run_id}/taskInstances/report/xcomEntries/return_value"
            found: Any = self.api.call("GET", path, allow=(404,))
            if sweep.state not in TERMINAL:
                return int(found["value"]) if found else 0
            self._reported[sweep.run_id] = int(found["value"]) if found else 0
        return self._reported[sweep.run_id]

    def sweeps(self) -> dict[str, int]:
        """How many sweeps of each deployment have ever succeeded, those of earlier rounds included."""
        paths = {unit.id: f"/dags/{unit.dag_id('sweep')}/dagRuns" for unit in self.units}
        return {name: int(self.api.call("GET", path, state="success", limit=1)["total_entries"]) for name, path in paths.items()}

    @property
    def most(self) -> dict[str, int]:
        """How many changed course runs a sweep of each deployment may take."""
        return {unit.id: unit.sites[self.settings.name].max_changed or unit.sweep.max_changed for unit in self.units}

    def lines(self, runs: Sequence[Run]) -> list[tuple[str, str]]:
        """A line for each run, but one for all course runs of a deployment."""
        lines = super().lines([run for run in runs if not run.dag_id.endswith("__course")])
        for unit in self.units:
            courses = [run for run in runs if run.dag_id == unit.dag_id("course")]
            if courses:
                done = sum(run.state == "success" for run in courses)
                lines.append((unit.dag_id("course"), f"{unit.dag_id('course'):<40} {done} of {len(courses)} course runs loaded"))
        return lines


def demo(scale: float = SCALE, paths: Paths | None = None, out: TextIO = sys.stdout) -> int:
    """One round of the domain and its summary: 0 when everything succeeded and what is in the lake and at MIT Learn is what the generators made, 1 otherwise;
    see :func:`include.local.demo.perform`."""

    def work(platform: Platform) -> bool:
        settings = current_environment()
        inputs = deliver(platform, next_day(platform, scale, out), out)
        records = SourceRecords(platform.paths.state / "sources")
        records.deliver(inputs)
        performed = OpenedxRound(platform, settings, out, inputs=inputs)
        runs = performed.run()
        sweeps = performed.sweeps()
        platform.stop(only_own=True, keep=KEEP)  # Airflow would go on tidying up, beside the summary
        records.sweep(deployments(platform.postgres_dsn), sweeps, performed.most)
        return print_openedx_summary(platform, settings, inputs, records.read(), runs=runs, out=out)

    return perform(paths, PARTS, services="Trino, PostgreSQL, Open edX, MIT Learn", wrong="the lake does not hold what the sources do", work=work, out=out)
