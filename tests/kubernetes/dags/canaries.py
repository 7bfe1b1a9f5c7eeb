"""Airflow DAG that does with thirty secrets whatever must not be done with them, in worker pods and in pods of jobs, and tells a control beside each.

The secrets have numbers here, for what they are is the test's to know (tests/security/canaries.py): connections ``canary_00`` to ``canary_29``, and the
same values under the keys ``canary-00`` to ``canary-29`` of the Kubernetes secret ``canaries``.
"""

from __future__ import annotations

import base64
import json
import logging
import os
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from airflow.sdk import DAG, BaseHook, BaseOperator

from include.config.environments import current_environment
from include.config.vocabulary import Profile
from include.lake.assets import asset_of
from include.lake.names import TableRef
from include.pods.job import JobSpec
from include.pods.secrets import SecretRef
from include.pods.tasks import job_task
from include.policies import START_DATE

log = logging.getLogger("airflow.task.canaries")
NUMBERS = [f"{number:02}" for number in range(30)]
CONTROL = "[control=zq-control-that-is-no-secret]"
TABLE = TableRef("ol_data_lake_local", "ol_warehouse_local_intermediate", "int__canary__leak")
LARGE = 70_000  # characters; more than the threshold of helm/airflow/base.yaml
JOB = """
import logging, os, sys
from pathlib import Path
from include.contract import JobResult, TableResult, log_as_json_lines, write_result
from include.jobs.__main__ import keep_secrets
keep_secrets()
log_as_json_lines()
result, table, control, end = sys.argv[1:]
said = [f"[{name[7:9]}={value}]" for name, value in sorted(os.environ.items()) if name.startswith("CANARY_")]
print(said, control, dict(os.environ), flush=True)
logging.getLogger("canary").warning("told %s %r", said, dict(os.environ))
everything = " ".join(said) + control
if end == "fails":
    raise RuntimeError(everything)
write_result(Path(result), JobResult(tables={table: TableResult(rows=1, extra={"note": everything})}, facts={"said": said}, links={"page": everything}))
"""


@dataclass(frozen=True)
class Leak(JobSpec):
    """A job that prints, logs, returns or raises all that it was given in confidence."""

    def command(self, result: str, python: str = "python") -> list[str]:
        """The script's command line."""
        return [python, "-c", JOB, result, *self.arguments]


class GivesAway(BaseOperator):
    """Has secrets rendered into its fields, writes them in every form into its log, and returns them, or ends with an error that holds them."""

    template_fields = ("texts",)

    def __init__(self, *, fails: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.fails = fails
        self.texts = [f"[{number}={{{{ conn.canary_{number}.password }}}}]" for number in NUMBERS] + [CONTROL]

    def execute(self, context: Any) -> Any:
        secrets = {number: BaseHook.get_connection(f"canary_{number}").password for number in NUMBERS}
        said = [f"[{number}={value}]" for number, value in secrets.items()]
        log.info("plain %s %s", said, CONTROL)
        print("\n".join(said), dict(os.environ), flush=True)
        log.info("urls %s", [f"[{number}=https://u:{quote(value, safe='')}@h/?token={quote(value)}]" for number, value in secrets.items()])
        log.info("json %s repr %r", json.dumps({"all": [json.dumps(secrets)]}), secrets)
        log.info("sql %s", [f"[{number}=PASSWORD '{value.replace(chr(39), chr(39) * 2)}']" for number, value in secrets.items()])
        log.info("headers %s", [base64.b64encode(f"user:{value}".encode()).decode() for value in secrets.values()])
        context["ti"].xcom_push("small", [*said, CONTROL])
        if self.fails:
            raise RuntimeError(f"cannot open {said} {CONTROL}")
        return {"said": said, "control": CONTROL, "ballast": "x" * LARGE}


environment = current_environment()
refs = tuple(SecretRef(f"CANARY_{number}_PASSWORD", "canaries", f"canary-{number}") for number in NUMBERS)
with DAG("canaries", schedule=None, start_date=START_DATE, default_args={"retries": 0}, auto_register=False) as dag:
    for end in ("returns", "fails"):
        GivesAway(task_id=f"worker_{end}", fails=end == "fails", executor="KubernetesExecutor")
        spec = Leak(f"leak-{end}", (str(TABLE), CONTROL, end), domain="lakehouse", profile=Profile.S, secrets=refs)
        job_task(spec, environment, task_id=f"job_{end}", executor="LocalExecutor", outlets=[asset_of(environment, TABLE)] if end == "returns" else [])
