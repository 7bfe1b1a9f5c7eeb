"""Waits for dbt models in the triggerer: follows the progress document that the build writes.

All triggers of a run read one document; it is read once a poll for all of them. While the document has news, nobody asks Airflow how
the build is: the answer costs a request, and the first one of a triggerer two seconds of its processor.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import fsspec
from airflow.triggers.base import TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent
from asgiref.sync import sync_to_async
from masked_trigger import MaskedTrigger

POLL_SECONDS = 0.5
ASK_BUILD_EVERY = 15.0
"""Seconds without news in the document after which the build's task is asked for its state, and between two such questions."""
PATIENCE, ASK_STORE_EVERY = 300.0, 5.0
"""Seconds for which a document that cannot be read is asked for again, and between two such attempts."""
UNFINISHED = frozenset({None, "scheduled", "queued", "running", "restarting", "deferred", "up_for_retry", "up_for_reschedule"})
FORGET_AFTER = 600.0
Answer = TypeVar("Answer")
_answers: dict[str, tuple[float, asyncio.Future[Any]]] = {}
_contents: dict[str, Reading] = {}


@dataclass(frozen=True)
class Reading:
    """What a document held: its bytes and what they say, ``None`` for a document that is not there, and since when it was not another."""

    raw: bytes | None
    document: dict[str, Any] | None
    since: float


async def once(key: str, seconds: float, ask: Callable[[], Awaitable[Answer]]) -> Answer:
    """An answer that all triggers share, at most so many seconds old."""
    now = time.monotonic()
    known = _answers.get(key)
    if known is None or now - known[0] > seconds or known[1].get_loop() is not asyncio.get_running_loop():
        for stale in [other for other, (asked, _) in _answers.items() if now - asked > FORGET_AFTER]:
            del _answers[stale]
            _contents.pop(stale, None)
        known = (now, asyncio.ensure_future(ask()))
        _answers[key] = known
    answer: Answer = await asyncio.shield(known[1])
    return answer


async def read_once(url: str) -> Reading:
    """The document at ``url``, at most half a second old."""

    async def read() -> Reading:
        raw = await asyncio.to_thread(_read, url)
        known = _contents.get(url)
        if known is None or known.raw != raw:
            known = _contents[url] = Reading(raw, None if raw is None else json.loads(raw), time.monotonic())
        return known

    return await once(url, POLL_SECONDS * 0.8, read)


def _read(url: str) -> bytes | None:
    store, path = fsspec.core.url_to_fs(url)
    try:
        # in one request: opened as a file it would be looked at first, and refused when it has been replaced before it is read
        data: bytes = store.cat_file(path)
    except FileNotFoundError:
        return None
    return data


class ModelsTrigger(MaskedTrigger):
    """Ends its task when the build is done with the task's models; hands a cleared task to a worker, to build them again.

    On the first try the document speaks for itself. On a later one it may be that of the earlier build, so the build task's state
    is asked first: while that is running (the whole run was cleared) the trigger waits for it, otherwise only this task was cleared.
    """

    def __init__(self, models: list[str], progress: str, build_task_id: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.models = models
        self.progress = progress
        self.build_task_id = build_task_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        return "model_triggers.ModelsTrigger", {"models": self.models, "progress": self.progress, "build_task_id": self.build_task_id}

    async def watch(self) -> AsyncGenerator[TriggerEvent, None]:
        """Yields one event: the task's end, or a plain event for a rebuild."""
        cleared = bool(self.task_instance and self.task_instance.try_number > 1)
        if cleared and await self._build_done(known_for=0.0):
            yield TriggerEvent({"rebuild": True})
            return
        asked = time.monotonic()
        while True:
            reading = await self._reading()
            done = False
            if time.monotonic() - max(asked, 0.0 if cleared else reading.since) > ASK_BUILD_EVERY:
                done = await self._build_done(known_for=ASK_BUILD_EVERY / 3)
                asked = time.monotonic()
                if done:  # its last words may be younger than what was read
                    await asyncio.sleep(POLL_SECONDS)
                    reading = await self._reading()
            document = reading.document
            if cleared and not done and document is not None and document["finished"]:
                document = None  # the earlier build's; this one has not begun to write
            event = self._event(document, done)
            # A build that was killed leaves its failures behind until the next one has begun to write; what it built stays built.
            stale = cleared and not done and isinstance(event, TaskFailedEvent)
            if event is not None and not stale:
                yield event
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _reading(self) -> Reading:
        """The document. A store that is away is asked again for a while: otherwise a moment without it would fail every model of the build."""
        patience = time.monotonic() + PATIENCE
        while True:
            try:
                return await read_once(self.progress)
            except Exception as error:  # every store has errors of its own; what lasts is raised
                if time.monotonic() > patience:
                    raise
                self.log.warning("the build's progress cannot be read, asking again: %s", error)
                await asyncio.sleep(ASK_STORE_EVERY)

    def _event(self, document: dict[str, Any] | None, build_done: bool) -> TriggerEvent | None:
        """The task's end as the document tells it; ``None`` while there is more to come."""
        selected = document["selected"] if document is not None else []
        wanted = [model for model in self.models if model in selected]
        if document is not None and selected and not wanted:
            return TaskSkippedEvent()
        states = {model: document["nodes"].get(model, {}) for model in wanted} if document is not None else {}
        kinds = {state.get("state", "waiting") for state in states.values()}
        if not states or kinds - {"success", "failed", "skipped"}:
            return self._ended_early(states) if build_done else None
        if kinds == {"success"}:
            seconds = sum(state["seconds"] for state in states.values())
            self.log.info("built and tested in %.1f s", seconds)
            return TaskSuccessEvent(xcoms={"return_value": {"seconds": seconds, "rows": sum(state["rows"] or 0 for state in states.values())}})
        for model, state in states.items():
            if state["state"] != "success":
                self.log.error("%s: %s", model.rpartition(".")[2], state["message"] or state["state"])
        return TaskFailedEvent()

    def _ended_early(self, states: dict[str, Any]) -> TriggerEvent:
        told = "before these models did" if states else "without saying what became of these models"
        self.log.error("the build ended %s", told)
        return TaskFailedEvent()

    async def _build_done(self, known_for: float) -> bool:
        """Whether the build task of this run has come to its end, as known for at most so many seconds."""
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        ti: Any = self.task_instance

        async def ask() -> bool:
            states = await sync_to_async(RuntimeTaskInstance.get_task_states)(dag_id=ti.dag_id, task_ids=[self.build_task_id], run_ids=[ti.run_id])
            return all(state not in UNFINISHED for state in states.get(ti.run_id, {}).values()) and bool(states.get(ti.run_id))

        return await once(f"{ti.dag_id}/{ti.run_id}/{self.build_task_id}", known_for, ask)
