"""An Airflow DAG file that cannot be imported, and says why with all it knows."""

import json
import logging
import os

from airflow.sdk import BaseHook, Variable

PLAN = json.loads(os.environ["CANARY_PLAN"])
FOUND = {name: os.environ[variable] for name, variable in PLAN["environment"].items()}
FOUND |= {name: BaseHook.get_connection(f"canary_{name}").password for name in PLAN["connections"]}
FOUND |= {"backend_variable": Variable.get("innocent")}
SAID = [f"[{name}={value}]" for name, value in FOUND.items()]
print(SAID, dict(os.environ), flush=True)
logging.getLogger("airflow.task.canary").warning("%s %s", SAID, PLAN["control"])
raise RuntimeError(f"cannot be imported with {SAID} [control={PLAN['control']}]")
# [control=zq-control-that-is-no-secret], for who reads this file over the API
