"""What a trigger says while things happen around it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from airflow.triggers.base import BaseTrigger, TriggerEvent


def only_event(trigger: BaseTrigger, steps: Sequence[Callable[[], object]], *, quiet: float, patience: float) -> TriggerEvent:
    """The trigger's one event, at most ``patience`` seconds after the last step. Each step happens only after ``quiet`` seconds without an event."""

    async def first() -> TriggerEvent:
        events = trigger.run()
        waiting = asyncio.ensure_future(anext(events))
        for step in steps:
            done, _ = await asyncio.wait([waiting], timeout=quiet)
            assert not done, f"said {waiting.result()!r} too early"
            await asyncio.to_thread(step)
        found = await asyncio.wait_for(waiting, patience)
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        return found

    return asyncio.run(first())
