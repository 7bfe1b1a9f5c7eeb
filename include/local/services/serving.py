"""How every stand-in runs: until somebody asks it to end."""

from __future__ import annotations

import signal
from typing import Any

import uvicorn

KEEP_ALIVE = 75
"""Seconds that a connection may lie idle. Clients close theirs sooner (httpx after five): when both do at the same moment, a request is lost."""


def configuration(application: Any, port: int, host: str = "127.0.0.1", **own: Any) -> uvicorn.Config:
    """What all stand-ins have in common, and ``own`` settings of uvicorn's."""
    common: dict[str, Any] = {"ws": "none", "lifespan": "off", "log_config": None, "timeout_graceful_shutdown": 1, "timeout_keep_alive": KEEP_ALIVE}
    return uvicorn.Config(application, host=host, port=port, **common, **own)


def serve(config: uvicorn.Config) -> bool:
    """Serves until SIGTERM or SIGINT; whether it had started."""
    server = uvicorn.Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn ends on these, then sends them again to whoever handled them before
    server.run()
    return server.started
