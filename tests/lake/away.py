"""A store that is away for a while: an HTTP proxy before moto's S3 that answers ``503 SlowDown``, as S3 does, from a certain request on."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

SLOW_DOWN = b"<?xml version='1.0' encoding='UTF-8'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
OF_ONE_CONNECTION = {"connection", "keep-alive", "transfer-encoding", "content-length"}


class Proxy(ThreadingHTTPServer):
    """``address`` is where it answers. It counts requests in ``passed`` and ``refused``."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        self.passed = self.refused = 0
        self._lock = threading.Lock()
        self._away_from, self._seconds, self._until = -1, 0.0, 0.0
        self._lose = 0

    def go_away(self, seconds: float, after: int = 0) -> None:
        """Refuses everything for so long, from the request after the next ``after`` ones on."""
        with self._lock:
            self._away_from, self._seconds, self._until = self.passed + after, seconds, 0.0

    def lose_answers(self, count: int) -> None:
        """Does what the next requests that write ask for, and says 503 all the same."""
        self._lose = count

    def refuses(self) -> bool:
        """Whether the request that has come is refused."""
        with self._lock:
            if self._away_from == self.passed:
                self._away_from, self._until = -1, time.monotonic() + self._seconds
            refused = time.monotonic() < self._until
            self.refused += refused
            self.passed += not refused
            return refused

    def loses(self, method: str) -> bool:
        """Whether the answer to a request is lost."""
        with self._lock:
            lost = method == "PUT" and self._lose > 0
            self._lose -= lost
            return lost


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _serve(self) -> None:
        body = self._body()
        if self.server.refuses():
            self._answer(503, {"Content-Type": "application/xml"}, SLOW_DOWN)
            return
        upstream = http.client.HTTPConnection(self.server.target, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in {*OF_ONE_CONNECTION, "expect"}}
            upstream.request(self.command, self.path, body, headers)
            answer = upstream.getresponse()
            data, told = answer.read(), dict(answer.getheaders())
        finally:
            upstream.close()
        if self.server.loses(self.command):
            self._answer(503, {"Content-Type": "application/xml"}, SLOW_DOWN)
        else:
            self._answer(answer.status, told, data)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - as the standard library asks for them

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers
            pass
        return b"".join(parts)

    def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
        self.send_response_only(status)
        lengths = {name.lower(): value for name, value in headers.items()}
        for name, value in headers.items():
            if name.lower() not in OF_ONE_CONNECTION:
                self.send_header(name, value)
        self.send_header("Content-Length", lengths.get("content-length", "0") if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: a test's output is not the place."""


@contextmanager
def away(target: str) -> Iterator[Proxy]:
    """A proxy before the server at an address, for the length of a block."""
    with Proxy(target) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
