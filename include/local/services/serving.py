"""How every stand-in runs: until somebody asks it to end."""

from __future__ import annotations

import signal

import uvicorn


def serve(config: uvicorn.Config) -> bool:
    """Serves until SIGTERM or SIGINT; whether it had started."""
    server = uvicorn.Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn ends on these, then sends them again to whoever handled them before
    server.run()
    return server.started
