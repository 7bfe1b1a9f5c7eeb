"""Events and errors of triggers hold no registered secret; all triggers of the platform are of that kind."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk._shared.secrets_masker import SecretsMasker
from airflow.triggers.base import BaseTrigger, TaskFailedEvent, TaskSuccessEvent, TriggerEvent
from masked_trigger import MaskedTrigger, TriggerFailedError

from include.config.files import ROOT

SECRET = "Zq9-p@ss/w:rd"
MODULES = sorted(path.stem for path in Path(ROOT / "plugins").glob("*_triggers.py"))


@pytest.fixture(autouse=True)
def masker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A masker of the test's own, which knows one secret."""
    found = SecretsMasker()
    found.add_mask(SECRET)
    monkeypatch.setattr("airflow.sdk._shared.secrets_masker.secrets_masker._secrets_masker", lambda: found)


class Told(MaskedTrigger):
    """Yields what it is given, or raises it."""

    def __init__(self, *what: TriggerEvent | Exception) -> None:
        super().__init__()
        self.what = what
        self.closed = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        return "told", {}

    async def watch(self) -> AsyncGenerator[TriggerEvent, None]:
        try:
            for one in self.what:
                if isinstance(one, Exception):
                    raise one
                yield one
        finally:
            self.closed = True


def events(trigger: BaseTrigger) -> list[TriggerEvent]:
    async def all_of_them() -> list[TriggerEvent]:
        return [event async for event in trigger.run()]

    return asyncio.run(all_of_them())


def test_an_event_holds_no_secret() -> None:
    plain, ended = events(Told(TriggerEvent({"job": 7, "error": f"no {SECRET}"}), TaskSuccessEvent(xcoms={"a": [SECRET], "rows": 3})))
    assert plain.payload == {"job": 7, "error": "no ***"}
    assert isinstance(ended, TaskSuccessEvent)
    assert ended.xcoms == {"a": ["***"], "rows": 3}


def test_what_holds_none_is_the_same() -> None:
    given = (TriggerEvent({"job": 7}), TaskSuccessEvent(xcoms={"rows": 3}), TaskFailedEvent())
    assert [event.model_dump() for event in events(Told(*given))] == [{"payload": {"job": 7}}, *(event.model_dump() for event in given[1:])]


def test_an_error_keeps_its_words_but_for_the_secret() -> None:
    with pytest.raises(TriggerFailedError, match=r"(?s)Traceback.*in watch.*ValueError: no \*\*\* at all$") as caught:
        events(Told(ValueError(f"no {SECRET} at all")))
    assert (caught.value.__cause__, caught.value.__suppress_context__) == (None, True)


def test_an_error_without_one_is_the_same() -> None:
    error = ValueError("no answer")
    with pytest.raises(ValueError, match="no answer") as caught:
        events(Told(error))
    assert caught.value is error


def test_a_trigger_that_is_cancelled_is_closed() -> None:
    async def first(trigger: MaskedTrigger) -> None:
        running = trigger.run()
        await anext(running)
        await running.aclose()

    trigger = Told(TriggerEvent(1), TriggerEvent(2))
    asyncio.run(first(trigger))
    assert trigger.closed


@pytest.mark.parametrize("name", MODULES)
def test_all_triggers_are_of_this_kind(name: str) -> None:
    module = importlib.import_module(name)
    found = [kind for kind in vars(module).values() if isinstance(kind, type) and issubclass(kind, BaseTrigger) and kind.__module__ == name]
    assert found
    assert [kind for kind in found if not issubclass(kind, MaskedTrigger) or "run" in vars(kind)] == []
