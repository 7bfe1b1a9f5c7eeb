"""The Airflow DAG ``warehouse``: the dbt project from intermediate to reporting."""

from include.config.environments import current_environment
from include.config.errors import ConfigError
from include.config.load import load_warehouse_unit
from include.factories.broken import build_broken_dag
from include.factories.warehouse import build_warehouse_dag
from include.lake.manifest import load_warehouse

try:
    dag = build_warehouse_dag(load_warehouse_unit(), current_environment(), load_warehouse())
except ConfigError as error:
    dag = build_broken_dag("warehouse", error)
