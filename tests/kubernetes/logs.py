"""Logs of tasks as Airflow's UI shows them, once they lie on the object store: they are put there after the end of their task was told."""

from __future__ import annotations

import json
import time

from include.local.airflow_api import AirflowApi, Task

STORE = "s3://"


def stored_log(api: AirflowApi, dag_id: str, run_id: str, task: Task, words: str = "", seconds: float = 90.0) -> str:
    """The log of a task's try, a line of JSON for each line, once these words are in it; after ``seconds``, whatever there is."""
    deadline = time.monotonic() + seconds
    while True:
        text = "\n".join(json.dumps(line) for line in api.log_lines(dag_id, run_id, task))
        if (STORE in text and words in text) or time.monotonic() > deadline:
            return text
        time.sleep(1)
