"""Waits for dbt models in the triggerer: follows the progress document that the build writes.

All triggers of a run read one document; it is read once a poll for all of them.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import fsspec
from airflow.triggers.base import BaseTrigger, TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent
from asgiref.sync import sync_to_async

POLL_SECONDS = 0.5
ASK_BUILD_EVERY = 5.0
UNFINISHED = frozenset({None, "scheduled", "queued", "running", "restarting", "deferred", "up_for_retry", "up_for_reschedule"})
_documents: dict[str, tuple[float, asyncio.Future[dict[str, Any] | None]]] = {}


async def read_once(url: str) -> dict[str, Any] | None:
    """The document at ``url``, at most half a second old; ``None`` when there is none."""
    now = time.monotonic()
    known = _documents.get(url)
    if known is None or now - known[0] > POLL_SECONDS * 0.8 or known[1].get_loop() is not asyncio.get_running_loop():
        for stale in [key for key, (read, _) in _documents.items() if now - read > 600]:
            del _documents[stale]
        known = (now, asyncio.ensure_future(asyncio.to_thread(_read, url)))
        _documents[url] = known
    return await asyncio.shield(known[1])


def _read(url: str) -> dict[str, Any] | None:
    try:
        with fsspec.open(url, "rb") as stream:
            data: dict[str, Any] = json.loads(stream.read())
            return data
    except FileNotFoundError:
        return None


class ModelsTrigger(BaseTrigger):
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

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yields one event: the task's end, or a plain event for a rebuild."""
        cleared = bool(self.task_instance and self.task_instance.try_number > 1)
        if cleared and await self._build_done():
            yield TriggerEvent({"rebuild": True})
            return
        asked = time.monotonic()
        while True:
            done = False
            if time.monotonic() - asked > ASK_BUILD_EVERY:
                done = await self._build_done()
                asked = time.monotonic()
            document = await read_once(self.progress)
            if cleared and not done and document is not None and document["finished"]:
                document = None  # the earlier build's; this one has not begun to write
            event = self._event(document, done)
            # A build that was killed leaves its failures behind until the next one has begun to write; what it built stays built.
            stale = cleared and not done and isinstance(event, TaskFailedEvent)
            if event is not None and not stale:
                yield event
                return
            await asyncio.sleep(POLL_SECONDS)

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

    async def _build_done(self) -> bool:
        """Whether the build task of this run has come to its end."""
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        ti: Any = self.task_instance
        states = await sync_to_async(RuntimeTaskInstance.get_task_states)(dag_id=ti.dag_id, task_ids=[self.build_task_id], run_ids=[ti.run_id])
        return all(state not in UNFINISHED for state in states.get(ti.run_id, {}).values()) and bool(states.get(ti.run_id))
