"""A real Airflow on the local PostgreSQL: API server, scheduler, DAG processor and triggerer, each in a process group of its own.

What is the same on every machine stands in ``airflow.cfg``; addresses, paths and secrets come from here as ``AIRFLOW__…`` variables.
"""

from __future__ import annotations

import base64
import importlib.metadata
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import psycopg
from psycopg import sql

from include.config.pools import Pool
from include.local.airbyte import Airbyte
from include.local.airflow_api import AirflowApi
from include.local.loopback import DIRECT
from include.local.paths import Paths, write_private
from include.local.ports import Ports
from include.local.postgres import Address
from include.local.programs import Service

DATABASE = "airflow"
# what /api/v2/monitor/health calls each component, and the field with the time of its last sign of life
HEALTH = {
    "airflow-scheduler": ("scheduler", "latest_scheduler_heartbeat"),
    "airflow-dag-processor": ("dag_processor", "latest_dag_processor_heartbeat"),
    "airflow-triggerer": ("triggerer", "latest_triggerer_heartbeat"),
}
# the log servers would listen on every interface; here the API server reads the same log files itself
ARGUMENTS = {"airflow-scheduler": ("--skip-serve-logs",), "airflow-triggerer": ("--skip-serve-logs",)}


class Airflow:
    """The four components of one platform's Airflow."""

    databases = (DATABASE,)

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._ports = Ports(paths.state / "ports.json")
        self._home = paths.state / "airflow"

    @property
    def url(self) -> str:
        """The UI; the REST API is under ``/api/v2``."""
        return f"http://127.0.0.1:{self._ports.known('airflow')}"

    @property
    def login(self) -> tuple[str, str]:
        """User and password."""
        return "admin", "admin"

    def environment(self, postgres: Address, airbyte: Airbyte | None) -> dict[str, str]:
        """Airflow's settings that belong to this machine, and the connections of the local services."""
        root, home = self._paths.root, self._home
        passwords = home / "passwords.json"
        self._write_passwords()
        bundle = {"name": "platform", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {"path": str(root)}}
        settings = {
            "CORE__DAGS_FOLDER": str(root),
            "CORE__PLUGINS_FOLDER": str(root / "plugins"),
            "CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",  # does not follow the port by itself
            "CORE__FERNET_KEY": base64.urlsafe_b64encode(bytes.fromhex(self._paths.secret("fernet"))).decode(),
            "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
            "DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps([bundle]),
            "DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(home / "bundles"),
            "API__PORT": self.url.rpartition(":")[2],
            "API__BASE_URL": self.url,
            "API__SECRET_KEY": self._paths.secret("api"),
            "API_AUTH__JWT_SECRET": self._paths.secret("jwt"),
            "DATABASE__SQL_ALCHEMY_CONN": postgres.dsn(DATABASE, driver="psycopg2"),
            "LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
            "LOGGING__DAG_PROCESSOR_CHILD_PROCESS_LOG_DIRECTORY": str(home / "logs" / "dag_processor"),
        }
        return {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW_CONFIG": str(root / "airflow.cfg"),
            **{f"AIRFLOW__{name}": value for name, value in settings.items()},
            **({"AIRFLOW_CONN_AIRBYTE": airbyte.connection()} if airbyte else {}),
        }

    def _write_passwords(self) -> None:
        """Before the first start: only users who are missing from the file get a generated password."""
        user, password = self.login
        path = self._home / "passwords.json"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private(path, json.dumps({user: password}))

    def services(self, environment: Mapping[str, str], began: Callable[[str], float]) -> list[Service]:
        """The components as programs to start. ``began`` tells when a running one was started, in seconds since 1970."""
        health = _Health(self.url)
        settings = (self._paths.root / "airflow.cfg").read_text(encoding="utf-8")

        def component(name: str, ready: Callable[[], bool], *, grace: float = 10, stage: int = 3) -> Service:
            return Service(
                name=name,
                command=(sys.executable, "-m", "airflow", name.removeprefix("airflow-"), *ARGUMENTS.get(name, ())),
                ready=ready,
                environment=environment,
                directory=self._home,
                deadline=300,
                grace=grace,
                stage=stage,
                inputs=(settings,),
            )

        # the API server ends after the others, which report to it, and waits for nobody: clients keep their connections open for ever
        # and a triggerer without work sits out its whole grace; what it watches, the next one takes up
        grace = {"airflow-triggerer": 1.0}
        return [
            component("airflow-api-server", health.answers, grace=0.4, stage=2),
            *(component(name, health.of(name, began), grace=grace.get(name, 10)) for name in HEALTH),
        ]

    def create_pools(self, pools: Iterable[Pool]) -> None:
        """The pools of the environment: a task that names a pool which is not there waits for ever, without a word."""
        api = AirflowApi(self.url, *self.login)
        for pool in pools:
            api.ensure_pool(pool)

    # --- the metadata database -------------------------------------------------------------------

    def migration(self, postgres: Address, environment: Mapping[str, str]) -> Service | None:
        """``airflow db migrate``, when the database was last migrated by other versions than those installed; else ``None``.

        The command takes six seconds even when there is nothing to do; this check takes milliseconds.
        """
        with psycopg.connect(postgres.dsn(DATABASE)) as connection:
            found = connection.execute("SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = current_database()").fetchone()
        if found == (_versions(),):
            return None
        self._home.mkdir(parents=True, exist_ok=True)
        return Service(
            name="airflow-migration",
            command=(sys.executable, "-m", "airflow", "db", "migrate"),
            ready=lambda: False,
            environment=environment,
            directory=self._home,
            deadline=300,
            stage=2,
        )

    def migrated(self, postgres: Address) -> None:
        """Remember in the database itself which versions migrated it."""
        with psycopg.connect(postgres.dsn(DATABASE)) as connection:
            connection.execute(sql.SQL("COMMENT ON DATABASE {} IS {}").format(sql.Identifier(DATABASE), sql.Literal(_versions())))


def _versions() -> str:
    """All that brings migrations: Airflow and the FAB provider, which adds tables when it is installed."""
    found = []
    for name in ("apache-airflow-core", "apache-airflow-providers-fab", "apache-airflow-providers-edge3"):
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"migrated by {', '.join(found)}"


class _Health:
    """Asks Airflow how it is, at most four times a second: on a small machine asking costs start time too."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/api/v2/monitor/health"
        self._asked, self._found = 0.0, dict[str, Any]()

    def _ask(self) -> dict[str, Any]:
        if time.monotonic() - self._asked > 0.25:
            try:
                with DIRECT.open(self._url, timeout=10) as answer:
                    self._found = json.loads(answer.read())
            except (urllib.error.URLError, OSError, json.JSONDecodeError):
                self._found = {}
            self._asked = time.monotonic()
        return self._found

    def answers(self) -> bool:
        """Whether the API server answers and reaches its database."""
        return bool(self._ask().get("metadatabase", {}).get("status") == "healthy")

    def of(self, name: str, began: Callable[[str], float]) -> Callable[[], bool]:
        """Whether a component is healthy by a sign of life of its own: the database still has those of an earlier run."""
        component, field = HEALTH[name]

        def ready() -> bool:
            found = self._ask().get(component, {})
            beat = found.get(field)
            return found.get("status") == "healthy" and bool(beat) and datetime.fromisoformat(beat).timestamp() >= began(name) - 0.1

        return ready
