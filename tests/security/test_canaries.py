"""Thirty canaries are pushed through every way out that a whole run has. None of them comes through, and a control beside them always does."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from include.local.airflow_api import TERMINAL, AirflowApi
from include.local.platform import Platform
from tests.security.canaries import OF_CONNECTIONS, OF_VARIABLES, SHAPES, Canary, escaped, made, tried
from tests.security.secret_servers import AwsServer
from tests.security.whole_run.evidence import RUN, Reader, database, files
from tests.security.whole_run.platform import CONTROL, ENVIRONMENT, PLAIN, fill_backend, running, to_be_stored

GIVEN_BY_AIRFLOW = {*OF_CONNECTIONS, *OF_VARIABLES}
EVERYTHING = {*GIVEN_BY_AIRFLOW, *ENVIRONMENT}
RENDERED = {*PLAIN, "private_key", "variable_json", "backend_variable", "backend_password"}
IMPORTED = {*PLAIN, *ENVIRONMENT, "backend_variable"}
# which canaries are pushed where, at least
PUSHED = {
    "task_logs": EVERYTHING,
    "component_logs": EVERYTHING,
    "api_logs": EVERYTHING,
    "api_xcom": EVERYTHING,
    "api_rendered": RENDERED,
    "api_assets": EVERYTHING,
    "api_import_errors": IMPORTED,
    "api_others": set(ENVIRONMENT),  # the DAG that could not be built
    "database": EVERYTHING,
    "database_xcom": EVERYTHING,
    "database_events": EVERYTHING,
    "database_rendered": RENDERED,
    "database_dags": {*ENVIRONMENT, *IMPORTED},
    "dbt": {"dbt_password"},
    # they hold connections, variables and settings themselves, or references alone: nothing is written there in brackets
    "api_connections": set(),
    "api_variables": set(),
    "api_event_logs": set(),
    "api_config": set(),
    "api_dag_sources": set(),
    "ui": set(),
    "html": set(),
    "pods": set(),
}
WITHOUT_CONTROL = {"html"}  # the same bytes whatever there is to show
STORED_IN = {"api_connections": [f"canary_{name}" for name in PLAIN[:5]], "api_variables": ["canary_api_key", "canary_json"]}
ENDS = {"fails": "failed", "process_argument": "failed", "pod_argument": "failed", "trigger_fails": "failed", "canary_broken": "failed"}
PATIENCE = 300.0  # seconds
pytestmark = pytest.mark.lake


@dataclass(frozen=True)
class Evidence:
    """What each sink held at the end, and how the tasks ended."""

    canaries: dict[str, Canary]
    sinks: dict[str, str]
    states: dict[str, str]
    passwords: tuple[str, ...]
    """Of the databases: no canaries, but nobody's business either."""


def wait_until(what: str, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"after {PATIENCE:.0f} s: {what}"
        time.sleep(0.3)


def run_everything(platform: Platform, api: AirflowApi) -> dict[str, str]:
    """Both DAGs, to their ends and to the callback after them; the states of all tasks."""
    for dag in ("canary", "canary_broken"):
        api.call("POST", f"/dags/{dag}/dagRuns", json={"dag_run_id": RUN, "logical_date": "2026-02-01T00:00:00Z"})  # the UI's calendar fails on runs without
    runs = [f"/dags/{dag}/dagRuns/{RUN}" for dag in ("canary", "canary_broken")]
    wait_until("both runs end", lambda: all(api.call("GET", run)["state"] in TERMINAL for run in runs))
    wait_until("the callback", lambda: "[called back]" in files(platform.paths.state, "*.log"))
    states = {task.task_id: task.state for task in api.tasks("canary", RUN)}
    return states | {"canary_broken": api.tasks("canary_broken", RUN)[0].state}


@pytest.fixture(scope="module")
def aws() -> Iterator[AwsServer]:
    server = AwsServer()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def evidence(lake: Platform, aws: AwsServer, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Everything that came out of a whole run."""
    canaries, folder = made(), tmp_path_factory.mktemp("canaries")
    fill_backend(canaries, aws)
    with running(canaries, aws, folder) as platform:
        api = AirflowApi(platform.airflow_url, *platform.airflow_login)
        for path, body in to_be_stored(canaries):
            api.call("POST", path, json=body)
        wait_until("the DAGs", lambda: {"canary", "canary_broken"} <= {dag["dag_id"] for dag in api.call("GET", "/dags")["dags"]})
        wait_until("the import error", lambda: api.call("GET", "/importErrors")["import_errors"])
        states = run_everything(platform, api)
        sinks = Reader(platform).sinks() | of_disk(platform, folder)
        return Evidence(canaries, sinks, states, (lake.postgres.password, platform.postgres.password))


def of_disk(platform: Platform, folder: Path) -> dict[str, str]:
    """What lies in files and in the metadata database."""
    state = platform.paths.state
    return {
        "task_logs": files(state / "airflow" / "logs", "dag_id=*/**/*.log*"),
        "component_logs": files(state / "logs", "*.log") + files(state / "airflow" / "logs" / "dag_processor", "*.log"),
        "dbt": files(folder / "dbt", "*.json"),
        "pods": (folder / "pods.yaml").read_text(encoding="utf-8"),
        "database": database(platform),
        "database_xcom": database(platform, {"xcom"}),
        "database_events": database(platform, {"asset_event"}),
        "database_rendered": database(platform, {"rendered_task_instance_fields"}),
        "database_dags": database(platform, {"serialized_dag", "dag", "import_error"}),
    }


def test_all_thirty_are_pushed() -> None:
    assert SHAPES.keys() == EVERYTHING


def test_the_run_did_what_it_was_to_do(evidence: Evidence) -> None:
    assert evidence.states == {**dict.fromkeys(evidence.states, "success"), **ENDS}
    assert len(evidence.states) == 12


@pytest.mark.parametrize("sink", PUSHED)
def test_no_canary_comes_through_and_the_control_does(sink: str, evidence: Evidence) -> None:
    found = evidence.sinks[sink]
    assert CONTROL in found or sink in WITHOUT_CONTROL, "the search would find what comes through here"
    assert PUSHED[sink] - tried(found) == set(), "pushed, and seen to have been"
    assert [name for name in STORED_IN.get(sink, ()) if name not in found] == []
    assert escaped(evidence.canaries, found) == set()
    assert [password for password in evidence.passwords if password in found] == []


def test_every_sink_is_judged(evidence: Evidence) -> None:
    assert evidence.sinks.keys() == PUSHED.keys()


def test_a_secret_as_an_argument_is_refused_before_anybody_can_read_it(evidence: Evidence) -> None:
    refused = set(re.findall(r"verify-raw: argument (\d+) holds a secret", evidence.sinks["task_logs"]))
    assert len(refused) == 2, "the job's second as a process, the one after python's own in a pod"


@pytest.mark.parametrize("sink", PUSHED)
def test_the_search_finds_one_that_is_leaked(sink: str, evidence: Evidence) -> None:
    """Each canary, put into each sink's own text, as it is and in the forms of URLs, JSON, Python and base64."""
    text = evidence.sinks[sink]
    before, after = text[: len(text) // 2], text[len(text) // 2 :]
    for name, canary in evidence.canaries.items():
        headers = [base64.b64encode(f"{user}:{canary.value}".encode()).decode() for user in ("u", "us", "use")]
        for written in (canary.value, quote(canary.value, safe=""), json.dumps(canary.value), repr(canary.value), *headers):
            assert name in escaped({name: canary}, before + written + after), f"{name} as {written}"
