"""The Airflow DAG ``warehouse``: the dbt project from intermediate to reporting."""

from include.config.environments import current_environment
from include.config.load import load_warehouse_unit
from include.factories.broken import build_or_explain
from include.factories.warehouse import build_warehouse_dag
from include.lake.manifest import load_warehouse

dag = build_or_explain("warehouse", lambda: build_warehouse_dag(load_warehouse_unit(), current_environment(), load_warehouse()))
