"""One task of an Airflow on this machine, from its DAG file to its end.

``python laptop.py DAG_ID TASK_ID``, with an Airflow's settings in the environment. Prints one JSON object: what was seen.
``tests/kubernetes`` judges it.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from locations import dag_processor, parsed, returned, wait_for
from worker import log_of, run_task, started_run


def main(dag_id: str, task_id: str) -> None:
    """Parses, runs, tells."""
    with dag_processor(Path(os.environ["AIRFLOW_HOME"], "dag-processor.log")):
        wait_for(f"the DAG {dag_id}", lambda session: dag_id in parsed(session))
    run_id = started_run(dag_id, "laptop")
    state = run_task(dag_id, run_id, task_id)
    print(json.dumps({"state": state, "log": log_of(dag_id, run_id, task_id), "returned": returned(run_id, task_id) if state == "success" else None}))


if __name__ == "__main__":
    main(*sys.argv[1:])
