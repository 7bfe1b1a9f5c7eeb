"""Runs a job as a child process of the task: the laptop's and the tests' runtime, with the same command line as a pod."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from include.config.environments import secret_values
from include.config.files import ROOT
from include.contract import JobResult, read_line
from include.pods.job import JobSpec
from include.pods.outcome import JobError, publish_results, raise_for_exit
from include.pods.secrets import mask, refuse_secrets

GRACE_SECONDS = 10


class ProcessJob:
    """One running job. ``run`` blocks until it ends; ``kill`` ends the job and everything it started."""

    def __init__(self, spec: JobSpec, log: Any) -> None:
        self.spec = spec
        self.log = log
        self.child: subprocess.Popen[str] | None = None

    def run(self) -> JobResult:
        """The job's result. Raises ``AirflowFailException`` for a permanent failure and ``JobError`` for one worth another try."""
        mask(secret_values())
        refuse_secrets(self.spec.job, self.spec.arguments)
        with tempfile.TemporaryDirectory(prefix="ol-job-") as folder:
            result = Path(folder) / "return.json"
            command = [*self.spec.command(str(result), sys.executable), "--end-with-stdin"]
            self.log.info("starting %s", " ".join(command))
            # A session of its own, so that kill() reaches the job's children too; a pipe that closes when this process dies, however it dies.
            with subprocess.Popen(
                command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.PIPE, text=True, start_new_session=True
            ) as self.child:
                last_error = self._stream(self.child)
                code = self.child.wait()
            raise_for_exit(code, self.spec.job, last_error)
            try:
                return JobResult.from_json(result.read_text(encoding="utf-8"))
            except FileNotFoundError:
                raise JobError(f"{self.spec.job} ended with exit code 0 but left no result") from None
            except ValueError as error:
                raise AirflowFailException(f"{self.spec.job} left a result that breaks the job contract: {error}") from error

    def _stream(self, child: subprocess.Popen[str]) -> str:
        """Passes the job's lines on to the task's log; returns its last error, or else its last lines."""
        tail: deque[str] = deque(maxlen=5)
        last_error = ""
        for line in child.stdout or ():
            level, text = read_line(line.rstrip("\n"))
            self.log.log(level, "%s", text)
            tail.append(text)
            if level >= logging.ERROR:
                last_error = text
        return last_error or "\n".join(tail)

    def kill(self) -> None:
        """Ends the job's process group: TERM, and KILL for whatever of it is left after a grace period."""
        if self.child is None or self.child.poll() is not None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + GRACE_SECONDS
            left = _signal_group(self.child.pid, number)
            while left and time.monotonic() < deadline:
                self.child.poll()
                time.sleep(0.05)
                left = _signal_group(self.child.pid, 0)
            if not left:
                return


def _signal_group(group: int, number: int) -> bool:
    """Whether anything of the process group was there to get the signal."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


class ProcessJobOperator(BaseOperator):
    """Runs one job as a child process.

    :param spec: the job; its arguments are templated.
    :param publish_from: task ids whose job results are published with this task's own, so that an event means all of them succeeded.
    """

    template_fields = ("arguments",)
    ui_color = "#dbeafe"

    def __init__(self, *, spec: JobSpec, publish_from: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.spec = spec
        self.arguments = list(spec.arguments)
        self.publish_from = publish_from
        self._running: ProcessJob | None = None

    def execute(self, context: Any) -> str:
        """Runs the job, publishes its tables and returns its result as JSON."""
        spec = replace(self.spec, arguments=tuple(self.arguments))
        self._running = ProcessJob(spec, self.log)
        result = self._running.run()
        publish_results(context, list(self.outlets), self.publish_from, result)
        return result.to_json()

    def on_kill(self) -> None:
        """Ends the job when the task is killed, cleared or times out."""
        if self._running is not None:
            self._running.kill()
