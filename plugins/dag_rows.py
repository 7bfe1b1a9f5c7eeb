"""The DAG processor reads a DAG's rows with one query for each kind, not with one that multiplies them.

Airflow 3.3 takes in a parsed file with a query that joins a DAG to its tags, its scheduling assets and its outlets all at once. The database answers with
their product: a DAG of models with five tags, twenty assets that start it and seven hundred that it makes has 70,000 rows to be sent and compared, each
time its file is parsed. With one DAG of 677 models (benchmark P4) that kept a core busy two seconds of five.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from sqlalchemy.orm.strategy_options import _AbstractLoad

READER = "airflow.dag_processing.collection"


def read_each_kind_by_itself(collection: ModuleType) -> None:
    """Makes the module's ``DagModelOperation.find_orm_dags`` load each relation with a ``SELECT … IN``. The row locks are still those of the DAGs alone."""
    if hasattr(collection, "joinedload"):
        vars(collection)["joinedload"] = _selectinload


def _selectinload(relation: Any, *, innerjoin: Any = None) -> _AbstractLoad:  # joinedload's arguments
    from sqlalchemy.orm import selectinload

    return selectinload(relation)


class DagRows(AirflowPlugin):
    """Installs it where DAGs are taken in: in the DAG processor, which has imported that module before it loads plugins."""

    name = "dag_rows"

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Called in each process that loads plugins."""
        if (collection := sys.modules.get(READER)) is not None:
            read_each_kind_by_itself(collection)
