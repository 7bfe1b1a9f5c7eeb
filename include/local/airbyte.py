"""The Airbyte stand-in as one of the platform's programs, and the Airflow connection that reaches it."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

from include.local.loopback import answers
from include.local.paths import Paths
from include.local.ports import Ports
from include.local.postgres import Address
from include.local.programs import Service


class Airbyte:
    """Airbyte's public API on the loopback interface; its jobs and cursors lie in the database ``airbyte``."""

    databases = ("airbyte",)
    client_id = "local"

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._ports = Ports(paths.state / "ports.json")

    @property
    def url(self) -> str:
        """The public API, with ``/api/public/v1``."""
        return f"http://127.0.0.1:{self._ports.known('airbyte')}/api/public/v1"

    @property
    def client_secret(self) -> str:
        """The secret of the one application that may call."""
        return self._paths.secret("airbyte")

    def connection(self) -> str:
        """Airflow's connection, as the JSON that ``AIRFLOW_CONN_…`` takes."""
        return json.dumps({"conn_type": "airbyte", "host": self.url, "login": self.client_id, "password": self.client_secret})

    def service(self, postgres: Address, environment: Mapping[str, str]) -> Service:
        """The program to start. It gets passwords by its environment, never on its command line."""
        port = self._ports.known("airbyte")
        command = (
            sys.executable,
            "-m",
            "include.local.services.airbyte",
            *("--port", str(port)),
            *("--state-dsn", postgres.dsn("airbyte", password=False)),
            *("--source-dsn", postgres.dsn(password=False)),
        )
        secrets = {"PGPASSWORD": postgres.password, "AIRBYTE_CLIENT_ID": self.client_id, "AIRBYTE_CLIENT_SECRET": self.client_secret}
        health = f"http://127.0.0.1:{port}/api/public/v1/health"
        return Service("airbyte", command, lambda: answers(health), environment={**environment, **secrets}, directory=self._paths.root, deadline=120, grace=5)
