"""Ends a job when it is told to, and when who started it is gone.

A task that is killed with SIGKILL cannot end its job, and Airflow starts the task again: without this, two live attempts of one build. And the system
drops the TERM of a pod's only process unless that answers it: the job of a cleared task would work on until the KILL after the grace period.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

log = logging.getLogger("include.jobs")
GRACE_SECONDS = 10.0
LEAVE_SECONDS = 5.0  # for what is cleaned up on the way out; threads that do not end are not waited for longer


def end_on_term() -> None:
    """From now on TERM ends this process: with exit code 143, and what is open is left in order."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(number: int, _frame: FrameType | None) -> NoReturn:
    code = 128 + number

    def cut_off() -> None:
        time.sleep(LEAVE_SECONDS)
        os._exit(code)

    threading.Thread(target=cut_off, name="leave", daemon=True).start()
    sys.exit(code)


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
