"""An Airflow DAG that does with secrets whatever must not be done with them, and tells a control beside each."""

from __future__ import annotations

import base64
import json
import logging
import os
import subprocess
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml
from airflow.sdk import DAG, BaseHook, BaseOperator, Variable
from canary_triggers import CanaryTrigger

from include.config.environments import current_environment
from include.contract import JobResult, TableResult
from include.factories.broken import build_or_explain
from include.lake.assets import asset_of
from include.lake.names import TableRef
from include.pods.job import JobSpec
from include.pods.operator import PlatformPodOperator
from include.pods.outcome import publish
from include.pods.process import ProcessJobOperator
from include.pods.secrets import SecretRef

log = logging.getLogger("airflow.task.canary")
PLAN = json.loads(os.environ["CANARY_PLAN"])  # control, table, folder, connections, environment: names, no secrets
CONTROL = f"[control={PLAN['control']}]"
TABLE = TableRef(*PLAN["table"].split("."))


def of_connections() -> dict[str, str]:
    """Every secret that Airflow itself gives, by the canary's name."""
    found = {name: BaseHook.get_connection(f"canary_{name}").password for name in PLAN["connections"]}
    extra = BaseHook.get_connection("canary_extras").extra_dejson
    found |= {"extra_token": extra["token"], "nested_secret": extra["auth"]["client_secret"], "private_key": extra["keyfile_dict"]["private_key"]}
    backend = BaseHook.get_connection("canary_backend")
    found |= {"backend_password": backend.password, "backend_extra": backend.extra_dejson["api_key"]}
    found |= {"backend_variable": Variable.get("innocent"), "backend_leaf": Variable.get("innocent_json", deserialize_json=True)["colour"]}
    return found | {"variable_api_key": Variable.get("canary_api_key"), "variable_json": Variable.get("canary_json", deserialize_json=True)["password"]}


def of_environment() -> dict[str, str]:
    """What the process was started with."""
    return {name: os.environ[variable] for name, variable in PLAN["environment"].items()}


def said(secrets: dict[str, str]) -> list[str]:
    return [f"[{name}={value}]" for name, value in secrets.items()]


def basic(value: str) -> str:
    return base64.b64encode(f"user:{value}".encode()).decode()


class Connections(BaseOperator):
    """Logs, returns and publishes what connections and variables hold."""

    def execute(self, context: Any) -> Any:
        secrets = of_connections()
        everything = " ".join(said(secrets))
        log.info("plain %s %s", everything, CONTROL)
        print("\n".join(said(secrets)), flush=True)
        log.info("urls %s", [f"[{name}=https://u:{quote(value, safe='')}@h/?token={quote(value)}]" for name, value in secrets.items()])
        log.info("json %s", json.dumps({"all": [json.dumps(secrets)]}))
        log.info("repr %r", secrets)
        log.info("sql %s", [f"[{name}=CREATE CATALOG c WITH (password = '{value.replace(chr(39), chr(39) * 2)}')]" for name, value in secrets.items()])
        log.info("headers %s", {name: basic(value) for name, value in secrets.items()})
        log.warning("dictionary", extra={"more": secrets})
        result = JobResult(tables={str(TABLE): TableResult(rows=3, extra={"note": everything + CONTROL})}, links={"page": everything})
        self.outlets = publish(list(self.outlets), context["outlet_events"], [result], {"task": "https://u:" + quote(secrets["special_password"]) + "@h"})
        context["ti"].xcom_push("headers", {name: basic(value) for name, value in secrets.items()})
        return {"said": said(secrets), "control": CONTROL, "rows": 3}


class Environment(BaseOperator):
    """Prints everything that the process was started with, itself and by a child."""

    def execute(self, context: Any) -> Any:
        log.info("%s %s", said(of_environment()), CONTROL)
        print(dict(os.environ), flush=True)
        subprocess.run(["env"], check=True)
        return said(of_environment())


class Fails(BaseOperator):
    """Meets the errors of libraries that speak of their addresses, and ends with one of its own."""

    def execute(self, context: Any) -> Any:
        import httpx
        import psycopg
        import requests

        secrets = of_connections()
        for name, value in secrets.items():
            for call in (
                lambda value=value: httpx.get(f"http://user:{quote(value, safe='')}@127.0.0.1:1/?token={quote(value)}"),
                lambda value=value: requests.get(f"http://user:{quote(value, safe='')}@127.0.0.1:1/?token={quote(value)}", timeout=1),
                lambda value=value: psycopg.connect(f"postgresql://user:{quote(value, safe='')}@127.0.0.1:1/x?application_name={quote(value)}"),
                lambda value=value: psycopg.connect(f"host=127.0.0.1 port=1 pasword='{value}'"),
                lambda value=value: json.loads(f"{{{value}"),
                lambda value=value: int(value),
            ):
                try:
                    call()
                except Exception:
                    log.exception("[%s=", name)
        try:
            raise KeyError(CONTROL, *said(secrets))
        except KeyError as error:
            raise RuntimeError(f"cannot open {said(secrets)} {CONTROL}") from error


class Templated(BaseOperator):
    """Has secrets rendered into its fields, which the UI shows."""

    template_fields = ("texts", "options")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.texts = [f"[{name}={{{{ conn.canary_{name}.password }}}}]" for name in PLAN["connections"]] + [CONTROL]
        self.options = {
            "plain": "[backend_variable={{ var.value.innocent }}] [backend_password={{ conn.canary_backend.password }}]",
            "url": "[special_password={{ conn.canary_special_password.get_uri() }}]",
            "json": "[private_key={{ conn.canary_extras.extra }}] [variable_json={{ var.json.canary_json }}]",
        }

    def execute(self, context: Any) -> Any:
        return [self.texts, self.options]


class Waits(BaseOperator):
    """Hands over to a trigger that tells what it knows, and tells what it is given back."""

    def __init__(self, *, ends: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.ends = ends

    def execute(self, context: Any) -> Any:
        self.defer(trigger=CanaryTrigger(CONTROL, PLAN["connections"], PLAN["environment"], self.ends), method_name="resume")

    def resume(self, context: Any, event: Any = None) -> Any:
        log.info("the trigger said %s", event)
        return event


class Pods(BaseOperator):
    """Writes the pods of jobs down as they would go to the cluster's API, in a process that knows every secret."""

    def __init__(self, *, specs: list[JobSpec], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.specs = specs

    def execute(self, context: Any) -> None:
        from kubernetes.client import ApiClient

        of_connections()
        pods = [PlatformPodOperator(task_id=f"made_{one.job}", spec=one, environment=current_environment()) for one in self.specs]
        made = [ApiClient().sanitize_for_serialization(pod.build_pod_request_obj(dry_run=True)) for pod in pods]
        Path(PLAN["folder"], "pods.yaml").write_text(yaml.safe_dump_all(made, allow_unicode=True), encoding="utf-8")


def broken() -> DAG:
    raise RuntimeError(f"cannot build with {said(of_environment())} {CONTROL}")


def run_failed(context: Any) -> None:
    """Runs in the DAG processor."""
    secrets = {**of_connections(), **of_environment()}
    log.warning("the run failed: %s %s", said(secrets), CONTROL)
    print(said(secrets), dict(os.environ), flush=True)
    raise RuntimeError(f"cannot tell of {said(secrets)} [called back]")


with DAG("canary", schedule=None, description=CONTROL, default_args={"retries": 0}, on_failure_callback=run_failed) as dag:
    environment = current_environment()
    asset = asset_of(environment, TABLE)
    named = tuple(SecretRef(variable, "some-secret", name.replace("_", "-")) for name, variable in PLAN["environment"].items())
    told = JobSpec("canary", ("--control", CONTROL, "--table", str(TABLE)), domain="lakehouse", secrets=named)
    of_dbt = ("--progress", f"{PLAN['folder']}/dbt/progress.json", "--run-key", "k", "--artifacts", f"{PLAN['folder']}/dbt/artifacts")
    build = JobSpec("dbt-build", ("--select", "int__canary__leak", *of_dbt), domain="dbt", image="dbt")
    ProcessJobOperator(task_id="dbt", spec=build)
    Connections(task_id="connections", outlets=[asset])
    Environment(task_id="environment")
    Fails(task_id="fails")
    Templated(task_id="templated")
    ProcessJobOperator(task_id="job", spec=told, outlets=[asset])
    Waits(task_id="trigger", ends="event")
    Waits(task_id="trigger_fails", ends="error")
    Pods(task_id="pods", specs=[told, build])
    arguments = ("--unit", "[pod_argument={{ conn.canary_pod_argument.password }}]" + CONTROL)
    ProcessJobOperator(task_id="process_argument", spec=JobSpec("verify-raw", arguments, domain="lakehouse"))
    PlatformPodOperator(task_id="pod_argument", spec=JobSpec("verify-raw", arguments, domain="lakehouse"), environment=environment)

canary_broken = build_or_explain("canary_broken", broken)
# [control=zq-control-that-is-no-secret], for who reads this file over the API
