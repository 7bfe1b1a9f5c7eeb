"""The GitHub stand-in as one of the platform's programs, and the variables by which the DAG ``branches`` and its job find it."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from include.config.load import load_branches_unit
from include.local.loopback import answers
from include.local.paths import Paths
from include.local.ports import Ports
from include.local.programs import Service


class GitHub:
    """The pull requests of the one repository that ``branches.yml`` names, on the loopback interface; none until somebody puts some there."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._ports = Ports(paths.state / "ports.json")

    @property
    def url(self) -> str:
        """GitHub's API, and under ``/_pulls`` the pull requests to put there."""
        return f"http://127.0.0.1:{self._ports.known('github')}"

    @property
    def _token(self) -> dict[str, str]:
        return {"GITHUB_TOKEN": self._paths.secret("github")}

    def environment(self) -> dict[str, str]:
        """For Airflow's processes and the jobs they start. A token of the user's own never reaches them."""
        return {"OL_GITHUB_URL": self.url, **self._token}

    def service(self, environment: Mapping[str, str]) -> Service:
        """The program to start. It gets the token by its environment, never on its command line."""
        port, repository = str(self._ports.known("github")), load_branches_unit().repository
        command = (sys.executable, "-m", "include.local.services.github", "--port", port, "--repository", repository)
        health = f"{self.url}/health"
        own = {**environment, **self._token}
        return Service("github", command, lambda: answers(health), environment=own, directory=self._paths.root, deadline=60, grace=5)
