"""The DAG that stands for a unit whose file cannot be used: same id, no schedule, and a task that fails with the reason."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from include.config.errors import ConfigError
from include.policies import START_DATE


class RaiseConfigError(BaseOperator):
    """Fails with a configuration error."""

    def __init__(self, *, message: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.message = message

    def execute(self, context: object) -> None:
        """Raises the error."""
        raise AirflowFailException(self.message)


def build_broken_dag(dag_id: str, error: ConfigError) -> DAG:
    """A diagnostic DAG in the place of the broken one: history and id survive, and nobody can overlook it."""
    message = str(error)
    with DAG(
        dag_id,
        schedule=None,
        start_date=START_DATE,
        catchup=False,
        tags=["config:broken"],
        doc_md=f"This unit's configuration cannot be used:\n\n```\n{message}\n```\n",
        default_args={"retries": 0, "owner": "data-platform"},
    ) as dag:
        RaiseConfigError(task_id="configuration", message=message)
    return dag
