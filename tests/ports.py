"""Ports for servers of tests."""

from __future__ import annotations

import os
import random
import re

from include.local.ports import is_free

FIRST, EACH, WORKERS = 10_000, 1_000, 10
_CHANCE = random.SystemRandom()


def free_port() -> int:
    """A port of this machine that nobody listens on. Whoever is given it may bind it seconds later, after its imports, or again after a stop: tests in
    other processes draw from other ranges, all of them below those of the platform (20,000 to 30,000) and of the system's own choice."""
    worker = int((re.search(r"\d+", os.environ.get("PYTEST_XDIST_WORKER", "")) or ["0"])[0]) % WORKERS
    while not is_free(port := FIRST + worker * EACH + _CHANCE.randrange(EACH)):
        pass
    return port
