"""The Open edX and MIT Learn stand-ins as programs of the platform, and the variables by which DAGs and jobs find them."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence

from include.local.learn import Learn
from include.local.loopback import answers
from include.local.paths import Paths
from include.local.ports import Ports
from include.local.postgres import Address
from include.local.programs import Service

DEPLOYMENTS = ("mitx", "mitxonline", "xpro")


class OpenEdx:
    """LMS and Studio of all deployments, the landing zone's folder, and with them MIT Learn and the outbox of what it is told."""

    databases = Learn.databases
    programs = ("openedx", "learn")
    client_id = "local"

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._ports = Ports(paths.state / "ports.json")
        self.learn = Learn(paths)

    @property
    def url(self) -> str:
        """Where LMS and Studio answer: ``<url>/<deployment>/lms`` and ``…/studio``."""
        return f"http://127.0.0.1:{self._ports.known('openedx')}"

    @property
    def landing(self) -> str:
        """The landing zone, a folder of the platform's state as a URL."""
        return (self._paths.state / "landing").as_uri()

    @property
    def _application(self) -> dict[str, str]:
        return {"OPENEDX_CLIENT_ID": self.client_id, "OPENEDX_CLIENT_SECRET": self._paths.secret("openedx")}

    def environment(self, postgres: Address) -> dict[str, str]:
        """For Airflow's processes and the jobs they start."""
        login = {"conn_type": "http", "login": self.client_id, "password": self._application["OPENEDX_CLIENT_SECRET"]}
        return {
            "OL_OPENEDX_URL": self.url,
            "OL_LANDING": self.landing,
            **{f"AIRFLOW_CONN_OPENEDX_{name.upper()}": json.dumps(login) for name in DEPLOYMENTS},
            **self._application,
            **self.learn.environment(postgres),
        }

    def services(self, postgres: Address, environment: Mapping[str, str]) -> Sequence[Service]:
        """The programs to start. They get secrets by their environment, never on their command lines."""
        (self._paths.state / "landing").mkdir(exist_ok=True)
        port = self._ports.known("openedx")
        command = (sys.executable, "-m", "include.local.services.openedx", "--port", str(port), "--source-dsn", postgres.dsn(password=False))
        own = {**environment, "PGPASSWORD": postgres.password, **self._application}
        health = f"{self.url}/health"
        openedx = Service("openedx", command, lambda: answers(health), environment=own, directory=self._paths.root, deadline=120, grace=5)
        return [openedx, self.learn.service()]
