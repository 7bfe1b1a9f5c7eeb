"""Settings do not show what they hold: neither in their ``repr`` nor in tracebacks and logs that show them."""

from __future__ import annotations

import base64
import contextlib
import importlib
import io
import json
import logging
import pkgutil
import traceback
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import BaseModel, SecretStr

import include
from include.config.confidential import is_secret_name
from include.config.environments import read_environment
from include.config.services import airbyte_application
from include.local.postgres import Address
from tests.security.canaries import OF_ENVIRONMENT, SHAPES, Canary, escaped, made


def test_there_are_thirty_canaries() -> None:
    assert len(SHAPES) == 30
    assert len({canary.core for canary in made().values()}) == 30


def test_the_search_finds_each() -> None:
    canaries = made()
    for name, canary in canaries.items():
        for written in (
            canary.value,
            quote(canary.value, safe=""),
            json.dumps(canary.value),
            repr(canary.value),
            base64.b64encode(canary.value.encode()).decode(),
        ):
            assert name in escaped(canaries, f"before {written} after"), f"{name} as {written}"
    assert escaped(canaries, "nothing of theirs") == set()


def settings(canaries: dict[str, Canary]) -> dict[str, Any]:
    """What of the platform's settings is made from secrets."""
    value = {name: canary.value for name, canary in canaries.items()}
    return {
        "application": airbyte_application({"AIRBYTE_CLIENT_ID": "a", "AIRBYTE_CLIENT_SECRET": value["airbyte_secret"]}),
        "environment": read_environment({"OL_ENVIRONMENT": "local", **{variable: value[name] for name, variable in OF_ENVIRONMENT.items()}}),
        "postgres": Address(port=1, password=value["db_password"]),
    }


@pytest.mark.parametrize("way", ["repr", "str", "format", "traceback", "log"])
def test_settings_do_not_show_what_they_hold(way: str) -> None:
    canaries = made()
    for name, found in settings(canaries).items():
        out = io.StringIO()
        if way == "traceback":
            with contextlib.suppress(ValueError):
                raise_with(found, out)
        elif way == "log":
            out.write(logging.makeLogRecord({"msg": "%s %r", "args": (found, found)}).getMessage())
        else:
            out.write({"repr": repr, "str": str, "format": lambda one: f"{one} {[one]}"}[way](found))
        assert out.getvalue()
        assert escaped(canaries, out.getvalue()) == set(), name


def raise_with(found: Any, out: io.StringIO) -> None:
    try:
        raise ValueError(found)
    except ValueError as error:
        out.write("".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()))
        raise


def holders() -> Iterator[tuple[str, bool]]:
    """Every field of a settings class that is called like a secret, and whether its ``repr`` keeps it."""
    for module in pkgutil.walk_packages(include.__path__, "include."):
        if module.name.endswith("__main__") or module.name.startswith("include.dbt"):
            continue
        loaded = importlib.import_module(module.name)
        for kind in (kind for kind in vars(loaded).values() if isinstance(kind, type) and kind.__module__ == module.name):
            if is_dataclass(kind):
                yield from ((f"{kind.__name__}.{one.name}", not one.repr) for one in fields(kind) if is_secret_name(one.name) and one.type in ("str", str))
            elif issubclass(kind, BaseModel):
                for name, one in kind.model_fields.items():
                    if is_secret_name(name) and one.annotation in (str, SecretStr):
                        yield f"{kind.__name__}.{name}", one.annotation is SecretStr or not one.repr


def test_every_class_that_holds_a_secret_keeps_it() -> None:
    found = dict(holders())
    assert found.keys() >= {"Address.password", "Application.client_secret", "Tokens.client_secret"}
    names_only = {"SecretRef.secret", "OpenedxUnit.secret", "Application.token_type"}  # names of Kubernetes secrets, and a word of the protocol
    assert {name for name, kept in found.items() if not kept} == names_only
