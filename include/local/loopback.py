"""Requests to programs on the loopback interface, whatever the environment says of proxies."""

from __future__ import annotations

import urllib.error
import urllib.request

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def answers(url: str) -> bool:
    """Whether a program answers 200 there now."""
    try:
        with DIRECT.open(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:  # URLError is one
        return False
