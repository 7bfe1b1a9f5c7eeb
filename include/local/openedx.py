"""The Open edX stand-in as one of the platform's programs, and the addresses and variables that the jobs take."""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

from include.local.paths import Paths
from include.local.ports import Ports
from include.local.postgres import Address
from include.local.programs import Service

CLIENT_ID = "local"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy for the loopback interface


class OpenEdx:
    """LMS and Studio of all deployments on the loopback interface, with the course runs of the generated databases."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._ports = Ports(paths.state / "ports.json")

    @property
    def url(self) -> str:
        """Where the program answers."""
        return f"http://127.0.0.1:{self._ports.known('openedx')}"

    def lms(self, deployment: str) -> str:
        """The address of a deployment's LMS."""
        return f"{self.url}/{deployment}/lms"

    def studio(self, deployment: str) -> str:
        """The address of a deployment's Studio."""
        return f"{self.url}/{deployment}/studio"

    def environment(self) -> dict[str, str]:
        """Variables for the jobs: the credentials of the one application that may call."""
        return {"OPENEDX_CLIENT_ID": CLIENT_ID, "OPENEDX_CLIENT_SECRET": self._paths.secret("openedx")}

    def service(self, postgres: Address) -> Service:
        """The program to start. It gets passwords by its environment, never on its command line."""
        port = self._ports.known("openedx")
        source = postgres.dsn(password=False)
        command = (sys.executable, "-m", "include.local.services.openedx", *("--port", str(port)), *("--source-dsn", source))
        environment = {"PGPASSWORD": postgres.password, **self.environment()}
        health = f"http://127.0.0.1:{port}/health"
        return Service("openedx", command, lambda: _answers(health), environment=environment, directory=self._paths.root, deadline=60, grace=5)


def _answers(url: str) -> bool:
    try:
        with _DIRECT.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
