"""Airflow DAGs ``airbyte__<unit>``: one per file in ``include/units/airbyte``."""

from functools import partial

from airflow.sdk import get_parsing_context

from include.config.environments import current_environment
from include.config.errors import ConfigError
from include.config.load import BrokenUnit, load_units
from include.factories.airbyte import build_airbyte_dag
from include.factories.broken import build_broken_dag, build_or_explain
from include.lake.manifest import load_warehouse

wanted = get_parsing_context().dag_id  # set when a task runs: then only its DAG is built
environment = current_environment()
units, broken = load_units("airbyte", environment, wanted=wanted)
try:
    warehouse = load_warehouse() if units else None
except ConfigError as error:
    units, broken = (), (*broken, *(BrokenUnit(unit.dag_id, error) for unit in units))

for unit in units:
    globals()[unit.dag_id] = build_or_explain(unit.dag_id, partial(build_airbyte_dag, unit, environment, warehouse))
for unit in broken:
    globals()[unit.dag_id] = build_broken_dag(unit.dag_id, unit.error)
