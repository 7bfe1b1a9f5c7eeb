"""What the DAG processor asks the database for grows with a DAG's tags and assets, not with their product; what it learns is Airflow's."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow.dag_processing import collection
from airflow.models.asset import AssetModel, DagScheduleAssetReference, TaskOutletAssetReference
from airflow.models.base import Base
from airflow.models.dag import DagModel, DagTag
from sqlalchemy import create_engine, event, inspect
from sqlalchemy.engine import Engine
from sqlalchemy.orm import Session, joinedload

from include.config.files import ROOT
from plugins.dag_rows import read_each_kind_by_itself

TAGS, CAUSES, OUTLETS = 5, 8, 30
LOADED = ("tags", "schedule_asset_references", "schedule_asset_alias_references", "task_outlet_asset_references", "dag_owner_links")


@pytest.fixture
def engine() -> Iterator[Engine]:
    """Airflow's tables with one DAG: five tags, eight assets that start it, and thirty that it makes."""
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        assets = [AssetModel(name=f"asset {number}", uri=f"iceberg://lake/asset_{number}", group="lake") for number in range(CAUSES + OUTLETS)]
        session.add_all(assets)
        session.add(DagModel(dag_id="dbt__all", bundle_name="dbt", tags=[DagTag(name=f"tag {number}", dag_id="dbt__all") for number in range(TAGS)]))
        session.flush()
        session.add_all(DagScheduleAssetReference(dag_id="dbt__all", asset_id=asset.id) for asset in assets[:CAUSES])
        session.add_all(TaskOutletAssetReference(dag_id="dbt__all", task_id=f"model_{asset.id}", asset_id=asset.id) for asset in assets[CAUSES:])
        session.commit()
    yield engine
    engine.dispose()


def found(engine: Engine) -> tuple[DagModel, int]:
    """The DAG as the DAG processor reads it, and how many rows the database sent for it."""
    statements: list[tuple[str, object]] = []

    def keep(_connection: object, _cursor: object, statement: str, parameters: object, _context: object, _many: object) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "after_cursor_execute", keep)
    with Session(engine) as session:
        dag = collection.DagModelOperation(dags={"dbt__all": None}, bundle_name="dbt", bundle_version=None).find_orm_dags(session=session)["dbt__all"]
        session.expunge_all()
    event.remove(engine, "after_cursor_execute", keep)
    with engine.connect() as connection:
        return dag, sum(len(connection.exec_driver_sql(statement, parameters).fetchall()) for statement, parameters in statements)


def content(dag: DagModel) -> tuple[set[str], set[int], set[tuple[str, int]]]:
    """Asked of a DAG whose session has ended: what was not loaded raises."""
    assert not set(LOADED) & inspect(dag).unloaded
    outlets = {(reference.task_id, reference.asset_id) for reference in dag.task_outlet_asset_references}
    return {tag.name for tag in dag.tags}, {reference.asset_id for reference in dag.schedule_asset_references}, outlets


def test_rows_are_read_once_and_not_multiplied(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collection, "joinedload", joinedload)  # Airflow's own, and taken back afterwards
    of_airflow, product = found(engine)
    assert product == TAGS * CAUSES * OUTLETS, "Airflow reads them one by one itself: plugins/dag_rows.py can go"
    read_each_kind_by_itself(collection)
    ours, rows = found(engine)
    assert rows == 1 + TAGS + CAUSES + OUTLETS
    assert content(ours) == content(of_airflow)
    assert len(content(ours)[2]) == OUTLETS


def test_the_dag_processor_installs_it_and_no_task_imports_it(tmp_path: Path) -> None:
    child = """
import sys
if sys.argv[1] == "dag-processor":
    from airflow.cli.commands import dag_processor_command
from airflow.listeners.listener import get_listener_manager  # what a component's job and a task ask for when they start
get_listener_manager()
module = sys.modules.get("airflow.dag_processing.collection")
print(module and module.joinedload.__module__)
"""
    variables = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    told = {}
    for process in ("dag-processor", "task"):
        done = subprocess.run([sys.executable, "-c", child, process], cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        told[process] = done.stdout.splitlines()[-1]
    assert told == {"dag-processor": "dag_rows", "task": "None"}
