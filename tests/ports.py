"""Ports for servers of tests."""

from __future__ import annotations

import os
import random
import re
import socket

FIRST, EACH, WORKERS = 10_000, 1_000, 10
_CHANCE = random.SystemRandom()


def free_port() -> int:
    """A port of this machine that nobody listens on. Whoever is given it may bind it seconds later, after its imports, or again after a stop: tests in
    other processes draw from other ranges, all of them below those of the platform (20,000 to 30,000) and of the system's own choice."""
    worker = int((re.search(r"\d+", os.environ.get("PYTEST_XDIST_WORKER", "")) or ["0"])[0]) % WORKERS
    while True:
        port = FIRST + worker * EACH + _CHANCE.randrange(EACH)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
