"""``maintain__pointers``: one task that looks at every raw table's pointer and mends it."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from include.config.environments import EnvironmentSettings
from include.config.pointers import PointersUnit
from include.config.vocabulary import Profile
from include.pods.job import JobSpec
from include.pods.tasks import job_task
from include.policies import cron, dag_settings

TRIAGE = (
    "`repair` failed: the log lists tables that are not mended by a machine, each with its reason: the current snapshot and main have no common "
    "line, or the metadata file is damaged. Roll the table back to a snapshot that is right, then clear the task.",
    "To see what would be done, trigger with `dry_run`: nothing is changed.",
)


def build_pointers_dag(unit: PointersUnit, environment: EnvironmentSettings) -> DAG:
    """The DAG. It writes no table's rows, so it has no outlets: a mended table's news comes with its next sync."""
    settings = dag_settings(environment, "maintain", unit.owner, unit.tier, unit.layers, description=unit.description, triage=TRIAGE)
    with DAG(
        unit.dag_id,
        schedule=cron(environment, unit.cron),
        **settings,
        params={"dry_run": Param(False, type="boolean", description="Say what is wrong and change nothing.")},
    ) as dag:
        spec = JobSpec("repair-pointers", ("--dry-run", "{{ params.dry_run | string | lower }}"), domain="lakehouse", profile=Profile.S)
        job_task(spec, environment, task_id="repair")
    return dag
