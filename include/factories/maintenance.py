"""``maintain__warehouse`` and ``maintain__raw``: one task over all tables of a group, and its state from night to night."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from include.config.environments import EnvironmentSettings
from include.config.maintenance import MaintenanceUnit
from include.config.vocabulary import Profile
from include.lake.assets import asset_of
from include.lake.names import table_in
from include.operators.maintenance import LastNight, RememberNight
from include.pods.job import JobSpec
from include.pods.tasks import job_task
from include.policies import LAKE_POOL, cron, dag_settings

TRIAGE = (
    "`maintain` failed: its log ends with the table of everything that was done and the names of the tables that failed, each with its error. "
    "Nothing is half done: clear the task, or leave it to the next night.",
    "Somebody misses a file: `python -m include.jobs quarantine restore --table <schema>.<table> --result /tmp/result.json` brings back what was taken "
    "away in the last days; roll the table back before the next night, or it is taken away again.",
    "To see what would be done, trigger with `dry_run`: nothing is changed. `tables` takes shell patterns of table names.",
)


def build_maintenance_dag(unit: MaintenanceUnit, name: str, environment: EnvironmentSettings) -> DAG:
    """A group's DAG. It writes no table's rows, so it has no outlets; the asset that holds its state stands for the group, not for a table."""
    group = unit.groups[name]
    settings = dag_settings(environment, "maintain", unit.owner, unit.tier, group.layers, description=group.description, triage=TRIAGE)
    with DAG(
        f"maintain__{name}",
        schedule=cron(environment, group.cron),
        **settings,
        params={
            "dry_run": Param(False, type="boolean", description="Say what would be done and change nothing."),
            "tables": Param("*", type="string", pattern=r"^[a-z0-9_*?]+$", description="Only tables whose names match this shell pattern."),
        },
    ) as dag:
        state = asset_of(environment, table_in(environment, group.layers[0], f"maintenance__{name}"))
        spec = JobSpec("maintain-tables", _arguments(name, environment), domain="lakehouse", profile=Profile.M, long=True)
        known = LastNight(task_id="known", asset=state)
        maintained = job_task(spec, environment, task_id="maintain", pool=LAKE_POOL)
        remember = RememberNight(task_id="remember", asset=state, maintain_task_id="maintain")
        purge = JobSpec("quarantine", ("purge", "--dry-run", "{{ params.dry_run | string | lower }}"), domain="lakehouse", profile=Profile.S)
        known >> maintained >> [remember, job_task(purge, environment, task_id="purge")]
    return dag


def _arguments(name: str, environment: EnvironmentSettings) -> tuple[str, ...]:
    return (
        *("--group", name, "--tables", "{{ params.tables }}", "--dry-run", "{{ params.dry_run | string | lower }}"),
        *("--state", f"{environment.work}/maintenance", "--known", "{{ ti.xcom_pull('known') }}", "--run-key", "{{ run_id }}"),
    )
