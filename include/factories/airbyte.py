"""``airbyte__<unit>``: sync → verify → stage. The raw and staging tables' events are emitted when all three have succeeded."""

from __future__ import annotations

from airflow.sdk import DAG

from include.config.environments import EnvironmentSettings
from include.config.units import AirbyteUnit
from include.config.vocabulary import Layer, Profile
from include.lake.assets import asset_of
from include.lake.manifest import Warehouse
from include.lake.names import table_in
from include.operators.airbyte import AirbyteSyncOperator
from include.operators.dbt import progress_url
from include.pods.job import JobSpec
from include.pods.tasks import job_task
from include.policies import LAKE_POOL, cron, dag_settings

TRIAGE = (
    "`sync` failed: the log names Airbyte's job; open it at Airbyte. A retry starts a new job, or takes over one that is running.",
    "`verify` failed: the log lists each table and what is wrong. A branch left behind is repaired, not synced again.",
    "`stage` failed: the log names the model and its first error; clear the task when the cause is gone.",
)


def build_airbyte_dag(unit: AirbyteUnit, environment: EnvironmentSettings, warehouse: Warehouse) -> DAG:
    """The DAG of one connection. Every stream's raw table and every staging model of the connection is an outlet."""
    raw = [asset_of(environment, table_in(environment, Layer.RAW, unit.table_of(stream))) for stream in unit.streams]
    models = warehouse.staging_of(unit.dbt_staging)
    staging = [asset_of(environment, model.table(environment)) for model in models]
    verify = JobSpec("verify-raw", ("--unit", unit.id, "--job-id", "{{ ti.xcom_pull('sync')['job_id'] }}"), domain="lakehouse", profile=Profile.S)
    stage = JobSpec(
        "dbt-build",
        (
            *("--select", " ".join(model.name for model in models)),
            *("--progress", progress_url(environment, unit.dag_id)),
            *("--run-key", "{{ run_id }}"),
            *("--artifacts", f"{environment.work}/dbt-artifacts/runs/{unit.dag_id}/{{{{ run_id }}}}"),
        ),
        domain="dbt",
        profile=Profile.M,
        image="dbt",
        long=True,
    )
    settings = dag_settings(environment, "airbyte", unit.owner, unit.tier, (Layer.RAW, Layer.STAGING), description=unit.description, triage=TRIAGE)
    with DAG(unit.dag_id, schedule=cron(environment, unit.cadence.cron), **settings) as dag:
        sync = AirbyteSyncOperator(
            task_id="sync", connection_id=str(unit.connection.ids[environment.name]), airbyte_conn_id=environment.airbyte_connection, inlets=[]
        )
        verified = job_task(verify, environment, task_id="verify")
        if models:
            last = job_task(stage, environment, task_id="stage", pool=LAKE_POOL, outlets=[*raw, *staging], publish_from=("verify",))
            sync >> verified >> last
        else:
            verified.outlets = raw
            sync >> verified
    return dag
