"""The local GitHub on a real socket, as a program of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from include.config.files import ROOT
from include.config.load import load_branches_unit
from tests.ports import free_port

TOKEN = "a token for tests of pull requests"


@dataclass
class Service:
    """A running service and what tests ask of it."""

    root: str

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.root, timeout=15, trust_env=False)

    @property
    def variables(self) -> dict[str, str]:
        """What jobs and DAGs find it by."""
        return {"OL_GITHUB_URL": self.root, "GITHUB_TOKEN": TOKEN}

    def pulls(self, **states: str) -> None:
        """Replaces the pull requests: ``pulls(pr_7="open")``."""
        self.set({int(name.removeprefix("pr_")): state for name, state in states.items()})

    def set(self, states: dict[int, str]) -> None:
        self.http.put("/_pulls", json={str(number): state for number, state in states.items()}).raise_for_status()

    def faults(self, *rules: dict[str, Any]) -> None:
        self.http.post("/_faults", json=list(rules)).raise_for_status()

    def clear(self) -> None:
        self.http.delete("/_faults").raise_for_status()
        self.http.delete("/_requests").raise_for_status()
        self.set({})

    def requests(self) -> list[dict[str, Any]]:
        return self.http.get("/_requests").json()


@contextmanager
def running() -> Iterator[Service]:
    port = free_port()
    command = [sys.executable, "-m", "include.local.services.github", "--port", str(port), "--repository", load_branches_unit().repository]
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "GITHUB_TOKEN": TOKEN}, stdout=subprocess.DEVNULL) as program:
        try:
            found = Service(f"http://127.0.0.1:{port}")
            deadline = time.monotonic() + 300
            while True:
                assert program.poll() is None, "the service ended"
                assert time.monotonic() < deadline, "the service does not answer"
                try:
                    found.http.get("/health").raise_for_status()
                    break
                except httpx.TransportError:
                    time.sleep(0.05)
            yield found
        finally:
            program.terminate()
