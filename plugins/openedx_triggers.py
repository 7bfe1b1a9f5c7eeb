"""Waits for an Open edX export in the triggerer: asks Studio until it says that the export has ended, however it ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSecretsBackendAccessDenied
from airflow.triggers.base import TriggerEvent
from asgiref.sync import sync_to_async
from masked_trigger import MaskedTrigger

ENDED = frozenset({"Succeeded", "Failed", "Canceled"})
PERMANENT = frozenset({400, 403, 404, 405, 410, 422})
TIMEOUT = aiohttp.ClientTimeout(total=60, sock_connect=10)
PATIENCE = 300.0
"""Seconds without credentials or with refused ones before that is told: Airflow says "not defined" also of a connection whose store did not answer, and an
application's secret is not replaced here and there at the same moment."""


class CredentialsError(Exception):
    """There is no token, since our credentials are not there or are refused."""


class ExportTrigger(MaskedTrigger):
    """Fires when Studio calls the export ended, or refuses the question for good; the job that follows finds out how and says so.

    Anything else (a server that is away, a token that has expired, too many requests) is waited out until the time is over, but for credentials that
    stay missing or refused.

    :param connection_id: Airflow's connection whose login and password are our OAuth application at the deployment.
    :param lms: the LMS's address, which issues tokens.
    :param url: Studio's address for the state of the export.
    :param ends_at: when the wait is over, in seconds since 1970; a trigger that an older release has stored knows none.
    """

    def __init__(self, connection_id: str, lms: str, token_type: str, url: str, poll_seconds: float, *, ends_at: float | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.connection_id = connection_id
        self.lms = lms
        self.token_type = token_type
        self.url = url
        self.poll_seconds = poll_seconds
        self.ends_at = ends_at
        self._token = ""
        self._last = "none"

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Class path and arguments."""
        names = ("connection_id", "lms", "token_type", "url", "poll_seconds", "ends_at")
        return "openedx_triggers.ExportTrigger", {name: getattr(self, name) for name in names}

    async def watch(self) -> AsyncGenerator[TriggerEvent, None]:
        """Yields one event: ``{"state": …}`` in Studio's words, or ``HTTP <status>`` for an answer that no waiting changes; ``{"error", "permanent"}`` when
        the time is over, or there are no credentials to ask with."""
        refused_since: float | None = None
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            while True:
                await asyncio.sleep(self.poll_seconds)  # first: see airbyte_triggers
                try:
                    ended = await self._look(session)
                    refused_since = None
                except CredentialsError as error:
                    ended, refused_since = "", refused_since or time.monotonic()
                    self.log.warning("%s", error)
                    if time.monotonic() - refused_since >= PATIENCE:
                        yield TriggerEvent({"error": str(error), "permanent": True})
                        return
                except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
                    ended = ""
                    self.log.warning("no answer: %s %s", type(error).__name__, error)
                if ended:
                    yield TriggerEvent({"state": ended})
                    return
                if self.ends_at is not None and time.time() >= self.ends_at:
                    yield TriggerEvent({"error": f"the export did not end in time; Studio's last answer: {self._last}", "permanent": False})
                    return

    async def _look(self, session: aiohttp.ClientSession) -> str:
        """Asks once; what has ended the export or the asking, or nothing."""
        self._token = self._token or await self._new_token(session)
        async with session.get(self.url, headers={"Authorization": f"{self.token_type} {self._token}"}, allow_redirects=False) as answer:
            self._last = str((await answer.json())["state"]) if answer.status == 200 else f"HTTP {answer.status}"
            self.log.info("%s", self._last)
            if answer.status == 401:
                self._token = ""
            return self._last if answer.status in PERMANENT or self._last in ENDED else ""

    async def _new_token(self, session: aiohttp.ClientSession) -> str:
        client_id, secret = await self._credentials()
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": secret, "token_type": self.token_type}
        address = f"{self.lms.rstrip('/')}/oauth2/access_token"
        async with session.post(address, data=form) as answer:
            if answer.status == 401 or answer.status in PERMANENT:
                raise CredentialsError(f"connection {self.connection_id}: {address} answered {answer.status}; check the client id and secret")
            answer.raise_for_status()
            return str((await answer.json())["access_token"])

    async def _credentials(self) -> tuple[str, str]:
        from airflow.sdk import BaseHook

        allowed = "allowed: one with our client id as its login and the client's secret as its password"
        try:
            connection = await sync_to_async(BaseHook.get_connection)(self.connection_id)
        except (AirflowNotFoundException, AirflowSecretsBackendAccessDenied) as error:
            raise CredentialsError(f"connection {self.connection_id}: found none ({error}); {allowed}") from error
        if not connection.login or not connection.password:
            missing = "password" if connection.login else "login"
            raise CredentialsError(f"connection {self.connection_id}: found one without a {missing}; {allowed}")
        return connection.login, connection.password
