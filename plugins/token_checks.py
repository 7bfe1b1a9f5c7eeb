"""The API server looks whether a user's token was revoked beside its event loop, not in it.

Airflow 3.3 asks the metadata database that from a coroutine, with a blocking call. Meanwhile the loop stands still, and so do all requests of tasks
that have written and wait for it to commit. When these hold every connection there is (PgBouncer's, or those of the API server's own pool), the
question waits for a connection that only they could give back: seen with twenty tasks at once, a minute in which the API server answered nobody,
until the database ended the idle transactions and with them the tasks' results.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from airflow.plugins_manager import AirflowPlugin
from airflow_processes import is_api_server

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager
    from airflow.api_fastapi.auth.managers.models.base_user import BaseUser


def check_beside_the_loop() -> None:
    """Gives every auth manager that inherits Airflow's check the one below. Once is enough, more does no harm."""
    from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager

    BaseAuthManager.get_user_from_token = user_from_token  # type: ignore[method-assign]


async def user_from_token(self: BaseAuthManager[Any], token: str) -> BaseUser:
    """As Airflow's: the user of a token. Raises ``InvalidTokenError`` for one that is not valid, is revoked, or names nobody."""
    from airflow.models.revoked_token import RevokedToken
    from jwt import InvalidTokenError

    try:
        claims: dict[str, Any] = await self._get_token_validator().avalidated_claims(token)
    except InvalidTokenError as error:
        self.log.error("JWT token is not valid: %s", error)
        raise
    if (number := claims.get("jti")) and await asyncio.to_thread(RevokedToken.is_revoked, number):
        raise InvalidTokenError("Token has been revoked")
    try:
        user: BaseUser = self.deserialize_user(claims)
    except (ValueError, KeyError) as error:
        self.log.error("the JWT token names no user: %s", error)
        raise InvalidTokenError(str(error)) from error
    return user


class TokenChecks(AirflowPlugin):
    """Installs the check when the API server loads its plugins."""

    name = "token_checks"

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Called in each process that loads plugins."""
        if is_api_server():  # other components have no users
            check_beside_the_loop()
