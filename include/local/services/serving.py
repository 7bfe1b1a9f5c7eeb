"""How every stand-in runs: until somebody asks it to end."""

from __future__ import annotations

import signal

import uvicorn

KEEP_ALIVE = 75
"""Seconds that a connection may lie idle. Clients close theirs sooner (httpx after five): when both do at the same moment, a request is lost."""


def serve(config: uvicorn.Config) -> bool:
    """Serves until SIGTERM or SIGINT; whether it had started."""
    config.timeout_keep_alive = KEEP_ALIVE
    server = uvicorn.Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn ends on these, then sends them again to whoever handled them before
    server.run()
    return server.started
