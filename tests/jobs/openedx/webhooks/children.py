"""The sender as a child process whose clock is wrong, or that dies by a real ``SIGKILL`` at a chosen step.

``python -m tests.jobs.openedx.webhooks.children <clock's seconds ahead> <step to die at, 0: none> <job> --flags``
"""

from __future__ import annotations

import functools
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

from include.jobs import __main__ as entry
from include.jobs.openedx.webhooks import client
from include.jobs.openedx.webhooks.client import Client
from include.jobs.openedx.webhooks.lanes import Lanes


class Steps:
    """Counts everything that a sender does to the outbox and to the receiver, before and after it is done."""

    def __init__(self, kill_at: int) -> None:
        self.kill_at, self.count = kill_at, 0

    def tick(self) -> None:
        self.count += 1
        if self.count == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: type, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        @functools.wraps(real)
        async def wrapped(*arguments: Any, **options: Any) -> Any:
            self.tick()
            found = await real(*arguments, **options)
            self.tick()
            return found

        setattr(owner, name, wrapped)


if __name__ == "__main__":
    ahead, kill_at = float(sys.argv[1]), int(sys.argv[2])
    client.wall_clock = lambda: time.time() + ahead
    if kill_at:
        steps = Steps(kill_at)
        for owner, name in ((Lanes, "_begin"), (Client, "_post"), (Lanes, "delivered"), (Lanes, "try_again"), (Lanes, "dead")):
            steps.around(owner, name)
    sys.exit(entry.main(sys.argv[3:]))
