"""The local Open edX on a real socket, for tests: in this process, or as a program of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import uvicorn

from include.config.files import ROOT
from include.jobs.openedx.api.client import Client
from include.jobs.openedx.api.retries import Budget, Patience
from include.jobs.openedx.api.tokens import Application
from include.local.data.openedx_runs import CourseRun, invented_runs
from include.local.services.openedx.app import OpenEdx
from include.local.services.openedx.exports import ExportPlan
from include.local.services.openedx.store import Deployment
from include.local.services.serving import configuration
from tests.ports import free_port

CLIENT = ("client", "a secret")
VARIABLES = {"OPENEDX_CLIENT_ID": CLIENT[0], "OPENEDX_CLIENT_SECRET": CLIENT[1]}
QUICK = Patience(attempts=4, first=0.005, longest=0.02, asked=2.0)
OUTLINES = "*/course_outline/*"
EXPORTS = {"method": "POST", "path": "*/export/"}
Result = TypeVar("Result")


@dataclass
class Service:
    """A running service and what tests ask of it."""

    root: str
    openedx: OpenEdx | None = None
    deployment: str = "mitxonline"

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=self.root, timeout=15, trust_env=False)

    @property
    def lms(self) -> str:
        return f"{self.root}/{self.deployment}/lms"

    @property
    def studio(self) -> str:
        return f"{self.root}/{self.deployment}/studio"

    @property
    def store(self) -> Deployment:
        assert self.openedx is not None
        return self.openedx.deployments[self.deployment]

    @property
    def ids(self) -> list[str]:
        return [run.id for run in self.store.listed()]

    def version(self, course_id: str) -> str:
        run = self.store.run(course_id)
        assert run is not None
        return run.published_version

    def faults(self, *rules: dict[str, Any]) -> httpx.Response:
        return self.http.post("/_faults", json=list(rules))

    def change(self, **what: Any) -> None:
        self.http.post(f"/_courses/{self.deployment}", json=what).raise_for_status()

    def requests(self, part: str = "") -> list[dict[str, Any]]:
        """What was asked of paths with this part, oldest first."""
        return [one for one in self.http.get("/_requests").json() if part in one["path"]]

    def exports(self) -> list[dict[str, Any]]:
        return list(self.http.get(f"/_exports/{self.deployment}").json()["tasks"])

    def clear(self) -> None:
        """No faults and no record of requests."""
        self.http.delete("/_faults")
        self.http.delete("/_requests")

    def token(self, kind: str = "JWT", **form: str) -> httpx.Response:
        given = {"grant_type": "client_credentials", "client_id": CLIENT[0], "client_secret": CLIENT[1], "token_type": kind, **form}
        return self.http.post(f"{self.lms}/oauth2/access_token", data=given)

    def authorized(self) -> httpx.Client:
        """A plain client with a token."""
        return httpx.Client(headers={"Authorization": f"JWT {self.token().json()['access_token']}"}, trust_env=False, timeout=15)

    def start(self, http: httpx.Client, *courses: str) -> httpx.Response:
        return http.post(f"{self.studio}/api/courses/v0/export/", json={"courses": list(courses)})

    def state(self, http: httpx.Client, course: str, task: str) -> httpx.Response:
        return http.get(f"{self.studio}/api/courses/v0/export/{course}/", params={"task_id": task})

    def states_until_end(self, http: httpx.Client, course: str, task: str, seconds: float = 60) -> list[str]:
        """The states that were seen, each once, in their order."""
        seen: list[str] = []
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            found = self.state(http, course, task).json()["state"]
            seen += [found] if found not in seen[-1:] else []
            if found in ("Succeeded", "Failed", "Canceled"):
                return seen
            time.sleep(0.005)
        return seen

    def application(self, **changes: Any) -> Application:
        return Application(**{"token_url": f"{self.lms}/oauth2/access_token", "client_id": CLIENT[0], "client_secret": CLIENT[1], **changes})

    def client(self, base_url: str = "", **options: Any) -> Client:
        return Client(base_url or self.lms, self.application(), **{"patience": QUICK, **options})

    def ask(self, question: Callable[[Client], Coroutine[Any, Any, Result]], base_url: str = "", **options: Any) -> Result:
        """One question with a client of its own."""

        async def asked() -> Result:
            async with self.client(base_url, **options) as client:
                return await question(client)

        return asyncio.run(asked())


@contextlib.contextmanager
def running(count: int = 30, *, latency: float = 0.0, token_seconds: int = 900, links: str = "", changed: float = 0.03) -> Iterator[Service]:
    """The service in this process, with ``count`` invented course runs in each deployment."""

    def source(name: str) -> Callable[[int], tuple[CourseRun, ...]]:
        return lambda day: invented_runs(name, count, day=day, changed=changed)

    deployments = {name: Deployment(name, source(name)) for name in ("mitxonline", "xpro")}
    for deployment in deployments.values():
        deployment.exports.plan = ExportPlan(seconds=0.02)
    openedx = OpenEdx(deployments, CLIENT, token_seconds=token_seconds, latency=latency, links=links)
    port = free_port()
    server = uvicorn.Server(configuration(openedx.application, port))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 300
    while not server.started:
        assert time.monotonic() < deadline, "the service did not start"
        time.sleep(0.01)
    try:
        yield Service(f"http://127.0.0.1:{port}", openedx)
    finally:
        server.should_exit = True
        thread.join(5)


@contextlib.contextmanager
def program(log: Path, *arguments: str) -> Iterator[Service]:
    """The service as a program, so that it does not share an interpreter with what is measured or killed."""
    port = free_port()
    command = [sys.executable, "-m", "include.local.services.openedx", "--port", str(port), *arguments]
    with log.open("ab") as out, subprocess.Popen(command, cwd=ROOT, env={**os.environ, **VARIABLES}, stdout=out, stderr=out) as child:
        service = Service(f"http://127.0.0.1:{port}")
        deadline = time.monotonic() + 300
        while True:
            assert child.poll() is None, log.read_text(encoding="utf-8")[-3000:]
            assert time.monotonic() < deadline, "the service did not start"
            with contextlib.suppress(httpx.TransportError):
                service.http.get("/health").raise_for_status()
                break
            time.sleep(0.05)
        try:
            yield service
        finally:
            child.terminate()
            child.wait(120)


def budget(seconds: float = 60.0, requests: int = 100_000) -> Budget:
    return Budget(seconds, requests)
