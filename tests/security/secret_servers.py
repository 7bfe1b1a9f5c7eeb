"""Two servers to read secrets from: moto's AWS Secrets Manager with a gate that misbehaves on demand, and what Kubernetes answers to who lists secrets.

moto knows no rights on single secrets. The gate before it does: each access key has a path below which it may read, and gets what AWS
answers elsewhere. The Kubernetes one speaks the one call that the provider's backend makes; ``tests/kubernetes`` asks a real API server.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs

import boto3
import yaml
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from tests.ports import free_port

ADMIN = "admin"
KINDS = {"connections": "airflow.apache.org/connection-id", "variables": "airflow.apache.org/variable-key"}
Environ = dict[str, Any]
StartResponse = Callable[..., Any]


class _Quiet(WSGIRequestHandler):
    """Hundreds of requests a test are nobody's reading."""

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


class SecretServer:
    """What both have in common: a socket that can be closed, and answers that can be slow, wrong or missing."""

    def __init__(self) -> None:
        self.delay = 0.0
        self.failing = 0
        """HTTP status of every answer; 0: as it should be."""
        self.requests: list[str] = []
        self.allowed: dict[str, str] = {}
        """What each identity may read: the beginning of a path, or a namespace."""
        self._server = make_server("127.0.0.1", free_port(), self, threaded=True, request_handler=_Quiet)
        self.port = self._server.server_port
        self._serve()

    def _serve(self) -> None:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        """From now on connections are refused."""
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def down(self) -> Iterator[None]:
        """Nobody listens, for the length of a block."""
        self.stop()
        try:
            yield
        finally:
            self._server = make_server("127.0.0.1", self.port, self, threaded=True, request_handler=_Quiet)
            self._serve()

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        raise NotImplementedError

    def put(self, location: str, kind: str, key: str, value: str) -> None:
        """Makes a secret, or gives it another value."""
        raise NotImplementedError


def _answer(start_response: StartResponse, status: int, body: dict[str, Any], content_type: str = "application/json") -> Iterable[bytes]:
    start_response(f"{status} Said", [("Content-Type", content_type)])
    return [json.dumps(body).encode()]


class AwsServer(SecretServer):
    """AWS Secrets Manager."""

    source = "aws"
    root = "ol/test"

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        super().__init__()
        self.allowed = {ADMIN: ""}
        self._client = boto3.client(
            "secretsmanager", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id=ADMIN, aws_secret_access_key="not-checked"
        )

    def options(self, patch: Any, identity: str) -> dict[str, Any]:
        """The backend's options; the identity is that of the process, as in a pod."""
        for name, value in {"AWS_ACCESS_KEY_ID": identity, "AWS_SECRET_ACCESS_KEY": "not-checked", "AWS_EC2_METADATA_DISABLED": "true"}.items():
            patch.setenv(name, value)
        return {"endpoint_url": self.url, "region_name": "us-east-1"}

    def put(self, location: str, kind: str, key: str, value: str) -> None:
        name = f"{self.root}/{location}/{kind}/{key}"
        try:
            self._client.put_secret_value(SecretId=name, SecretString=value)
        except self._client.exceptions.ResourceNotFoundException:
            self._client.create_secret(Name=name, SecretString=value)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        if not environ.get("HTTP_X_AMZ_TARGET", "").endswith("GetSecretValue"):
            return list(self._moto(environ, start_response))
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        path = json.loads(body)["SecretId"]
        self.requests.append(path)
        time.sleep(self.delay)
        identity = re.search(r"Credential=([^/]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        beginning = self.allowed.get(identity[1] if identity else "")
        if self.failing:
            return _answer(start_response, self.failing, {"__type": "InternalServiceError", "message": "we are sorry"}, "application/x-amz-json-1.1")
        if beginning is None or not path.startswith(beginning):
            told = {"__type": "AccessDeniedException", "Message": f"not authorized to perform: secretsmanager:GetSecretValue on {path}"}
            return _answer(start_response, 400, told, "application/x-amz-json-1.1")
        return list(self._moto({**environ, "wsgi.input": _Again(body)}, start_response))


class _Again:
    """A body that was read once, for whoever reads it next."""

    def __init__(self, body: bytes) -> None:
        self._left = body

    def read(self, size: int = -1) -> bytes:
        found, self._left = (self._left, b"") if size < 0 else (self._left[:size], self._left[size:])
        return found


class KubernetesServer(SecretServer):
    """The list of a namespace's secrets by label, for bearers of a token."""

    source = "kubernetes"
    root = "ol-test"

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str, str], str] = {}
        super().__init__()
        self.allowed = {ADMIN: ""}

    def options(self, patch: Any, identity: str) -> dict[str, Any]:
        """A kubeconfig with the identity's token."""
        folder = patch.folder
        path = folder / f"{identity}.yaml"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "it",
            "clusters": [{"name": "it", "cluster": {"server": self.url}}],
            "users": [{"name": "it", "user": {"token": identity}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        }
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        return {"kubeconfig": str(path)}

    def put(self, location: str, kind: str, key: str, value: str) -> None:
        self._kept[(f"{self.root}-{location}", KINDS[kind], key)] = value

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        namespace = environ["PATH_INFO"].split("/")[4]
        self.requests.append(namespace)
        time.sleep(self.delay)
        allowed = self.allowed.get(environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer "))
        if self.failing:
            return _answer(start_response, self.failing, {"kind": "Status", "message": "etcdserver: request timed out"})
        if allowed is None or not namespace.startswith(allowed):
            return _answer(start_response, 403, {"kind": "Status", "reason": "Forbidden", "message": f"cannot list secrets in the namespace {namespace}"})
        (selector,) = parse_qs(environ["QUERY_STRING"])["labelSelector"]
        label, _, key = selector.split(",")[0].partition("=")
        value = self._kept.get((namespace, label, key))
        secret = {"metadata": {"name": key}, "data": {"value": base64.b64encode((value or "").encode()).decode()}}
        return _answer(start_response, 200, {"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": [secret] if value is not None else []})
