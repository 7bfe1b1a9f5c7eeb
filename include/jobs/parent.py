"""Ends a job whose parent is gone.

A task that is killed with SIGKILL cannot end its job, and Airflow starts the task again: without this, two live attempts of one build.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

log = logging.getLogger("include.jobs")
GRACE_SECONDS = 10.0


def end_with_stdin() -> None:
    """From now on this process ends when its standard input does: the parent holds the other end of the pipe, and death closes it."""
    threading.Thread(target=_watch, name="parent", daemon=True).start()


def _watch() -> None:
    # os.read, not sys.stdin: a thread that waits inside sys.stdin holds a lock that the interpreter needs at its end
    while os.read(0, 4096):
        pass
    log.error("the process that started this job is gone; ending")
    own_group = os.getpgrp() == os.getpid()  # made for the job by its task: nobody else is in it
    for number in (signal.SIGTERM, signal.SIGKILL):
        if own_group:
            os.killpg(0, number)
        else:
            os.kill(os.getpid(), number)
        time.sleep(GRACE_SECONDS)
