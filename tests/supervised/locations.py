"""Two code locations under a real DAG processor, one with a file that cannot be imported; then a second release of one while a run is under way.

``python locations.py DEPLOYMENTS``, with an Airflow's settings in the environment and, as JSON, two sets of variables: before and after
the deployment. Prints one JSON object: what was seen. ``tests/locations`` judges it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.errors import ParseImportError
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session
from sqlalchemy import select
from worker import run_task, started_run

DEADLINE = 600.0


@contextmanager
def dag_processor(log: Path) -> Iterator[None]:
    """Airflow's own, for the length of a block."""
    fast = {
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "1",
        "AIRFLOW__DAG_PROCESSOR__BUNDLE_REFRESH_CHECK_INTERVAL": "1",
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",  # or a DAG that changes within 30 s of its last change is not stored
    }
    with (
        log.open("ab") as stream,
        subprocess.Popen(
            [sys.executable, "-m", "airflow", "dag-processor"], env={**os.environ, **fast}, stdout=stream, stderr=stream, start_new_session=True
        ) as process,
    ):
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def wait_for(what: str, condition: Callable[[Any], Any]) -> Any:
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        with create_session() as session:
            if found := condition(session):
                return found
        time.sleep(0.3)
    raise TimeoutError(f"after {DEADLINE:.0f} s: {what}")


def parsed(session: Any) -> dict[str, list[str | None]]:
    """Bundle and version of every DAG that is there."""
    return {model.dag_id: [model.bundle_name, model.bundle_version] for model in session.scalars(select(DagModel).where(~DagModel.is_stale))}


def returned(run_id: str, task_id: str) -> Any:
    with create_session() as session:
        row = session.scalars(select(XComModel).where(XComModel.run_id == run_id, XComModel.task_id == task_id, XComModel.key == "return_value")).one()
        return XComModel.deserialize_value(row)


def deploy(variables: dict[str, str]) -> None:
    """Makes this process, and what it starts, one of a deployment; its path is that of a process in the new image."""
    before = os.environ["PYTHONPATH"].split(":")
    os.environ |= variables
    sys.path[:] = [sys.path[0], *os.environ["PYTHONPATH"].split(":"), *(place for place in sys.path[1:] if place not in before)]


def main(deployments: list[dict[str, str]]) -> None:
    log = Path("dag-processor.log")
    told: dict[str, Any] = {}
    deploy(deployments[0])
    with dag_processor(log):
        told["dags"] = wait_for("the DAGs of both locations", lambda session: found if len(found := parsed(session)) >= 2 else None)
        errors = wait_for("the import error", lambda session: session.scalars(select(ParseImportError)).all())
        told["errors"] = [[error.bundle_name, error.filename, error.stacktrace.splitlines()[-1]] for error in errors]
    old = started_run("steady", "old")
    told["old"] = {"first": [run_task("steady", old, "first"), returned(old, "first")]}
    deploy(deployments[1])
    with dag_processor(log):
        before = told["dags"]["steady"][1]
        told["dags_after"] = wait_for("the second release", lambda session: found if (found := parsed(session))["steady"][1] != before else None)
    told["old"]["second"] = [run_task("steady", old, "second"), returned(old, "second")]
    new = started_run("steady", "new")
    told["new"] = {"third": [run_task("steady", new, "third"), returned(new, "third")]}
    with create_session() as session:
        told["runs"] = {run.run_id: run.bundle_version for run in session.scalars(select(DagRun))}
    late = started_run("steady", "late")
    for folder in (Path("work/releases/platform"), Path(os.environ["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH"], "platform", "versions")):
        shutil.rmtree(folder)
    told["without_the_store"] = {"old": run_task("steady", old, "first"), "late": run_task("steady", late, "third")}
    print(json.dumps(told))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
