"""The MIT Learn stand-in as one of the platform's programs, and the variables that the webhooks' jobs read."""

from __future__ import annotations

import sys

from include.local.loopback import answers
from include.local.paths import Paths
from include.local.ports import Ports
from include.local.postgres import Address
from include.local.programs import Service

DATABASE = "webhooks"
KEY_ID = "local"


class Learn:
    """MIT Learn's webhooks on the loopback interface; the sender's outbox is the database ``webhooks``."""

    databases = (DATABASE,)

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._ports = Ports(paths.state / "ports.json")

    @property
    def url(self) -> str:
        """MIT Learn's base address."""
        return f"http://127.0.0.1:{self._ports.known('learn')}"

    @property
    def _keys(self) -> dict[str, str]:
        return {"MIT_LEARN_WEBHOOK_KEYS": f"{KEY_ID}={self._paths.secret('learn')}"}

    def environment(self, postgres: Address) -> dict[str, str]:
        """Variables for the webhooks' jobs; the outbox's password is ``PGPASSWORD``."""
        return {"MIT_LEARN_BASE_URL": self.url, "WEBHOOK_OUTBOX_DSN": postgres.dsn(DATABASE, password=False), **self._keys}

    def service(self) -> Service:
        """The program to start. It gets its keys by its environment, never on its command line."""
        port = self._ports.known("learn")
        state = self._paths.state / "learn.sqlite"
        command = (sys.executable, "-m", "include.local.services.learn", *("--port", str(port)), *("--state", str(state)))
        health = f"http://127.0.0.1:{port}/health"
        return Service("learn", command, lambda: answers(health), environment=self._keys, directory=self._paths.root, deadline=60, grace=5)
