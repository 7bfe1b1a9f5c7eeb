"""Open edX tasks on Airflow's side: the light ones around a sweep, and the export of a course, whose wait belongs to the triggerer.

What is known of 3,500 course runs is an object beside the lake; Airflow's asset state store keeps its address, and only after the runs
of the changed courses have been asked for. A sweep that dies in between is repeated from the older state and reports the same again.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from airflow.sdk import Asset, BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from include.config.environments import EnvironmentSettings
from include.contract import JobResult, TransientError
from include.pods.job import JobSpec
from include.pods.outcome import publish_results
from include.pods.tasks import job_task

STATE = "sweep_state"
EXPORT_LIMIT = timedelta(minutes=60)
"""How long the triggerer waits for an export. Not less than the jobs allow one, so that the next try begins another and does not join what hangs."""
TRIGGERER_LIMIT = EXPORT_LIMIT + timedelta(minutes=10)
"""When the scheduler gives a triggerer up that says nothing."""


class KnownCourses(BaseOperator):
    """Returns the address of the state that the next sweep goes on from; empty before the first one.

    :param asset: the observations table, whose state the address is.
    """

    def __init__(self, *, asset: Asset, **kwargs: Any) -> None:
        super().__init__(**kwargs, inlets=[asset])
        self.asset = asset

    def execute(self, context: Any) -> str:
        """The address."""
        return str(context["asset_state_store"][self.asset].get(STATE, ""))


class ReportChangedCourses(BaseOperator):
    """Emits one event of the observations table for each changed course run, with the run's id as its partition; skipped when there is none.

    :param sweep_task_id: the task whose job swept.
    """

    def __init__(self, *, asset: Asset, sweep_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs, outlets=[asset])
        self.asset = asset
        self.sweep_task_id = sweep_task_id

    def execute(self, context: Any) -> int:
        """The number of changed course runs."""
        result = JobResult.from_json(context["ti"].xcom_pull(task_ids=self.sweep_task_id))
        changed = sorted(result.facts["changed"])
        self.log.info("%s", result.facts["counts"])
        if not changed:
            raise AirflowSkipException("no course run was published again")
        context["outlet_events"][self.asset].add_partitions(changed)
        publish_results(context, [self.asset], (), result)
        for course in changed:
            self.log.info("changed: %s", course)
        return len(changed)


class RememberSweep(BaseOperator):
    """Stores the address of the new state: everything it tells of has been reported."""

    def __init__(self, *, asset: Asset, sweep_task_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs, inlets=[asset])
        self.asset = asset
        self.sweep_task_id = sweep_task_id

    def execute(self, context: Any) -> str:
        """The address."""
        result = JobResult.from_json(context["ti"].xcom_pull(task_ids=self.sweep_task_id))
        state = str(result.facts["state"])
        context["asset_state_store"][self.asset].set(STATE, state)
        return state


class CourseExport(BaseOperator):
    """Exports one course run into the landing zone: begins it on a worker, waits in the triggerer, fetches the archive on a worker.

    One task from the first request to the archive, so that a pool which counts deferred tasks bounds how many exports Studio builds at a time. Both
    jobs find a running export by its record, so a task that was killed joins the one it began.

    :param start: the job that begins or joins an export.
    :param finish: the job that looks for its end and fetches the archive.
    :param studio: how the triggerer asks: the arguments of its trigger, but for the export's own address.
    """

    ui_color = "#fef3c7"

    def __init__(self, *, start: JobSpec, finish: JobSpec, environment: EnvironmentSettings, studio: Mapping[str, Any], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.jobs = {"start": start, "finish": finish}
        self.environment = environment
        self.studio = dict(studio)
        self._running: BaseOperator | None = None

    def execute(self, context: Any) -> dict[str, Any]:
        """The finishing job's facts: the archive's address, the published version, when it was fetched."""
        begun = self._run("start", context)
        if not begun.facts["ended"]:
            from openedx_triggers import ExportTrigger

            trigger = ExportTrigger(**self.studio, url=begun.facts["poll_url"], ends_at=time.time() + EXPORT_LIMIT.total_seconds())
            self.defer(trigger=trigger, method_name="resume", timeout=TRIGGERER_LIMIT)
        return self._run("finish", context).facts

    def resume(self, context: Any, event: dict[str, Any]) -> dict[str, Any]:
        """As :meth:`execute`, from where Studio said that the export has ended; the job finds out how.

        Raises ``TransientError`` for an export that took too long, ``AirflowFailException`` when the triggerer had no credentials to ask with. The job is not
        asked then: it would wait in the triggerer's place, and hold a worker.
        """
        if "error" in event:
            raise (AirflowFailException if event["permanent"] else TransientError)(event["error"])
        self.log.info("Studio says: %s", event["state"])
        return self._run("finish", context).facts

    def on_kill(self) -> None:
        """Ends the job that runs. The export goes on at Studio, which knows no way to end one, and the next try joins it."""
        if self._running is not None:
            self._running.on_kill()

    def _run(self, job: str, context: Any) -> JobResult:
        self._running = job_task(self.jobs[job], self.environment, task_id=self.task_id)
        self._running.render_template_fields(context)
        return JobResult.from_json(self._running.execute(context))
