"""Run as a child process: one DAG without scheduler, API server or triggerer, with no logical date, as asset-triggered runs have none.

``python -m tests.dags.run_dag DAG_ID FILE [PARAMETERS]``. Prints one JSON line: the run's state and every task's. Exit code 1 when the run did not succeed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from airflow.dag_processing.dagbag import BundleDagBag

from include.config.files import ROOT


def main(dag_id: str, file: str, parameters: str = "{}") -> int:
    bag = BundleDagBag(dag_folder=str(ROOT / file), bundle_path=Path(ROOT), bundle_name="platform")
    assert not bag.import_errors, bag.import_errors
    run = bag.dags[dag_id].test(logical_date=None, run_conf=json.loads(parameters))
    tasks = {task.task_id: str(task.state) for task in run.get_task_instances()}
    print(json.dumps({"state": str(run.state), "logical_date": run.logical_date and run.logical_date.isoformat(), "tasks": tasks}))
    return 0 if run.state == "success" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
