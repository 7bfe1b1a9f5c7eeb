"""Tasks that stand for dbt models. They do no work of their own: one build runs dbt, and each task turns green or red with its models.

A task waits in the triggerer from its first second (``start_from_trigger``), so that hundreds of them hold no worker. Cleared later,
it runs ``dbt build`` for its own models on a worker. ``airflow dags test`` starts no triggers and calls ``execute``, which judges the
models from what the build recorded.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import fsspec
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException, AirflowSkipException
from airflow.triggers.base import StartTriggerArgs

from include.config.environments import EnvironmentSettings
from include.contract import JobResult
from include.pods.job import JobSpec
from include.pods.tasks import job_task

UNFINISHED = frozenset({None, "scheduled", "queued", "running", "restarting", "deferred", "up_for_retry", "up_for_reschedule"})


class DbtModels(BaseOperator):
    """Stands for one model, or for all models of a subject area.

    :param models: unique ids in dbt's manifest.
    :param names: the models' names, for the selection of a rebuild.
    :param progress: path or URL of the run's progress document; templated.
    :param build_task_id: the task that runs dbt.
    :param rebuild: the job that builds these models alone, used when the task is cleared.
    """

    template_fields = ("progress",)
    start_from_trigger = True
    ui_color = "#dcfce7"

    def __init__(
        self, *, models: tuple[str, ...], progress: str, build_task_id: str, rebuild: JobSpec, environment: EnvironmentSettings, **kwargs: Any
    ) -> None:
        # A waiting task has nothing to retry: the build retries what a retry can mend, and a clear rebuilds.
        super().__init__(**{**kwargs, "retries": 0, "retry_policy": None})
        self.models = list(models)
        self.progress = progress
        self.build_task_id = build_task_id
        self.rebuild = rebuild
        self.environment = environment
        self._rebuilding: BaseOperator | None = None
        self.start_trigger_args = StartTriggerArgs(
            trigger_cls="model_triggers.ModelsTrigger",
            trigger_kwargs={"models": self.models, "progress": progress, "build_task_id": build_task_id},
            next_method="resume",
        )

    def execute(self, context: Any) -> None:
        """Judges the models from the progress document; comes back later while the build is not done with them."""
        ti = context["ti"]
        states = ti.get_task_states(dag_id=ti.dag_id, task_ids=[self.build_task_id], run_ids=[ti.run_id])
        build_state = next(iter(states.get(ti.run_id, {}).values()), None)
        done = build_state not in UNFINISHED
        verdict, message = judge(read_progress(self.progress), self.models, done)
        if verdict == "waiting":
            raise AirflowRescheduleException(datetime.now(UTC) + timedelta(seconds=1))
        if verdict == "skipped":
            raise AirflowSkipException(message)
        if verdict == "failed":
            raise AirflowFailException(message)

    def resume(self, context: Any, event: dict[str, Any]) -> str | None:
        """Builds these models alone, on a worker: the task was cleared after the build had ended."""
        self.log.info("cleared: building %s", ", ".join(name.rpartition(".")[2] for name in self.models))
        self._rebuilding = job_task(self.rebuild, self.environment, task_id=self.task_id, outlets=list(self.outlets))
        self._rebuilding.render_template_fields(context)
        result = JobResult.from_json(self._rebuilding.execute(context))
        failed = {state: count for state, count in result.facts["models"].items() if state != "success"}
        if failed:
            raise AirflowFailException("not all models were built: " + ", ".join(f"{count} {state}" for state, count in failed.items()))
        return result.to_json()

    def on_kill(self) -> None:
        """Ends the rebuild."""
        if self._rebuilding is not None:
            self._rebuilding.on_kill()


def read_progress(url: str) -> dict[str, Any] | None:
    """The progress document at a path or URL, ``None`` when there is none."""
    store, path = fsspec.core.url_to_fs(url)
    try:
        data: dict[str, Any] = json.loads(store.cat_file(path))  # in one request: it may be replaced at any moment
    except FileNotFoundError:
        return None
    return data


def progress_url(environment: EnvironmentSettings, dag_id: str) -> str:
    """Where a run's progress document lies; holds Airflow's template for the run."""
    return f"{environment.work}/progress/{dag_id}/{{{{ run_id }}}}.json"


def judge(document: dict[str, Any] | None, models: list[str], build_done: bool) -> tuple[str, str]:
    """``waiting``, ``success``, ``skipped`` or ``failed`` for a group of models, and why.

    :param build_done: the build task has ended, so nothing more will be written to the document.
    """
    if document is None or not document["selected"]:
        return ("failed", "the build ended without saying what became of these models") if build_done else ("waiting", "")
    wanted = [model for model in models if model in document["selected"]]
    if not wanted:
        return "skipped", "not part of this run's selection"
    states = {model: document["nodes"].get(model, {"state": "waiting", "message": ""}) for model in wanted}
    bad = {model: state for model, state in states.items() if state["state"] in ("failed", "skipped")}
    if any(state["state"] not in ("success", "failed", "skipped") for state in states.values()):
        if not build_done:
            return "waiting", ""
        bad = {model: state for model, state in states.items() if state["state"] != "success"}
    if bad:
        return "failed", "\n".join(f"{model.rpartition('.')[2]}: {state['message'] or state['state']}" for model, state in bad.items())
    return "success", ""
