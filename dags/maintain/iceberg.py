"""The Airflow DAGs ``maintain__warehouse`` and ``maintain__raw``: tables stay small and fast, and what nobody can reach goes."""

from include.config.environments import current_environment
from include.config.errors import ConfigError
from include.config.load import load_maintenance_unit
from include.factories.broken import build_broken_dag, build_or_explain
from include.factories.maintenance import build_maintenance_dag

environment = current_environment()
try:
    unit = load_maintenance_unit()
except ConfigError as error:
    for dag_id in ("maintain__raw", "maintain__warehouse"):
        globals()[dag_id] = build_broken_dag(dag_id, error)
else:
    if environment.name in unit.environments:
        for dag_id, group in unit.dag_ids.items():
            globals()[dag_id] = build_or_explain(dag_id, lambda group=group: build_maintenance_dag(unit, group, environment))
