"""The API server's event loop goes on while the database is asked about a token; what the answer means stays Airflow's."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from airflow.api_fastapi.auth.managers.base_auth_manager import BaseAuthManager
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.models.revoked_token import RevokedToken
from jwt import InvalidTokenError

from include.config.files import ROOT
from plugins import token_checks

AIRFLOWS = BaseAuthManager.get_user_from_token
QUESTION = 0.5  # seconds that the database takes for its answer, where the loop stands still
ROUNDS = 5  # of the loop, for which the database waits where it goes on
WENT_ON = threading.Event()
USER = SimpleAuthManagerUser(username="ada", role="admin")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseAuthManager, "get_user_from_token", AIRFLOWS)  # taken back afterwards
    token_checks.check_beside_the_loop()


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleAuthManager]:
    monkeypatch.setenv("AIRFLOW__API_AUTH__JWT_SECRET", "a secret of at least sixty-four characters, which HS512 asks for, and no one else")
    _forget_keys()
    yield SimpleAuthManager()
    _forget_keys()


def _forget_keys() -> None:
    """Airflow keeps what it made of the secret."""
    BaseAuthManager._get_token_validator.cache_clear()
    BaseAuthManager._get_token_signer.cache_clear()


def asked(manager: SimpleAuthManager, token: str) -> tuple[Any, int]:
    """The user, or the refusal, and how often the loop came round meanwhile."""
    WENT_ON.clear()

    async def ask() -> tuple[Any, int]:
        question = asyncio.ensure_future(manager.get_user_from_token(token))
        rounds = 0
        while not question.done():
            await asyncio.sleep(0.01)
            rounds += 1
            if rounds == ROUNDS:
                WENT_ON.set()
        return (question.exception() or question.result()), rounds

    return asyncio.run(ask())


def answering(monkeypatch: pytest.MonkeyPatch, answer: bool, wait: Callable[[], object] = lambda: WENT_ON.wait(300)) -> None:
    def slowly(number: str) -> bool:
        assert number
        wait()
        return answer

    monkeypatch.setattr(RevokedToken, "is_revoked", slowly)


@pytest.mark.usefixtures("installed")
def test_the_loop_goes_on_while_the_database_is_asked(manager: SimpleAuthManager, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, answer=False)
    user, rounds = asked(manager, manager.generate_jwt(USER))
    assert user.get_name() == "ada"
    assert rounds >= ROUNDS


def test_airflows_own_stands_still(manager: SimpleAuthManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """When this fails, Airflow has mended it: the plugin can go."""
    monkeypatch.setattr(BaseAuthManager, "get_user_from_token", AIRFLOWS)
    answering(monkeypatch, answer=False, wait=lambda: time.sleep(QUESTION))
    _, rounds = asked(manager, manager.generate_jwt(USER))
    assert rounds <= 2


@pytest.mark.usefixtures("installed")
def test_a_revoked_token_is_refused(manager: SimpleAuthManager, monkeypatch: pytest.MonkeyPatch) -> None:
    answering(monkeypatch, answer=True)
    refusal, _ = asked(manager, manager.generate_jwt(USER))
    assert isinstance(refusal, InvalidTokenError)
    assert "revoked" in str(refusal)


@pytest.mark.usefixtures("installed")
def test_a_token_that_is_not_valid_is_refused_before_anybody_is_asked(manager: SimpleAuthManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RevokedToken, "is_revoked", lambda number: pytest.fail("was asked"))
    refusal, _ = asked(manager, manager.generate_jwt(USER)[:-4] + "AAAA")
    assert isinstance(refusal, InvalidTokenError)


def test_no_auth_manager_that_is_installed_has_a_check_of_its_own() -> None:
    assert inspect.getattr_static(SimpleAuthManager, "get_user_from_token") is inspect.getattr_static(BaseAuthManager, "get_user_from_token")


@pytest.mark.parametrize(("first", "found"), [("airflow.api_fastapi.app", True), ("airflow.models", False)], ids=["API server", "another component"])
def test_it_is_installed_where_there_are_users(first: str, found: bool, tmp_path: Path) -> None:
    script = f"""
import sys, {first}
from airflow import plugins_manager
plugins_manager.get_fastapi_plugins()
module = sys.modules.get("airflow.api_fastapi.auth.managers.base_auth_manager")
check = getattr(getattr(module, "BaseAuthManager", None), "get_user_from_token", None)
print(getattr(check, "__module__", None) == "token_checks")
"""
    variables = {"AIRFLOW_HOME": str(tmp_path), "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", script], env={**os.environ, **variables}, capture_output=True, text=True, check=True, timeout=600)
    assert done.stdout.split()[-1] == str(found)
