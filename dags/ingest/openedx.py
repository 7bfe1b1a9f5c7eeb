"""Airflow DAGs ``openedx__<deployment>__…``: sweep, course, tracking logs and forum of every file in ``include/units/openedx``."""

from airflow.sdk import get_parsing_context

from include.config.environments import current_environment
from include.config.load import load_units
from include.factories.broken import build_broken_dag, build_or_explain
from include.factories.openedx import build_openedx_dags

wanted = get_parsing_context().dag_id  # set when a task runs: then only its DAG is built
environment = current_environment()
units, broken = load_units("openedx", environment, wanted=wanted)

for unit in units:
    for dag_id, build in build_openedx_dags(unit, environment).items():
        if wanted in (None, dag_id):
            globals()[dag_id] = build_or_explain(dag_id, build)
for unit in broken:
    globals()[unit.dag_id] = build_broken_dag(unit.dag_id, unit.error)
