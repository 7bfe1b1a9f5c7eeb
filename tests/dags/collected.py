"""What the DAG files give, collected once a session by two child processes with different hash seeds."""

from __future__ import annotations

import atexit
import json
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from include.config.environments import EnvironmentSettings, read_environment
from include.config.files import ROOT, UNITS
from include.lake.manifest import MANIFEST
from tests.variables import without_platform

FILES = sorted(path for path in (ROOT / "dags").rglob("*.py"))
TAG = "2026.11.20-3f2a1c0"
DIGESTS = {"dbt": "sha256:" + "0d" * 32, "jobs": "sha256:" + "0f" * 32, "openedx": "sha256:" + "0e" * 32}
VERSION = {"OL_IMAGE_TAG": TAG, "OL_IMAGE_DIGESTS": ",".join(f"{key}={digest}" for key, digest in DIGESTS.items())}
ENVIRONMENTS: dict[str, dict[str, str]] = {
    "local": {"OL_ENVIRONMENT": "local"},
    "local-area": {"OL_ENVIRONMENT": "local", "OL_GRANULARITY": "area"},
    "local-pods": {"OL_ENVIRONMENT": "local", "OL_RUNTIME": "pod", "OL_IMAGE_TAG": TAG},
    "branch": {"OL_ENVIRONMENT": "branch", "OL_SCHEMA_SUFFIX": "pr_1523", "OL_IMAGE_TAG": TAG},
    "qa": {"OL_ENVIRONMENT": "qa", "OL_IMAGE_TAG": TAG},
    "production": {"OL_ENVIRONMENT": "production", "OL_CLUSTER": "production", **VERSION},
}
WANTED = "airbyte__mitxpro__app_postgres"
BROKEN = "mitxpro__app_postgres"
PROBE = '''"""Not an Airflow DAG file to keep: it reaches for everything that parsing must not need, and swallows every refusal."""

import contextlib
import os
import socket
import sqlite3
import subprocess
import urllib.request

import psycopg
import psycopg2
from airflow import settings
from airflow.sdk import DAG

with contextlib.suppress(Exception):
    socket.create_connection(("127.0.0.1", 9), timeout=1)
with contextlib.suppress(Exception):
    urllib.request.urlopen("http://localhost:9/", timeout=1)
with contextlib.suppress(Exception):
    sqlite3.connect(":memory:")
with contextlib.suppress(Exception):
    psycopg.connect("host=127.0.0.1 port=9 connect_timeout=1")
with contextlib.suppress(Exception):
    psycopg2.connect("host=127.0.0.1 port=9 connect_timeout=1")
with contextlib.suppress(Exception):
    subprocess.run(["true"])
with contextlib.suppress(Exception):
    os.system("true")
session = "refused"
with contextlib.suppress(Exception):
    settings.Session()
    session = "given"
dag = DAG(f"probe_{session}", schedule=None)
'''
UNSORTED = '''"""Not an Airflow DAG file to keep: the order of its tags and tasks depends on the hash seed."""

from airflow.sdk import DAG, BaseOperator

with DAG("unsorted", schedule=None) as dag:
    for name in {"a", "b", "c", "d", "e", "f", "g", "h"}:
        BaseOperator(task_id=name)
'''
UNSTABLE = '''"""Not an Airflow DAG file to keep: its DAG is another one at every parse."""

from datetime import datetime

from airflow.sdk import DAG

dag = DAG("unstable", start_date=datetime.now())
'''


def settings_of(name: str) -> EnvironmentSettings:
    """The settings of one of :data:`ENVIRONMENTS`."""
    return read_environment(ENVIRONMENTS[name])


def dags_of(name: str) -> dict[str, Any]:
    """The DAGs of a case by id, in detail."""
    found: dict[str, Any] = in_detail()["cases"][name]["dags"]
    return found


def canonical(dag: dict[str, Any]) -> str:
    """A serialised DAG as Airflow hashes it, but with every list in its own order: Airflow sorts keys too, its sets have none."""
    return json.dumps(dag["serialized"], sort_keys=True)


def in_detail() -> dict[str, Any]:
    """The answer of the child with hash seed 0: all cases, the environments in detail."""
    return _answer(0)


def under_both_seeds() -> tuple[dict[str, Any], dict[str, Any]]:
    """That, and the answer of the child with hash seed 1: the environments alone. Both run at a time."""
    for seed in (0, 1):
        _child(seed)
    return _answer(0), _answer(1)


@cache
def _answer(seed: int) -> dict[str, Any]:
    child, reply = _child(seed)
    if child.wait(timeout=1200) != 0:
        log = reply.with_name(reply.name.replace("reply", "log")).with_suffix(".txt").read_text(encoding="utf-8")
        pytest.fail(f"collecting the DAGs failed:\n{log[-6000:]}", pytrace=False)
    found: dict[str, Any] = json.loads(reply.read_text(encoding="utf-8"))
    return found


@cache
def _child(seed: int) -> tuple[subprocess.Popen[str], Path]:
    if not MANIFEST.exists():
        pytest.fail(f"{MANIFEST.relative_to(ROOT)} is not there: run `make setup`", pytrace=False)
    folder = _folder()
    files = [str(path) for path in FILES]
    plain = {name: {"environ": environ, "files": files} for name, environ in ENVIRONMENTS.items()}
    unsorted = {"environ": ENVIRONMENTS["local"], "files": [str(folder / "unsorted.py")]}
    if seed:
        return _start(folder, seed, {"cases": {**plain, "unsorted": unsorted}})
    detailed = {name: {**case, "details": True, "discover": name == "local"} for name, case in plain.items()}
    special = {
        "wanted": {**plain["local"], "wanted": WANTED},
        "broken": {**plain["local"], "units": str(_broken_units(folder))},
        "no manifest": {**plain["local"], "manifest": str(folder / "manifest.json")},
        "unsorted": unsorted,
        "probe": {"environ": ENVIRONMENTS["local"], "files": [_write(folder / "probe.py", PROBE)]},
    }
    return _start(folder, seed, {"cases": {**detailed, **special}, "stability": [*files, _write(folder / "unstable.py", UNSTABLE)]})


@cache
def _folder() -> Path:
    """The same for both children: where a DAG's file lies is told of the DAG."""
    folder = Path(tempfile.mkdtemp(prefix="ol-dags-"))
    _write(folder / "unsorted.py", UNSORTED)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def _broken_units(folder: Path) -> Path:
    """The repository's units, one of which has lost its owner."""
    units = folder / "units"
    shutil.copytree(UNITS, units)
    path = units / "airbyte" / f"{BROKEN}.yml"
    text = path.read_text(encoding="utf-8")
    assert "owner: data-platform\n" in text
    path.write_text(text.replace("owner: data-platform\n", "owner: nobody\n"), encoding="utf-8")
    return units


def _start(folder: Path, seed: int, request: dict[str, Any]) -> tuple[subprocess.Popen[str], Path]:
    asked, reply = folder / f"request-{seed}.json", folder / f"reply-{seed}.json"
    asked.write_text(json.dumps(request), encoding="utf-8")
    environment = {
        **without_platform(),
        "AIRFLOW_HOME": str(folder / f"home-{seed}"),
        "AIRFLOW_CONFIG": str(ROOT / "airflow.cfg"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": "kubernetes://",
        "PYTHONHASHSEED": str(seed),
        "PYTHONPATH": str(ROOT),
    }
    log = (folder / f"log-{seed}.txt").open("w", encoding="utf-8")
    command = [sys.executable, "-m", "tests.dags.collect", str(asked), str(reply)]
    child = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, text=True)
    return child, reply
