"""A migrated metadata database that no scheduler looks at, and the settings of an Airflow that uses it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg

from include.config.files import ROOT
from include.local.platform import Platform
from include.local.ports import Ports


def airflow_settings(postgres: Platform, database: str) -> dict[str, str]:
    """The variables of an Airflow on a new database of its own; its home is a folder of its own, too."""
    with psycopg.connect(postgres.postgres_dsn, autocommit=True) as server:
        server.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {database}")
    Ports(postgres.paths.state / "ports.json").choose("airflow")  # settings name it, though no API server is started
    home = postgres.paths.state / database
    home.mkdir(exist_ok=True)
    found = Platform(postgres.paths, ("airflow",)).environment()
    found |= {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.postgres.dsn(database, driver="psycopg2"),
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(home / "logs" / "dag_processor"),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(home / "bundles"),
    }
    found["PYTHONPATH"] = str(ROOT / "plugins")  # as in the Airflow image
    done = child(["-m", "airflow", "db", "migrate"], found, home)
    assert done.returncode == 0, done.stderr[-3000:]
    return found


def child(arguments: list[str], variables: dict[str, str], folder: Path, timeout: float = 1400) -> subprocess.CompletedProcess[str]:
    """A Python program started in ``folder`` with these variables added to its environment. The folder's name is on the path of ``-m``."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True, check=False, timeout=timeout)


def program(name: str, argument: str, variables: dict[str, str], folder: Path) -> dict[str, Any]:
    """Runs a program of this folder, which gets one argument and prints one JSON object at its end; ``output`` is what else it printed."""
    done = child([str(Path(__file__).with_name(name)), argument], variables, folder)
    logs = "".join(path.read_text(encoding="utf-8")[-4000:] for path in sorted(folder.glob("*.log")))
    assert done.returncode == 0, done.stderr[-4000:] + logs
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return {"output": done.stderr + done.stdout[: done.stdout.rstrip().rfind("\n")], **found}
