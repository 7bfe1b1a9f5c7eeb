"""A trigger that tells what it knows: in the triggerer's log, in its event, or in the error with which it ends."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import quote

from airflow.triggers.base import TriggerEvent
from asgiref.sync import sync_to_async
from masked_trigger import MaskedTrigger


class CanaryTrigger(MaskedTrigger):
    """:param connections: by the canary's name; ``environment``: variables by the canary's name; ``ends``: ``event`` or ``error``."""

    def __init__(self, control: str, connections: list[str], environment: dict[str, str], ends: str) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {"control": control, "connections": connections, "environment": environment, "ends": ends}

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "canary_triggers.CanaryTrigger", self.arguments

    async def watch(self) -> AsyncGenerator[TriggerEvent, None]:
        from airflow.sdk import BaseHook

        await asyncio.sleep(10)  # not at once: Airflow takes a task that is queued again before its executor has told its end for a lost one
        found = {name: os.environ[variable] for name, variable in self.arguments["environment"].items()}
        for name in self.arguments["connections"]:
            found[name] = (await sync_to_async(BaseHook.get_connection, thread_sensitive=False)(f"canary_{name}")).password
        said, control = [f"[{name}={value}]" for name, value in found.items()], self.arguments["control"]
        self.log.info("plain %s %s", said, control)
        self.log.info("urls %s", [f"[{name}=https://u:{quote(value, safe='')}@h/]" for name, value in found.items()])
        self.log.warning("%r", found)
        print(said, dict(os.environ), flush=True)
        try:
            raise ValueError(control, *said)
        except ValueError:
            self.log.exception("no")
        if self.arguments["ends"] == "error":
            raise RuntimeError(f"cannot wait with {said} {control}")
        yield TriggerEvent({"said": said, "control": control})
