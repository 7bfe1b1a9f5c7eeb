"""One interval of one connection, played from a seed: a task with its tries, Airbyte with its moods, and the user."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
import random
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import psycopg
from airbyte_triggers import AirbyteJobTrigger
from airflow.providers.airbyte.hooks.airbyte import AirbyteHook
from airflow.sdk.exceptions import TaskDeferred

from include.config.units import AirbyteUnit
from include.contract import TransientError
from include.local.services.airbyte.connections import Connection
from include.local.services.airbyte.destination import METADATA_COLUMNS
from include.operators.airbyte import AirbyteSyncOperator
from include.operators.airbyte_api import AirbyteJobs, Clock, Job
from tests.local.services.airbyte_harness import SCHEMA, Client, Service, unit_document, wait_until

AIRFLOW_CONNECTION = "airbyte"
READINGS = 10
SCHEMA_SQL = f"""
CREATE TABLE events (id bigint GENERATED ALWAYS AS IDENTITY, happened_on timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE readings (id integer, value text);
INSERT INTO readings SELECT g, 'r' || g FROM generate_series(1, {READINGS}) g;
"""
STREAMS: list[dict[str, Any]] = [
    {"name": "events", "sync_mode": "incremental_append", "cursor": "happened_on", "columns": ["id", "happened_on"]},
    {"name": "readings", "sync_mode": "full_refresh_append", "columns": ["id", "value"]},
]
TRIES = 40


class Killed(BaseException):
    """The worker is gone: nothing that catches errors may see it."""


@dataclass
class Life:
    """Ends a worker after a number of steps; ``None`` lets it live. A step is an edge of a request, a note or a pause."""

    steps: int | None = None

    def step(self) -> None:
        if self.steps is None:
            return
        if self.steps == 0:
            raise Killed
        self.steps -= 1


@dataclass
class TaskStateStore:
    """Outlives workers and keeps JSON, as Airflow's does. A worker can die before and after each write."""

    rows: dict[str, str] = field(default_factory=dict)
    life: Life = field(default_factory=Life)

    def get(self, key: str, default: Any = None) -> Any:
        return json.loads(self.rows[key]) if key in self.rows else default

    def set(self, key: str, value: Any) -> None:
        self.life.step()
        self.rows[key] = json.dumps(value)
        self.life.step()


class MortalJobs(AirbyteJobs):
    """The provider's client in the hands of a worker that can die at the edges of every request; ``pause`` stands for sleep."""

    def __init__(self, life: Life, pause: Clock = lambda seconds: time.sleep(seconds / 100)) -> None:
        super().__init__(AirbyteHook(airbyte_conn_id=AIRFLOW_CONNECTION).airbyte_api, self._pause)
        self.life, self.pause = life, pause

    def _pause(self, seconds: float) -> None:
        self.life.step()
        self.pause(seconds)

    def submit(self, connection_id: str) -> Job:
        self.life.step()
        job = super().submit(connection_id)
        self.life.step()
        return job

    def get(self, job_id: int) -> Job:
        self.life.step()
        return super().get(job_id)

    def newest(self, connection_id: str) -> list[Job]:
        self.life.step()
        return super().newest(connection_id)


class Worker(AirbyteSyncOperator):
    """The real operator with a mortal client."""

    life = Life()
    pause: Clock = staticmethod(lambda seconds: time.sleep(seconds / 100))

    @classmethod
    def made(cls, source: Source, life: Life, *, deferrable: bool = False) -> Worker:
        worker = cls(task_id="sync", connection_id=source.id, airbyte_conn_id=AIRFLOW_CONNECTION, poll_seconds=0.04, inline_seconds=0, deferrable=deferrable)
        worker.life = life
        return worker

    def _jobs(self) -> AirbyteJobs:
        return MortalJobs(self.life, self.pause)


@dataclass
class Source:
    """A connection with an appending stream that must hold every row once, and one that counts how often it was synced."""

    service: Service
    name: str
    id: str
    prefix: str

    @classmethod
    def made(cls, service: Service, number: int) -> Source:
        name, identifier = f"intervals_{number}", str(uuid.uuid4())
        with psycopg.connect(service.platform.postgres_dsn, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        source = cls(service, name, identifier, f"raw__{name}__")
        unit = AirbyteUnit.model_validate({"id": name, **unit_document(identifier, source.prefix, STREAMS)})
        service.connections[identifier] = Connection(identifier, unit, SCHEMA)
        source.execute(SCHEMA_SQL)
        return source

    @property
    def client(self) -> Client:
        return self.service.client

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.service.platform.postgres.dsn(self.name)) as connection:
            connection.execute(statement.encode())

    def event_ids(self) -> list[int]:
        with psycopg.connect(self.service.platform.postgres.dsn(self.name)) as connection:
            return [row[0] for row in connection.execute("SELECT id FROM events ORDER BY id")]

    def lake(self, stream: str) -> list[int]:
        found = self.service.catalog.load_table((SCHEMA, f"{self.prefix}{stream}")).scan().to_arrow()
        assert set(METADATA_COLUMNS) < set(found.column_names)
        return sorted(found["id"].to_pylist())

    def settle(self) -> None:
        """Ends what a test has left running, and the service's misbehaviour."""
        self.client.clear()
        for job in self.jobs():
            if job.active:
                self.service.worker.cancel(job.job_id, patience=10)

    def jobs(self) -> list[Any]:
        return list(self.service.store.list_jobs([("connection_id = %s", self.id)], "job_id", 10_000, 0))

    def committed(self, stream: str) -> set[int]:
        """Ids of jobs that brought a stream to its end."""
        return {row["job_id"] for row in self.service.store._query("SELECT job_id FROM job_streams WHERE stream = %s", [stream])}


def api_faults(chance: random.Random) -> list[dict[str, Any]]:
    """Up to three ways in which requests go wrong, of every kind and at every call; sometimes for longer than a try's patience."""
    places = [
        {"method": "POST", "path": "/jobs"},
        {"method": "GET", "path": "/jobs"},
        {"method": "GET", "path": "/jobs/*"},
        {"path": "/applications/token"},
        {},
    ]
    effects: list[dict[str, Any]] = [
        *({"status": status} for status in (500, 502, 503, 504, 429)),
        {"status": 429, "retry_after": 3},
        {"status": 503, "retry_after": 1},
        {"half_body": True},
        {"drop_answer": True},
        {"delay": 0.1},
    ]
    rules = []
    for _ in range(chance.choice((0, 1, 1, 2, 3))):
        rules.append({"match": chance.choice(places), "skip": chance.randrange(3), "count": chance.choice((1, 1, 1, 2, 3, 8)), **chance.choice(effects)})
    if chance.random() < 0.1:  # a token that Airbyte no longer accepts
        rules.append({"match": {"path": chance.choice(("/jobs", "/jobs/*"))}, "skip": chance.randrange(3), "count": 1, "status": 401})
    return rules


def job_faults(chance: random.Random) -> list[dict[str, Any]]:
    """What becomes of the first jobs of the interval."""
    kinds: list[dict[str, Any]] = [
        {},
        {},
        {"queued": 0.2},
        {"stream_seconds": 0.1},
        {"fail": "the source closed the connection", "after_streams": chance.randrange(3)},
        {"cancel": True, "after_streams": chance.randrange(2)},
    ]
    chosen = [chance.choice(kinds) for _ in range(chance.choice((1, 1, 2)))]
    return [{"match": {"method": "POST", "path": "/jobs"}, "job": {"stream_seconds": 0.02, **kind}} for kind in chosen]


class Interval:
    """Plays one interval and checks what is left of it."""

    def __init__(self, seed: int, source: Source, met: Counter[str]) -> None:
        self.chance = random.Random(seed)
        self.source, self.met = source, met
        self.client = source.client
        self.store = TaskStateStore()
        self.round = 3  # max_tries of a task with three retries
        self.rounds: dict[int, int] = {}  # the newest job when a round began
        self.ended: dict[int, set[int]] = {}  # jobs that had ended by then: none of them is a new sync
        self.answers: dict[int, int] = {}  # the job a finished round answered for
        self.foreign: set[int] = set()
        self.errors: list[str] = []
        self.deaths = self.chance.choice((0, 0, 1, 1, 2, 3))
        self.clears = self.chance.choice((0, 0, 0, 1))
        self.deferrable = self.chance.random() < 0.3

    # --- the play ---------------------------------------------------------------------------------

    def play(self) -> None:
        self.source.execute(f"INSERT INTO events SELECT FROM generate_series(1, {self.chance.randint(1, 5)})")
        self._begin_round(self.round)
        if self.chance.random() < 0.25:
            self._somebody_syncs()
        self.client.faults(*api_faults(self.chance), *job_faults(self.chance))
        for _ in range(TRIES):
            if self._a_try():
                return
        raise AssertionError(f"not done after {TRIES} tries: {self.errors[-3:]}")

    def _somebody_syncs(self) -> None:
        """Somebody starts a sync by hand right before: the task's own meets 409."""
        self.client.faults({"match": {"method": "POST", "path": "/jobs"}, "job": {"stream_seconds": self.chance.choice((0, 0.05, 0.2))}})
        self.foreign.add(self.client.submit(self.source.id).raise_for_status().json()["jobId"])
        self.client.clear()
        self.met["a sync ran already"] += 1

    def _time_passes(self, seconds: float) -> None:
        """A hundredth of the time, or as long as the job at Airbyte takes: what comes after then meets one that has ended."""
        time.sleep(seconds / 100)
        if self.chance.random() < 0.5:
            with contextlib.suppress(AssertionError):
                wait_until(lambda: not any(job.active for job in self.source.jobs()), 1)

    def _begin_round(self, number: int) -> None:
        self.round = number
        jobs = self.source.jobs()
        self.rounds[number] = jobs[-1].job_id if jobs else 0
        self.ended[number] = {job.job_id for job in jobs if not job.active}

    def _a_try(self) -> bool:
        """One try of the task; whether the interval is over."""
        dies = self.deaths > 0 and self.chance.random() < 0.8
        # a worker that lives without trouble submits at its fourth step, and has noted the job at its eighth
        life = Life(self.chance.choice((4, 5, 6, self.chance.randrange(18))) if dies else None)
        self.store.life = life
        worker = self._worker(life, deferrable=self.deferrable)
        try:
            job_id = self._run(worker)
        except Killed:
            self.deaths -= 1
            self.met["worker killed"] += 1
            if self.clears and self.chance.random() < 0.5:
                self._clear(worker)
            self._time_passes(1)
            return False
        except TransientError as error:
            self._judge(str(error))
            return False
        self.answers[self.round] = job_id
        if self.clears:
            self._clear(None)
            return False
        return True

    def _clear(self, worker: Worker | None) -> None:
        """The user clears the task: a worker that is still there is told to end, and Airflow raises ``max_tries``."""
        self.clears -= 1
        self.met["cleared"] += 1
        if worker is not None and self.chance.random() < 0.7:
            worker.life.steps = None
            worker.on_kill()
        self._begin_round(self.round + 1)

    def _run(self, worker: Worker) -> int:
        context = {"task_state_store": self.store, "ti": SimpleNamespace(max_tries=self.round)}
        call = functools.partial(worker.execute, context)
        while True:  # it is deferred again when a job of an earlier round has to be followed by a new one
            try:
                return int(call()["job_id"])
            except TaskDeferred as deferred:
                self.met["deferred"] += 1
                event = self._wait_in_triggerer(deferred)
                call = functools.partial(getattr(self._worker(worker.life, deferrable=True), deferred.method_name), context, event)

    def _worker(self, life: Life, *, deferrable: bool) -> Worker:
        worker = Worker.made(self.source, life, deferrable=deferrable)
        worker.pause = self._time_passes
        return worker

    def _wait_in_triggerer(self, deferred: TaskDeferred) -> dict[str, Any]:
        """The trigger fires; now and then its triggerer is killed and another one takes it over from what was stored."""
        classpath, arguments = deferred.trigger.serialize()
        assert classpath == "airbyte_triggers.AirbyteJobTrigger"
        while True:
            patience = 0.1 if self.chance.random() < 0.2 else 30
            try:
                return asyncio.run(asyncio.wait_for(first_event(AirbyteJobTrigger(**arguments)), patience))
            except TimeoutError:
                assert patience < 1, "the trigger did not fire within 30 s"
                self.met["triggerer killed"] += 1

    def _judge(self, message: str) -> None:
        """Every error names what it is about and why."""
        self.errors.append(message)
        self.met["failed tries"] += 1
        ids = [str(job.job_id) for job in self.source.jobs()]
        assert self.source.id in message or any(f"job {number}" in message for number in ids), message
        reasons = ("somebody cancelled it", "see the job's log", "Airbyte answered", "could not be read", "no answer from", "token endpoint answered")
        assert any(reason in message for reason in reasons), message
        self.met["cancelled behind our back"] += "somebody cancelled it" in message
        self.met["job failed"] += "see the job's log" in message

    # --- the check --------------------------------------------------------------------------------

    def check(self) -> None:
        self.client.clear()
        jobs = wait_until(lambda: (found := self.source.jobs()) and not any(job.active for job in found) and found, 60, "all jobs have ended")
        self._one_success_a_round(jobs)
        for earlier, later in itertools.pairwise(jobs):
            assert earlier.updated_at <= later.created_at, f"jobs {earlier.job_id} and {later.job_id} at the same time"
        assert self.source.lake("events") == self.source.event_ids()
        synced = self.source.committed("readings")
        times = sum(job.job_id in synced for job in jobs)
        assert len(self.source.lake("readings")) == READINGS * times

    def _one_success_a_round(self, jobs: list[Any]) -> None:
        succeeded = {job.job_id for job in jobs if job.status == "succeeded"}
        bounds = sorted(self.rounds.items())
        last = bounds[-1][0]
        assert last in self.answers
        for index, (number, before) in enumerate(bounds):
            end = bounds[index + 1][1] if number != last else jobs[-1].job_id
            own = {job_id for job_id in succeeded if before < job_id <= end} - self.foreign
            answer = self.answers.get(number)
            if answer is None:
                assert len(own) <= 1, f"round {number} was cleared before its end and made {own}"
            else:
                assert answer in succeeded - self.ended[number], f"round {number} answered for {answer}"
                taken_over = answer in self.foreign or answer <= before
                assert own == (set() if taken_over else {answer}), f"round {number} answered for {answer}, succeeded: {own}"
                self.met["took over"] += taken_over


async def first_event(trigger: AirbyteJobTrigger) -> dict[str, Any]:
    """What the trigger says when it fires."""
    async for event in trigger.run():
        return dict(event.payload)
    raise AssertionError("the trigger ended without an event")
