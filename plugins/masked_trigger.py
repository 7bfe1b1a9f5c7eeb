"""What all triggers of the platform have in common: nothing that they tell holds a secret.

An event, and the traceback of a trigger that fails, are kept in the metadata database and read by the task, whose own process knows
nothing of what the trigger was told in confidence, and so would log it and return it. They are masked here, where the secret is known.
"""

from __future__ import annotations

import contextlib
import traceback
from abc import abstractmethod
from collections.abc import AsyncGenerator
from typing import Any

from airflow.sdk._shared.secrets_masker import redact
from airflow.triggers.base import BaseTaskEndEvent, BaseTrigger, TriggerEvent
from secret_masking import masked


class TriggerFailedError(Exception):
    """A trigger's error whose words held a secret; its message is the whole traceback, masked."""


class MaskedTrigger(BaseTrigger):
    """A trigger that implements :meth:`watch` in place of ``run``."""

    @abstractmethod
    def watch(self) -> AsyncGenerator[TriggerEvent, None]:
        """Yields events when there is something to tell, as ``BaseTrigger.run``."""

    async def run(self) -> AsyncGenerator[TriggerEvent, None]:
        """The events of :meth:`watch` without registered secrets."""
        try:
            async with contextlib.aclosing(self.watch()) as events:
                async for event in events:
                    yield without_secrets(event)
        except Exception as error:
            text = "".join(traceback.format_exception(error)).rstrip()
            found: Any = redact(text)
            if found == text:
                raise
            raise TriggerFailedError(found) from None


def without_secrets(event: TriggerEvent) -> TriggerEvent:
    """The same event, with what it carries masked."""
    if isinstance(event, BaseTaskEndEvent):
        event.xcoms = masked(event.xcoms)
    else:
        event.payload = masked(event.payload)
    return event
