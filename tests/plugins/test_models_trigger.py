"""The trigger that stands for models: driven as the triggerer drives it, over a progress document as the build writes it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import model_triggers
import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from airflow.triggers.base import TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent, TriggerEvent
from model_triggers import ModelsTrigger

from include.jobs.warehouse.progress import ModelState, ProgressDocument
from tests.plugins.events import only_event

RUN = "manual__2026-11-20"
USER, ORDER = "model.open_learning.dim_user", "model.open_learning.tfact_order"
PATIENCE = 20.0
QUIET = 0.8


class Build:
    """The build as the trigger sees it: the document it writes, and the state of its task, which only Airflow knows."""

    def __init__(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = path
        self.state: str | None = "running"
        self._lines: list[str] = []
        self.document = ProgressDocument(RUN, attempt=1, selected=[USER, ORDER])
        monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(self._states))
        monkeypatch.setattr(model_triggers, "POLL_SECONDS", 0.05)
        monkeypatch.setattr(model_triggers, "ASK_BUILD_EVERY", 0.2)
        monkeypatch.setattr(model_triggers, "ASK_STORE_EVERY", 0.1)

    def _states(self, dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, Any]:
        assert (dag_id, task_ids, run_ids) == ("warehouse", ["build"], [RUN])
        return {RUN: {"build": self.state}}

    def _log(self, message: str, *arguments: object) -> None:
        self._lines.append(message % arguments)

    @property
    def logged(self) -> str:
        """What the triggers wrote to the task's log."""
        return "\n".join(self._lines)

    def tell(self, finished: bool = False, **states: ModelState) -> None:
        """Writes the document; ``user`` and ``order`` are the models."""
        self.document.nodes.update({{"user": USER, "order": ORDER}[name]: state for name, state in states.items()})
        self.document.finished = finished
        self.document.write(str(self.path))

    def trigger(self, *models: str, try_number: int = 1) -> ModelsTrigger:
        """A trigger as the triggerer makes it: from its own serialised form, with its task instance."""
        made = ModelsTrigger(list(models), str(self.path), "build")
        path, arguments = made.serialize()
        assert path == "model_triggers.ModelsTrigger"
        trigger = ModelsTrigger(**arguments)
        trigger._log = SimpleNamespace(info=self._log, warning=self._log, error=self._log)
        trigger._task_instance = SimpleNamespace(dag_id="warehouse", run_id=RUN, task_id="models.x", try_number=try_number)
        return trigger


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    return Build(tmp_path / "progress.json", monkeypatch)


def event_of(trigger: ModelsTrigger, *steps: Callable[[], None]) -> TriggerEvent:
    """The trigger's one event. Each step happens only after a while in which the trigger said nothing."""
    return only_event(trigger, steps, quiet=QUIET, patience=PATIENCE)


def test_waits_through_every_step_until_its_model_is_done(build: Build) -> None:
    event = event_of(
        build.trigger(USER),
        build.tell,
        lambda: build.tell(order=ModelState("success", 1.0)),
        lambda: build.tell(user=ModelState("running")),
        lambda: build.tell(user=ModelState("retrying", message="connection refused")),
        lambda: build.tell(user=ModelState("success", 2.5, rows=20_010)),
    )
    assert isinstance(event, TaskSuccessEvent)
    assert event.xcoms == {"return_value": {"seconds": 2.5, "rows": 20_010}}


def test_a_store_that_is_away_for_a_while_fails_nothing(build: Build) -> None:
    build.path.mkdir()  # what cannot be read as a file

    def back() -> None:
        build.path.rmdir()
        build.tell(user=ModelState("success", 2.5))

    assert isinstance(event_of(build.trigger(USER), back), TaskSuccessEvent)
    assert "the build's progress cannot be read, asking again" in build.logged


def test_a_store_that_stays_away_is_an_error_of_its_own(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_triggers, "PATIENCE", 0.3)
    build.path.mkdir()
    with pytest.raises(IsADirectoryError):
        event_of(build.trigger(USER))


def test_does_not_wait_for_the_rest_of_the_build(build: Build) -> None:
    build.tell(user=ModelState("success", 2.5))
    assert isinstance(event_of(build.trigger(USER)), TaskSuccessEvent)


def test_stands_for_several_models_and_waits_for_all(build: Build) -> None:
    build.tell(user=ModelState("success", 2.0, rows=1))
    event = event_of(build.trigger(USER, ORDER), lambda: build.tell(order=ModelState("success", 1.0)))
    assert isinstance(event, TaskSuccessEvent)
    assert event.xcoms == {"return_value": {"seconds": 3.0, "rows": 1}}


def test_a_failed_model_fails_its_task_and_tells_why(build: Build) -> None:
    build.tell(user=ModelState("failed", 1.0, message="unique_dim_user_user_pk: 3 duplicates", failures=("unique_dim_user_user_pk",)))
    assert isinstance(event_of(build.trigger(USER)), TaskFailedEvent)
    assert "dim_user: unique_dim_user_user_pk: 3 duplicates" in build.logged


def test_one_failed_model_of_an_area_fails_it_when_all_are_done(build: Build) -> None:
    build.tell(user=ModelState("failed", message="no"))
    event = event_of(build.trigger(USER, ORDER), lambda: build.tell(order=ModelState("skipped")))
    assert isinstance(event, TaskFailedEvent)
    assert "dim_user: no" in build.logged
    assert "tfact_order: skipped" in build.logged


def test_a_model_outside_the_selection_is_skipped(build: Build) -> None:
    build.document.selected = [ORDER]
    build.tell()
    assert isinstance(event_of(build.trigger(USER)), TaskSkippedEvent)


def test_of_an_area_only_selected_models_count(build: Build) -> None:
    build.document.selected = [ORDER]
    build.tell(order=ModelState("success", 1.0))
    assert isinstance(event_of(build.trigger(USER, ORDER)), TaskSuccessEvent)


@pytest.mark.parametrize("state", ["failed", "success", "upstream_failed", "removed"])
def test_a_build_that_ended_without_a_word_fails_the_task(build: Build, state: str) -> None:
    def end() -> None:
        build.state = state

    assert isinstance(event_of(build.trigger(USER), end), TaskFailedEvent)
    assert "the build ended without saying" in build.logged


def test_a_build_that_ended_in_the_middle_fails_the_task(build: Build) -> None:
    build.tell(user=ModelState("running"))

    def end() -> None:
        build.state = "failed"

    assert isinstance(event_of(build.trigger(USER), end), TaskFailedEvent)
    assert "the build ended before these models did" in build.logged


@pytest.mark.parametrize("state", [None, "scheduled", "queued", "up_for_retry", "up_for_reschedule", "deferred", "restarting"])
def test_a_build_that_will_go_on_is_waited_for(build: Build, state: str | None) -> None:
    build.state = state
    event = event_of(build.trigger(USER), lambda: None, lambda: build.tell(user=ModelState("success")))
    assert isinstance(event, TaskSuccessEvent)


def test_a_document_that_is_written_while_it_is_read_is_never_seen_in_part(build: Build) -> None:
    """The build replaces the document in one step, so every read gives a whole one."""

    async def race() -> TriggerEvent:
        waiting = asyncio.ensure_future(anext(build.trigger(USER).run()))
        for number in range(300):
            await asyncio.to_thread(build.tell, user=ModelState("running", seconds=number, message="x" * 5000))
        build.tell(user=ModelState("success"))
        return await asyncio.wait_for(waiting, PATIENCE)

    assert isinstance(asyncio.run(race()), TaskSuccessEvent)


def test_a_task_cleared_alone_is_handed_to_a_worker(build: Build) -> None:
    build.state = "success"
    build.tell(finished=True, user=ModelState("failed", message="no"))
    event = event_of(build.trigger(USER, try_number=2))
    assert type(event) is TriggerEvent
    assert event.payload == {"rebuild": True}


def test_a_task_cleared_alone_after_a_failed_build_is_handed_to_a_worker(build: Build) -> None:
    build.state = "failed"
    assert event_of(build.trigger(USER, try_number=3)).payload == {"rebuild": True}


def test_with_the_whole_run_cleared_it_waits_for_the_new_document(build: Build) -> None:
    build.tell(finished=True, user=ModelState("failed", message="the old failure"))
    build.state = "queued"

    def begin() -> None:
        build.state = "running"
        build.document.nodes.clear()
        build.tell()

    event = event_of(build.trigger(USER, try_number=2), lambda: None, begin, lambda: build.tell(user=ModelState("success", 1.0)))
    assert isinstance(event, TaskSuccessEvent)


def test_with_the_whole_run_cleared_an_old_success_does_not_count(build: Build) -> None:
    build.tell(finished=True, user=ModelState("success"))

    def begin() -> None:
        build.document.nodes.clear()
        build.tell()

    def end() -> None:
        build.tell(finished=True, user=ModelState("failed", message="the new failure"))
        build.state = "failed"

    assert isinstance(event_of(build.trigger(USER, try_number=2), begin, end), TaskFailedEvent)


def test_with_the_whole_run_cleared_the_failures_of_a_killed_build_do_not_count(build: Build) -> None:
    build.tell(user=ModelState("failed", message="from before the kill"), order=ModelState("skipped"))
    event = event_of(build.trigger(USER, try_number=2), lambda: None, lambda: build.tell(user=ModelState("success", 1.0)))
    assert isinstance(event, TaskSuccessEvent)


def test_triggers_of_one_run_read_their_document_once(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    read = model_triggers._read

    def counting(url: str) -> Any:
        nonlocal reads
        reads += 1
        return read(url)

    monkeypatch.setattr(model_triggers, "_read", counting)
    monkeypatch.setattr(model_triggers, "POLL_SECONDS", 0.3)
    build.tell(user=ModelState("running"))

    async def many() -> list[TriggerEvent]:
        waiting = [asyncio.ensure_future(anext(build.trigger(USER).run())) for _ in range(50)]
        await asyncio.sleep(1.5)
        build.tell(user=ModelState("success"))
        return await asyncio.wait_for(asyncio.gather(*waiting), PATIENCE)

    assert all(isinstance(event, TaskSuccessEvent) for event in asyncio.run(many()))
    assert 2 <= reads <= 25, "50 triggers for two seconds, three times a second, would be 300"
