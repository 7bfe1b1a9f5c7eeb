"""The Airflow DAG ``maintain__pointers``: tables whose readers do not see what was committed are found and mended."""

from include.config.environments import current_environment
from include.config.errors import ConfigError
from include.config.load import load_pointers_unit
from include.factories.broken import build_broken_dag, build_or_explain
from include.factories.pointers import build_pointers_dag

environment = current_environment()
try:
    unit = load_pointers_unit()
except ConfigError as error:
    dag = build_broken_dag("maintain__pointers", error)
else:
    if environment.name in unit.environments:
        dag = build_or_explain(unit.dag_id, lambda: build_pointers_dag(unit, environment))
