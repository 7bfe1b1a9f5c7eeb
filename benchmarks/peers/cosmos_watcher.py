"""Peer of P4, as an Airflow DAG: Cosmos in its recommended mode, one producer that runs ``dbt build`` and a waiting task for every model."""

from datetime import datetime
from pathlib import Path

from cosmos import DbtDag, ExecutionConfig, ProfileConfig, ProjectConfig, RenderConfig
from cosmos.constants import ExecutionMode, LoadMode

PROJECT = Path(__file__).resolve().parents[2] / "include" / "dbt" / "open_learning"

dag = DbtDag(
    dag_id="cosmos_watcher",
    schedule=None,
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    project_config=ProjectConfig(dbt_project_path=PROJECT, manifest_path=PROJECT / "target" / "manifest.json", install_dbt_deps=False),
    profile_config=ProfileConfig(profile_name="open_learning", target_name="local", profiles_yml_filepath=PROJECT / "profiles.yml"),
    render_config=RenderConfig(load_method=LoadMode.DBT_MANIFEST, exclude=["config.schema:staging", "tag:warehouse_engagement"]),
    execution_config=ExecutionConfig(execution_mode=ExecutionMode.WATCHER),
    default_args={"retries": 0},
)
