"""Asks the API server once what tasks ask it, before any task does: ``python warm.py``, as its container starts.

The half of it that speaks with tasks makes its routes at the first request: five seconds of processor time in which it answers nobody. On a busy node
that first request would come from all running tasks at once, and the liveness probe would end the server for its silence, again and again.
"""

from __future__ import annotations

import time
import urllib.error
import urllib.request

ADDRESS = "http://127.0.0.1:8080/execution/health/ping"
PATIENCE = 300.0  # seconds, after which the server is left to its probes


def main() -> None:
    """Returns once the server has answered."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(ADDRESS, timeout=PATIENCE):
                return
        except urllib.error.HTTPError:
            return  # an answer all the same
        except OSError:
            time.sleep(0.5)  # it does not listen yet


if __name__ == "__main__":
    main()
