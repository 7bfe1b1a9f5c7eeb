"""Runs single tasks as a worker does: under Airflow's supervisor, in a process of their own, with the log in a file. No scheduler, no API server.

For the programs beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.api.common.trigger_dag import trigger_dag
from airflow.configuration import conf
from airflow.executors.workloads import ExecuteTask
from airflow.models.taskinstance import TaskInstance
from airflow.sdk.execution_time.supervisor import InProcessTestSupervisor, supervise_task
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType
from sqlalchemy import select
from sqlalchemy.orm import joinedload


def started_run(dag_id: str, run_id: str, **settings: Any) -> str:
    """A new run of a DAG that the DAG processor found, pinned as the API pins it."""
    run = trigger_dag(dag_id, run_id=run_id, triggered_by=DagRunTriggeredByType.TEST, **settings)
    assert run is not None
    return run_id


def run_task(dag_id: str, run_id: str, task_id: str) -> str:
    """Runs one task of a run and returns the state it ended in."""
    with create_session() as session:
        task = _instance(session, dag_id, run_id, task_id)
        task.set_state(TaskInstanceState.QUEUED, session=session)
        task.try_number = (task.try_number or 0) + 1
        session.flush()
        work = ExecuteTask.make(task)
    supervise_task(
        ti=work.ti,
        bundle_info=work.bundle_info,
        dag_rel_path=work.dag_rel_path,
        token="",
        client=InProcessTestSupervisor._api_client(),
        log_path=work.log_path,
    )
    with create_session() as session:
        return str(_instance(session, dag_id, run_id, task_id).state)


def log_of(dag_id: str, run_id: str, task_id: str) -> str:
    """What the supervisor wrote into a task's log files."""
    folder = Path(conf.get("logging", "base_log_folder")) / f"dag_id={dag_id}" / f"run_id={run_id}" / f"task_id={task_id}"
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.log")))


def _instance(session: Any, dag_id: str, run_id: str, task_id: str) -> TaskInstance:
    query = select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id, TaskInstance.task_id == task_id)
    found: TaskInstance = session.scalars(query.options(joinedload(TaskInstance.dag_model), joinedload(TaskInstance.dag_run))).unique().one()
    return found
