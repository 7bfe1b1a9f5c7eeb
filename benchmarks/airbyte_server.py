"""An HTTP server that answers as Airbyte's public API does for connections, each answer delayed by a fixed latency.

``python -m benchmarks.airbyte_server COUNT SEED LATENCY``: prints its port and serves until its standard input ends.
"""

from __future__ import annotations

import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from benchmarks.connections import api_answer, connections


def handler(answers: dict[str, bytes], latency: float) -> type[BaseHTTPRequestHandler]:
    """A handler for these connections; ``latency`` in seconds passes before each answer, as it does to a server in the same region."""
    ordered = list(answers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            time.sleep(latency)
            found = re.fullmatch(r".*/connections(?:/(?P<id>[0-9a-f-]+))?", urlsplit(self.path).path)
            if found is None or (found["id"] and found["id"] not in answers):
                self._send(404, b"{}")
            elif found["id"]:
                self._send(200, answers[found["id"]])
            else:
                query = parse_qs(urlsplit(self.path).query)
                first, limit = int(query.get("offset", ["0"])[0]), int(query.get("limit", ["20"])[0])
                page = b",".join(answers[name] for name in ordered[first : first + limit])
                self._send(200, b'{"previous":"","next":"","data":[' + page + b"]}")

        def _send(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    return Handler


def main(count: int, seed: int, latency: float) -> None:
    """Serves until the standard input is closed."""
    answers = {connection.id: json.dumps(api_answer(connection)).encode() for connection in connections(count, seed)}
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(answers, latency))
    print(server.server_address[1], flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
