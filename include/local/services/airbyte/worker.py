"""Runs jobs: a few at once, each on a few streams at once; attempts, cancellation, and going on after a kill."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import psycopg
from pyiceberg.exceptions import CommitStateUnknownException
from sqlalchemy.exc import DBAPIError

from include.config.units import Stream
from include.local.services.airbyte.connections import Connection
from include.local.services.airbyte.destination import Destination
from include.local.services.airbyte.store import Job, Store
from include.local.services.airbyte.sync import Step, run_stream

log = logging.getLogger("airbyte")
ATTEMPTS = 3
TRANSIENT = (OSError, psycopg.OperationalError, DBAPIError, CommitStateUnknownException)
TICK = 0.25  # seconds between two looks at the queue when nothing wakes the dispatcher


class Stopped(Exception):  # noqa: N818 - no error
    """The job must not go on: it was cancelled, another stream failed, or the service is ending."""


class JobFailedError(RuntimeError):
    """The fault ``fail`` struck."""


class Run:
    """One attempt of one job while it is in a slot."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.cancelled = threading.Event()
        self.halted = threading.Event()
        self.done: Future[None] = Future()
        self.started = time.monotonic()

    def check(self) -> None:
        """Raises ``Stopped`` when the attempt must not go on."""
        if self.cancelled.is_set() or self.halted.is_set():
            raise Stopped

    def pause(self, seconds: float) -> None:
        """Waits, but not beyond a cancellation."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.check()
            time.sleep(min(0.02, max(0.0, deadline - time.monotonic())))


class Worker:
    """Takes jobs from the store and runs them until :meth:`stop`."""

    def __init__(
        self, store: Store, connections: Mapping[str, Connection], destination: Destination, source_dsn: str, *, slots: int = 2, streams_at_once: int = 3
    ) -> None:
        self._store, self._connections, self._destination, self._source_dsn = store, connections, destination, source_dsn
        self._slots, self._streams_at_once = slots, streams_at_once
        self._runs: dict[int, Run] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._jobs = ThreadPoolExecutor(slots, thread_name_prefix="job")
        self._dispatcher = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Goes on with the jobs that an earlier service left running, then serves the queue."""
        for job in self._store.requeue_interrupted():
            log.info("job=%s event=interrupted attempts=%s", job.job_id, job.attempts)
        self._dispatcher.start()

    def stop(self, seconds: float) -> None:
        """Stops between batches; waits at most so long. Running jobs stay so in the state, the next start goes on with them."""
        self._stopping.set()
        self._wake.set()
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.halted.set()
        wait([run.done for run in runs], timeout=seconds)

    def notify(self) -> None:
        """A job was created."""
        self._wake.set()

    def cancel(self, job_id: int, patience: float = 3.0) -> None:
        """Cancels a job; returns once it has stopped, or after ``patience`` seconds when its current batch takes longer."""
        self._store.cancel(job_id)
        with self._lock:
            run = self._runs.get(job_id)
        if run is not None:
            run.cancelled.set()
            wait([run.done], timeout=patience)

    def _dispatch(self) -> None:
        while not self._stopping.is_set():
            try:
                self._fill_slots()
            except psycopg.OperationalError as error:
                log.warning("event=state-away error=%r", str(error).strip())
            self._wake.wait(TICK)
            self._wake.clear()

    def _fill_slots(self) -> None:
        self._reap()
        for waiting in self._store.due_jobs():
            with self._lock:
                full = len(self._runs) >= self._slots
            if full:
                self._store.mark_queued(waiting.job_id)
                continue
            with self._lock:  # who cancels a job that has just begun finds its run
                job = self._store.start_attempt(waiting.job_id)
                if job is None or self._stopping.is_set():
                    continue
                run = self._runs[job.job_id] = Run(job)
            log.info("job=%s event=started attempt=%s type=%s connection=%s", job.job_id, job.attempts, job.job_type, self._name(job))
            self._jobs.submit(self._attempt, run).add_done_callback(partial(self._ended, run))

    def _reap(self) -> None:
        """Frees the slots of ended attempts. One that could not save its end (the state database was away) starts again."""
        with self._lock:
            ended = [run for run in self._runs.values() if run.done.done()]
        for run in ended:
            self._store.end_attempt(run.job.job_id, "incomplete", "the attempt's end could not be saved", retry_in=1)
            with self._lock:
                del self._runs[run.job.job_id]

    def _ended(self, run: Run, outcome: Future[None]) -> None:
        """An attempt is over; when the service is ending it stays running in the state."""
        error = outcome.exception()
        try:
            if error is None or run.cancelled.is_set() or not self._stopping.is_set():
                self._end(run, error, time.monotonic() - run.started)
        except psycopg.OperationalError as away:
            log.warning("job=%s event=state-away error=%r", run.job.job_id, str(away).strip())
        finally:
            run.done.set_result(None)
            self._wake.set()

    def _end(self, run: Run, error: BaseException | None, seconds: float) -> None:
        status, message, retry_in = "succeeded", "", 0.0
        if run.cancelled.is_set() and error is not None:
            status, message = "cancelled", "cancelled"
        elif error is not None:
            message = f"{type(error).__name__}: {error}".strip()
            again = isinstance(error, TRANSIENT) and run.job.attempts < ATTEMPTS
            status, retry_in = ("incomplete", 0.5 * 2**run.job.attempts) if again else ("failed", 0.0)
        self._store.end_attempt(run.job.job_id, status, message, retry_in)
        trace = error if error is not None and not isinstance(error, (Stopped, RuntimeError, *TRANSIENT)) else None
        log.info("job=%s event=%s attempt=%s seconds=%.2f message=%r", run.job.job_id, status, run.job.attempts, seconds, message, exc_info=trace)

    def _attempt(self, run: Run) -> None:
        """All streams that no earlier attempt has finished. Raises the first error of a stream."""
        connection = self._connections.get(str(run.job.connection_id))
        if connection is None:
            raise JobFailedError(f"connection {run.job.connection_id} exists no more")
        finished = self._store.finished_streams(run.job.job_id)
        progress = _Progress(run, len(finished), self._store)
        progress.strike()
        streams = [stream for stream in connection.unit.streams if stream.name not in finished]
        with ThreadPoolExecutor(self._streams_at_once, thread_name_prefix=f"job-{run.job.job_id}-stream") as pool:
            futures = [pool.submit(self._stream, run, connection, stream, progress) for stream in streams]
            wait(futures, return_when=FIRST_EXCEPTION)
            if any(future.exception() for future in futures if future.done()):
                run.halted.set()
        raised = [error for future in futures if (error := future.exception()) is not None]
        if raised:
            raise next((error for error in raised if not isinstance(error, Stopped)), raised[0])

    def _stream(self, run: Run, connection: Connection, stream: Stream, progress: _Progress) -> None:
        run.check()
        run.pause(float(run.job.faults.get("stream_seconds", 0)))
        started = time.monotonic()
        state = self._store.stream_state(connection.id, stream.name)
        dsn = psycopg.conninfo.make_conninfo(self._source_dsn, dbname=connection.unit.id)
        result = run_stream(Step(run.job, connection, stream, dsn, self._destination, state, run.check))
        self._store.finish_stream(run.job, result)
        log.info(
            "job=%s event=stream stream=%s mode=%s rows=%s bytes=%s snapshot=%s seconds=%.3f",
            *(run.job.job_id, stream.name, stream.sync_mode.value, result.rows, result.bytes, result.snapshot_id, time.monotonic() - started),
        )
        progress.add()

    def _name(self, job: Job) -> str:
        connection = self._connections.get(str(job.connection_id))
        return connection.unit.id if connection else str(job.connection_id)


class _Progress:
    """Counts complete streams and lets the faults ``fail`` and ``cancel`` strike at their number."""

    def __init__(self, run: Run, complete: int, store: Store) -> None:
        self._run, self._complete, self._store = run, complete, store
        self._faults: dict[str, Any] = run.job.faults
        self._lock = threading.Lock()

    def add(self) -> None:
        """One stream more is complete."""
        with self._lock:
            self._complete += 1
        self.strike()

    def strike(self) -> None:
        """Raises ``JobFailedError`` or ``Stopped`` when a fault's number is reached."""
        with self._lock:
            reached = self._complete >= int(self._faults.get("after_streams", 0))
        if reached and self._faults.get("fail"):
            raise JobFailedError(self._faults["fail"])
        if reached and self._faults.get("cancel"):
            self._store.cancel(self._run.job.job_id)
            self._run.cancelled.set()
            raise Stopped
