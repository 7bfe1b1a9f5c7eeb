"""The MIT Learn stand-in on a real socket, and requests that are signed by the tests' own hand."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from include.config.files import ROOT
from include.local.services.learn.__main__ import plain
from include.local.services.learn.api import Api
from include.local.services.learn.store import Applied, Receipt, Store
from include.local.services.learn.verify import Mode
from tests.local.services.airbyte_harness import wait_until
from tests.ports import free_port

KEYS = {"old": "the old secret, long enough", "new": "the new secret, long enough", "wrong": "a secret that nobody knows"}
COURSE = "course-v1:MITxT+6.00x+1T2026"


def hexmac(secret: str, text: bytes) -> str:
    return hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()


def variable(*ids: str) -> str:
    """``MIT_LEARN_WEBHOOK_KEYS`` with these keys."""
    return " ".join(f"{name}={KEYS[name].replace(' ', '_')}" for name in ids)


def secrets_of(*ids: str) -> dict[str, str]:
    return {name: KEYS[name].replace(" ", "_") for name in ids}


@dataclass
class Delivery:
    """A request to the content files webhook; what is not given is right."""

    body: bytes = json.dumps({"course_id": COURSE, "course_readable_id": COURSE, "content_path": "mitxonline/a.tar.gz", "source": "mitxonline"}).encode()
    path: str = "/api/v1/webhooks/content_files/"
    key_id: str = "old"
    at: float = field(default_factory=time.time)
    idempotency_key: str = field(default_factory=lambda: str(uuid.uuid4()))

    def headers(self) -> dict[str, str]:
        secret = KEYS[self.key_id].replace(" ", "_")
        signed = f"v2\n{int(self.at)}\n{self.key_id}\n{self.idempotency_key}\n{self.path}\n".encode() + self.body
        return {
            "Content-Type": "application/json",
            "X-MITLearn-Signature": hexmac(secret, self.body),
            "X-MITLearn-Timestamp": str(int(self.at)),
            "X-MITLearn-Key-Id": self.key_id,
            "Idempotency-Key": self.idempotency_key,
            "X-MITLearn-Signature-V2": hexmac(secret, signed),
        }


class Learn:
    """A running receiver as a test sees it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx.Client(base_url=url, timeout=15, trust_env=False)

    def send(self, delivery: Delivery, **headers: str | None) -> httpx.Response:
        """The delivery's request, with some headers replaced, or left out (``None``); names with underscores for dashes."""
        changed = {name.replace("_", "-"): value for name, value in headers.items()}
        merged = {name: value for name, value in {**delivery.headers(), **changed}.items() if value is not None}
        return self.http.post(delivery.path, content=delivery.body, headers=merged)

    def settings(self, **values: Any) -> None:
        self.http.put("/_settings", json=values).raise_for_status()

    def faults(self, *rules: dict[str, Any]) -> None:
        self.http.post("/_faults", json=list(rules)).raise_for_status()

    def fresh(self, mode: Mode = "strict", *keys: str) -> None:
        """As on the first day."""
        self.http.delete("/_faults").raise_for_status()
        self.http.delete("/_receipts").raise_for_status()
        self.settings(mode=mode, skew=0, keys=secrets_of(*(keys or ("old",))))

    def applied(self) -> list[Applied]:
        return [Applied(**{**item, "body": item["body"].encode()}) for item in self.http.get("/_applied").json()]

    def receipts(self) -> list[Receipt]:
        return [Receipt(**{**item, "body": item["body"].encode()}) for item in self.http.get("/_receipts").json()]

    def outcomes(self) -> list[str]:
        return [receipt.outcome for receipt in self.receipts()]


@contextlib.contextmanager
def running_learn(state: Path) -> Iterator[Learn]:
    """The service in this process."""
    store = Store(state, secrets_of("old"), "strict")
    port = free_port()
    server = uvicorn.Server(plain(Api(store), port))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, what="server")
    try:
        yield Learn(f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = server.force_exit = True
        thread.join(10)
        store.close()


class LearnProcess:
    """The service as a program of its own, for signals."""

    def __init__(self, state: Path, log: Path) -> None:
        self.port = free_port()
        self._state, self._log = state, log
        self.child: subprocess.Popen[bytes] | None = None

    def start(self) -> Learn:
        command = [sys.executable, "-m", "include.local.services.learn", "--port", str(self.port), "--state", str(self._state)]
        with self._log.open("ab") as log:
            self.child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "MIT_LEARN_WEBHOOK_KEYS": variable("old")}, stdout=log, stderr=log)
        learn = Learn(f"http://127.0.0.1:{self.port}")
        wait_until(lambda: self._answers(learn), 300, f"service, see {self._log}")
        return learn

    def _answers(self, learn: Learn) -> bool:
        assert self.child is not None
        assert self.child.poll() is None, self._log.read_text()[-4000:]
        with contextlib.suppress(httpx.TransportError):
            return learn.http.get("/health").status_code == 200
        return False

    def kill(self) -> None:
        if self.child is not None and self.child.poll() is None:
            self.child.kill()
            self.child.wait()
