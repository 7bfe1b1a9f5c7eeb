"""The DAG that stands for a unit that cannot be used: same id, no schedule, and a task that fails with the reason."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from airflow.sdk import DAG, BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from include.config.environments import secret_values
from include.config.errors import ConfigError
from include.pods.secrets import mask, without_secrets
from include.policies import START_DATE


class RaiseConfigError(BaseOperator):
    """Fails with a configuration error."""

    def __init__(self, *, message: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.message = message

    def execute(self, context: object) -> None:
        """Raises the error."""
        raise AirflowFailException(self.message)


def build_or_explain(dag_id: str, build: Callable[[], DAG]) -> DAG:
    """What ``build`` makes or, when it raises anything at all, the diagnostic DAG in its place: a fault in one unit must hurt no other.

    ``build`` makes its DAG with ``auto_register=False``, or Airflow would find a half-made one beside this.
    """
    try:
        return build()
    except Exception as error:  # noqa: BLE001 - shown in the DAG, which fails
        return build_broken_dag(dag_id, error)


def build_broken_dag(dag_id: str, error: Exception) -> DAG:
    """A diagnostic DAG in the place of the broken one: history and id survive, and nobody can overlook it."""
    if isinstance(error, ConfigError):
        what, message = "This unit's configuration cannot be used", str(error)
    else:
        what, message = "The code that builds this DAG failed", "".join(traceback.format_exception(error)).rstrip()
    mask(secret_values())  # an address with its password in a traceback would otherwise be read by whoever may see the DAG
    message = without_secrets(message)
    with DAG(
        dag_id,
        schedule=None,
        start_date=START_DATE,
        catchup=False,
        auto_register=False,
        tags=["config:broken"],
        doc_md=f"{what}:\n\n```\n{message}\n```\n",
        default_args={"retries": 0, "owner": "data-platform"},
    ) as dag:
        RaiseConfigError(task_id="configuration", message=message)
    return dag
