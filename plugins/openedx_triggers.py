"""Waits for an Open edX export in the triggerer: asks Studio until it says that the export has ended, however it ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
from airflow.triggers.base import TriggerEvent
from asgiref.sync import sync_to_async
from masked_trigger import MaskedTrigger

ENDED = frozenset({"Succeeded", "Failed", "Canceled"})
PERMANENT = frozenset({400, 403, 404, 405, 410, 422})
TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10)


class ExportTrigger(MaskedTrigger):
    """Fires when Studio calls the export ended, or refuses the question for good; the job that follows finds out how and says so.

    Anything else (a server that is away, a token that has expired, too many requests) is waited out; the task's own time-out ends it.

    :param connection_id: Airflow's connection whose login and password are our OAuth application at the deployment.
    :param lms: the LMS's address, which issues tokens.
    :param url: Studio's address for the state of the export.
    """

    def __init__(self, connection_id: str, lms: str, token_type: str, url: str, poll_seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.connection_id = connection_id
        self.lms = lms
        self.token_type = token_type
        self.url = url
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        names = ("connection_id", "lms", "token_type", "url", "poll_seconds")
        return "openedx_triggers.ExportTrigger", {name: getattr(self, name) for name in names}

    async def watch(self) -> AsyncGenerator[TriggerEvent, None]:
        """Yields one event: ``{"state": …}`` in Studio's words, or ``HTTP <status>`` for an answer that no waiting changes."""
        token = ""
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            while True:
                await asyncio.sleep(self.poll_seconds)  # first: see airbyte_triggers
                try:
                    token = token or await self._token(session)
                    async with session.get(self.url, headers={"Authorization": f"{self.token_type} {token}"}, allow_redirects=False) as answer:
                        if answer.status in PERMANENT:
                            yield TriggerEvent({"state": f"HTTP {answer.status}"})
                            return
                        token = "" if answer.status == 401 else token
                        state = str((await answer.json())["state"]) if answer.status == 200 else ""
                        self.log.info("%s", state or f"HTTP {answer.status}")
                except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
                    state = ""
                    self.log.warning("no answer: %s %s", type(error).__name__, error)
                if state in ENDED:
                    yield TriggerEvent({"state": state})
                    return

    async def _token(self, session: aiohttp.ClientSession) -> str:
        from airflow.sdk import BaseHook

        connection = await sync_to_async(BaseHook.get_connection)(self.connection_id)
        form = {"grant_type": "client_credentials", "client_id": connection.login, "client_secret": connection.password, "token_type": self.token_type}
        async with session.post(f"{self.lms.rstrip('/')}/oauth2/access_token", data=form) as answer:
            answer.raise_for_status()
            return str((await answer.json())["access_token"])
