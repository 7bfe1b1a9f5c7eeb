"""Runs the canaries' DAG task by task, asks the REST API for all it tells, and writes down what each sink holds.

``python canaries.py PLAN``: with an Airflow's settings in the environment and, as JSON, where the DAG lies, what to put into the metadata
database and where the evidence goes. Prints the state of every task. ``tests/security`` judges the evidence.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from airflow.api_fastapi.app import create_app
from airflow.configuration import conf
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db
from airflow.utils.session import create_session
from fastapi.testclient import TestClient
from sqlalchemy import inspect, text
from worker import run_task, started_run

DAG, BROKEN = "canary", "canary_broken"
TASKS = ("connections", "environment", "fails", "templated", "job", "dbt", "process_argument", "pod_argument")


def put(client: TestClient, plan: dict[str, Any]) -> None:
    """Connections and variables, over the REST API, which notes who did it."""
    for connection in plan["put_connections"]:
        answer = client.post("/api/v2/connections", json=connection)
        assert answer.status_code == 201, answer.text
    for key, value in plan["put_variables"].items():
        answer = client.post("/api/v2/variables", json={"key": key, "value": value})
        assert answer.status_code == 201, answer.text


def parse(folder: Path) -> Any:
    DagBundlesManager().sync_bundles_to_db()
    bag = BundleDagBag(dag_folder=str(folder / "dags"), bundle_path=folder, bundle_name="platform")
    sync_bag_to_db(bag, "platform", None)
    return bag


def pods(bag: Any) -> str:
    """The pod of a job with secrets and a control in its arguments, as it would go to the cluster's API."""
    from kubernetes.client import ApiClient

    from include.config.environments import current_environment
    from include.pods.operator import PlatformPodOperator

    made = PlatformPodOperator(task_id="made", spec=bag.dags[DAG].get_task("job").spec, environment=current_environment())
    return json.dumps(ApiClient().sanitize_for_serialization(made.build_pod_request_obj(dry_run=True)))


def answers(client: TestClient, run_id: str) -> str:
    """What the UI could show: every list, and for each task all that belongs to it."""
    run = f"/api/v2/dags/{DAG}/dagRuns/{run_id}"
    paths = [
        "connections",
        "variables",
        "eventLogs",
        "importErrors",
        "dags",
        "dagWarnings",
        "assets",
        "assets/events",
        "plugins",
        "pools",
        "config",
        "providers",
    ]
    wanted = [f"/api/v2/{path}?limit=100" for path in paths]
    wanted += [f"/api/v2/connections/{row['connection_id']}" for row in client.get("/api/v2/connections?limit=100").json()["connections"]]
    wanted += [f"/api/v2/dags/{dag_id}/details" for dag_id in (DAG, BROKEN)] + [f"/api/v2/dags/{dag_id}/tasks" for dag_id in (DAG, BROKEN)]
    wanted += [run, f"{run}/taskInstances", f"{run}/upstreamAssetEvents", f"/api/v2/dagSources/{DAG}", f"/ui/grid/runs/{DAG}"]
    for task in TASKS:
        of = f"{run}/taskInstances/{task}"
        wanted += [of, f"{of}/tries", f"{of}/logs/1?full_content=true", f"{of}/xcomEntries", f"{of}/xcomEntries/return_value", f"{of}/links"]
    found = []
    for path in wanted:
        answer = client.get(path, headers={"Accept": "application/json"})
        assert answer.status_code in (200, 403, 404), f"{path}: {answer.status_code} {answer.text[:500]}"
        found.append(f"{path} {answer.status_code} {json.dumps(answer.json(), ensure_ascii=False)}")
    return "\n".join(found)


def rows(tables: set[str] | None = None) -> str:
    """The metadata database as text: whatever a page may ever show comes from here."""
    with create_session() as session:
        names = inspect(session.get_bind()).get_table_names()
        wanted = [name for name in names if tables is None or name in tables]
        return "\n".join(f"{name} {row!r}" for name in wanted for row in session.execute(text(f'SELECT * FROM "{name}"')))


def main(plan: dict[str, Any]) -> None:
    evidence, folder = Path(plan["evidence"]), Path(plan["folder"])
    evidence.mkdir()
    with TestClient(create_app(), base_url="http://testserver") as client:
        token = client.post("/auth/token", json={"username": "admin", "password": "admin"}).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        put(client, plan)
        bag = parse(folder)
        run_id = started_run(DAG, "canary")
        states = {task: run_task(DAG, run_id, task) for task in TASKS}
        states |= {"broken": run_task(BROKEN, started_run(BROKEN, "canary"), "configuration")}
        said = {
            "rest": answers(client, run_id),
            "xcom": rows({"xcom"}),
            "events": rows({"asset_event"}),
            "rendered": rows({"rendered_task_instance_fields"}),
            "dags": rows({"serialized_dag", "dag", "import_error"}),
            "database": rows(),
            "pods": pods(bag),
            "logs": "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path(conf.get("logging", "base_log_folder")).rglob("*.log"))),
            "dbt": "\n".join(path.read_text(encoding="utf-8") for path in sorted(Path(plan["dbt"]).rglob("*.json"))),
        }
    for sink, found in said.items():
        (evidence / f"{sink}.txt").write_text(found, encoding="utf-8")
    print(os.environ["CANARY_CONTROL"])
    print(json.dumps({"states": states, "errors": bag.import_errors}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
