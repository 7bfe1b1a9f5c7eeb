"""The Airflow DAG ``branches``: clones of closed and forgotten pull requests go. Absent where no pull request has any."""

from include.config.environments import current_environment
from include.config.errors import ConfigError
from include.config.load import load_branches_unit
from include.factories.branches import build_branches_dag
from include.factories.broken import build_broken_dag, build_or_explain

environment = current_environment()
try:
    unit = load_branches_unit()
except ConfigError as error:
    dag = build_broken_dag("branches", error)
else:
    if environment.name in unit.environments:
        dag = build_or_explain(unit.id, lambda: build_branches_dag(unit, environment))
