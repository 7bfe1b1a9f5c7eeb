"""The Airflow DAG ``learn_webhooks``: MIT Learn hears of new course content. Absent where nobody is told."""

from include.config.environments import current_environment
from include.config.errors import ConfigError
from include.config.load import load_learn_webhooks_unit
from include.factories.broken import build_broken_dag, build_or_explain
from include.factories.learn_webhooks import build_learn_webhooks_dag

environment = current_environment()
try:
    unit = load_learn_webhooks_unit()
except ConfigError as error:
    dag = build_broken_dag("learn_webhooks", error)
else:
    if environment.name in unit.environments:
        dag = build_or_explain(unit.id, lambda: build_learn_webhooks_dag(unit, environment))
