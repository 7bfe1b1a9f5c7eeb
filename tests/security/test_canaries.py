"""Thirty canaries are pushed through every way out that the platform has. None of them comes through, and a control beside them always does."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import logging
import os
import pkgutil
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import BaseModel, SecretStr

import include
from benchmarks.repository import copy_code
from include.config.confidential import is_secret_name
from include.config.environments import airbyte_application, read_environment
from include.config.files import ROOT
from include.local.platform import Platform
from include.local.postgres import Address
from tests.security.canaries import IN_URLS, OF_CONNECTIONS, OF_ENVIRONMENT, OF_VARIABLES, SHAPES, Canary, escaped, made, tried
from tests.security.secret_servers import ADMIN, AwsServer
from tests.supervised.database import airflow_settings, program

CONTROL = "zq-control-that-is-no-secret"
TABLE = "ol_data_lake_local.ol_warehouse_local_intermediate.int__canary__leak"
PLAIN = ("db_password", "special_password", "sql_password", "webhook_token", "pod_argument", "uri_password", "json_password")
MODEL = """select cast('[dbt_password={{ env_var("DBT_EXTRA_PASSWORD") }}] [control={{ env_var("CANARY_CONTROL") }}]' as integer) as a\n"""
GIVEN_BY_AIRFLOW = {*OF_CONNECTIONS, *OF_VARIABLES}
ENVIRONMENT = {**OF_ENVIRONMENT, **IN_URLS}
# which canaries are pushed where, at least
PUSHED = {
    "logs": {*GIVEN_BY_AIRFLOW, *ENVIRONMENT},
    "rest": {*GIVEN_BY_AIRFLOW, *ENVIRONMENT},
    "database": {*GIVEN_BY_AIRFLOW, *ENVIRONMENT},
    "xcom": {*GIVEN_BY_AIRFLOW, *ENVIRONMENT},
    "events": {*GIVEN_BY_AIRFLOW, *ENVIRONMENT},
    "rendered": {*PLAIN, "private_key", "variable_json", "backend_variable", "backend_password"},
    "dags": {*ENVIRONMENT},
    "dbt": {"dbt_password"},
    "pods": set(),  # nothing is pushed where only references go: the process that makes the pods knows all of them
    "output": set(),
}
pytestmark = [pytest.mark.lake, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Evidence:
    """What each sink held at the end, and how the tasks ended."""

    canaries: dict[str, Canary]
    sinks: dict[str, str]
    states: dict[str, str]
    database_password: str


def variables(canaries: dict[str, Canary], aws: AwsServer) -> dict[str, str]:
    """The environment of everything: Airflow, its tasks, their jobs."""
    value = {name: canary.value for name, canary in canaries.items()}
    found = {variable: value[name] for name, variable in OF_ENVIRONMENT.items()}
    return found | {
        "AIRBYTE_CLIENT_ID": "client",
        "FORUM_MONGODB_URI": f"mongodb://forum:{quote(value['forum_uri_password'], safe='')}@mongo.test/forum",
        "REPORTS_URL": f"https://reports:{quote(value['report_url_password'], safe='')}@reports.test/",
        "PYICEBERG_CATALOG__CANARY__URI": f"postgresql+psycopg2://iceberg:{quote(value['catalog_password'], safe='')}@db.test/iceberg",
        "AIRFLOW_CONN_CANARY_URI_PASSWORD": f"postgresql://user:{quote(value['uri_password'], safe='')}@db.test/x",
        "AIRFLOW_CONN_CANARY_JSON_PASSWORD": json.dumps({"conn_type": "http", "host": "h", "password": value["json_password"]}),
        "AIRFLOW__SECRETS__BACKEND": "platform_secrets.PlatformSecrets",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"source": "aws", "root": aws.root, "endpoint_url": aws.url, "region_name": "us-east-1"}),
        "AIRFLOW__SECRETS__BACKEND_KWARG__LOCATIONS": "platform,shared",
        "AWS_ACCESS_KEY_ID": ADMIN,
        "AWS_EC2_METADATA_DISABLED": "true",
        "CANARY_CONTROL": CONTROL,
        "OL_IMAGE_TAG": "t1",
    }


def into_airflow(canaries: dict[str, Canary], aws: AwsServer) -> dict[str, Any]:
    """Fills the secrets backend; returns what goes into the metadata database."""
    value = {name: canary.value for name, canary in canaries.items()}
    backend = {"conn_type": "http", "host": "h", "password": value["backend_password"], "extra": {"api_key": value["backend_extra"]}}
    aws.put("platform", "connections", "canary_backend", json.dumps(backend))
    aws.put("shared", "variables", "innocent", value["backend_variable"])
    aws.put("shared", "variables", "innocent_json", json.dumps({"colour": value["backend_leaf"]}))
    extras = {"token": value["extra_token"], "auth": {"client_secret": value["nested_secret"]}, "keyfile_dict": {"private_key": value["private_key"]}}
    stored = [name for name in PLAIN if name not in ("uri_password", "json_password")]
    connections = [{"connection_id": f"canary_{name}", "conn_type": "postgres", "host": "db.test", "password": value[name]} for name in stored]
    return {
        "put_connections": [*connections, {"connection_id": "canary_extras", "conn_type": "http", "host": "h", "extra": json.dumps(extras)}],
        "put_variables": {"canary_api_key": value["variable_api_key"], "canary_json": json.dumps({"password": value["variable_json"]})},
    }


def repository(folder: Path) -> Path:
    """A copy with the canaries' DAG, their job, and a dbt project of one model that shows a secret in its error."""
    code = copy_code(folder, {"canary.py": (Path(__file__).parent / "dags" / "canary.py").read_text(encoding="utf-8")})
    shutil.copy(Path(__file__).parent / "canary_job.py", code / "include" / "jobs" / "canary.py")
    entry = code / "include" / "jobs" / "__main__.py"
    entry.write_text(entry.read_text(encoding="utf-8").replace("JOBS = {", 'JOBS = {\n    "canary": "include.jobs.canary",'), encoding="utf-8")
    project = code / "include" / "dbt" / "open_learning"
    for part in ("models", "tests/singular"):
        shutil.rmtree(project / part)
    (project / "models" / "intermediate").mkdir(parents=True)
    (project / "models" / "intermediate" / "int__canary__leak.sql").write_text(MODEL, encoding="utf-8")
    return code


def parsed(project: Path, environ: dict[str, str]) -> None:
    """dbt's manifest of the copy."""
    command = [str(Path(sys.executable).with_name("dbt")), "--quiet", "parse", "--project-dir", str(project), "--profiles-dir", str(project)]
    done = subprocess.run(command, env={**os.environ, **environ}, capture_output=True, text=True, check=False, cwd=project)
    assert done.returncode == 0, done.stdout[-2000:]


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsServer]:
    server = AwsServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def evidence(lake: Platform, aws: AwsServer, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Everything that came out of a whole run."""
    canaries, folder = made(), tmp_path_factory.mktemp("canaries")
    environ = airflow_settings(lake, "airflow_canaries") | variables(canaries, aws) | lake.lake_environment()
    code = repository(folder / "code")
    environ["PYTHONPATH"] = str(code / "plugins")
    bundle = {"name": "platform", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {"path": str(code)}}
    environ |= {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]), "AIRFLOW_CONFIG": str(code / "airflow.cfg")}
    environ |= {"AIRFLOW__CORE__PLUGINS_FOLDER": str(code / "plugins")}
    parsed(code / "include" / "dbt" / "open_learning", environ)
    plan = {"control": CONTROL, "table": TABLE, "folder": str(folder / "dbt"), "connections": PLAIN, "environment": ENVIRONMENT}
    environ["CANARY_PLAN"] = json.dumps(plan)
    asked = {"evidence": str(folder / "evidence"), "folder": str(code), "dbt": str(folder / "dbt"), **into_airflow(canaries, aws)}
    told = program("canaries.py", json.dumps(asked), environ, folder)
    assert told["errors"] == {}
    sinks = {path.stem: path.read_text(encoding="utf-8") for path in (folder / "evidence").iterdir()}
    return Evidence(canaries, {**sinks, "output": told["output"]}, told["states"], lake.postgres.password)


def test_there_are_thirty() -> None:
    assert len(SHAPES) == 30
    assert len({canary.core for canary in made().values()}) == 30
    assert {*GIVEN_BY_AIRFLOW, *ENVIRONMENT} == SHAPES.keys()


def test_the_run_did_what_it_was_to_do(evidence: Evidence) -> None:
    ended = {task: state for task, state in evidence.states.items() if state != "success"}
    assert ended == dict.fromkeys(("fails", "process_argument", "pod_argument", "broken"), "failed"), evidence.states


@pytest.mark.parametrize("sink", PUSHED)
def test_no_canary_comes_through_and_the_control_does(sink: str, evidence: Evidence) -> None:
    found = evidence.sinks[sink]
    assert CONTROL in found, "the search would find what comes through here"
    assert PUSHED[sink] - tried(found) == set(), "pushed, and seen to have been"
    assert escaped(evidence.canaries, found) == set()
    assert evidence.database_password not in found


def test_a_secret_as_an_argument_is_refused_before_anybody_can_read_it(evidence: Evidence) -> None:
    assert evidence.sinks["logs"].count("verify-raw: argument 2 holds a secret") >= 2


@pytest.mark.parametrize("sink", PUSHED)
def test_the_search_finds_one_that_is_leaked(sink: str, evidence: Evidence) -> None:
    """Each canary, put into each sink's own text, as it is and in the forms of URLs, SQL, JSON and base64."""
    for name, canary in evidence.canaries.items():
        for written in (canary.value, quote(canary.value, safe=""), json.dumps(canary.value), repr(canary.value), _base64(f"user:{canary.value}")):
            middle = len(evidence.sinks[sink]) // 2
            leaked = evidence.sinks[sink][:middle] + written + evidence.sinks[sink][middle:]
            assert name in escaped(evidence.canaries, leaked), f"{name} as {written}"


def _base64(text: str) -> str:
    import base64

    return base64.b64encode(text.encode()).decode()


# --- repr of settings ---------------------------------------------------------------------------------------------------------------


def settings(canaries: dict[str, Canary]) -> dict[str, Any]:
    """What of the platform's settings is made from secrets."""
    value = {name: canary.value for name, canary in canaries.items()}
    return {
        "application": airbyte_application({"AIRBYTE_CLIENT_ID": "a", "AIRBYTE_CLIENT_SECRET": value["airbyte_secret"]}),
        "environment": read_environment({"OL_ENVIRONMENT": "local", **{variable: value[name] for name, variable in OF_ENVIRONMENT.items()}}),
        "postgres": Address(port=1, password=value["db_password"]),
    }


@pytest.mark.parametrize("way", ["repr", "str", "format", "traceback", "log"])
def test_settings_do_not_show_what_they_hold(way: str) -> None:
    canaries = made()
    for name, found in settings(canaries).items():
        out = io.StringIO()
        if way == "traceback":
            with contextlib.suppress(ValueError):
                raise_with(found, out)
        elif way == "log":
            out.write(logging.makeLogRecord({"msg": "%s %r", "args": (found, found)}).getMessage())
        else:
            out.write({"repr": repr, "str": str, "format": lambda one: f"{one} {[one]}"}[way](found))
        assert out.getvalue()
        assert escaped(canaries, out.getvalue()) == set(), name


def raise_with(found: Any, out: io.StringIO) -> None:
    try:
        raise ValueError(found)
    except ValueError as error:
        out.write("".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()))
        raise


def holders() -> Iterator[tuple[str, bool]]:
    """Every field of a settings class that is called like a secret, and whether its ``repr`` keeps it."""
    for module in pkgutil.walk_packages(include.__path__, "include."):
        if module.name.endswith("__main__") or module.name.startswith("include.dbt"):
            continue
        loaded = importlib.import_module(module.name)
        for kind in (kind for kind in vars(loaded).values() if isinstance(kind, type) and kind.__module__ == module.name):
            if is_dataclass(kind):
                yield from ((f"{kind.__name__}.{one.name}", not one.repr) for one in fields(kind) if is_secret_name(one.name) and one.type in ("str", str))
            elif issubclass(kind, BaseModel):
                for name, one in kind.model_fields.items():
                    if is_secret_name(name) and one.annotation in (str, SecretStr):
                        yield f"{kind.__name__}.{name}", one.annotation is SecretStr or not one.repr


def test_every_class_that_holds_a_secret_keeps_it() -> None:
    found = dict(holders())
    assert found.keys() >= {"Address.password", "Application.client_secret", "Tokens.client_secret"}
    names_only = {"SecretRef.secret"}  # the name of a Kubernetes secret
    assert {name for name, kept in found.items() if not kept} == names_only


def test_the_copy_is_of_this_repository() -> None:
    assert (ROOT / "plugins" / "secret_masking.py").exists()
