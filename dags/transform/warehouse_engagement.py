"""The Airflow DAG ``warehouse_engagement``: the part of the dbt project that reads Open edX's tracking logs, courses and forums."""

from include.config.environments import current_environment
from include.config.load import load_warehouse_unit
from include.factories.broken import build_or_explain
from include.factories.warehouse import build_warehouse_dag
from include.lake.manifest import load_warehouse

ID = "warehouse_engagement"
dag = build_or_explain(ID, lambda: build_warehouse_dag(load_warehouse_unit(unit_id=ID), current_environment(), load_warehouse()))
