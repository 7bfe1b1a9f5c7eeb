"""What a task says about its models: judged on a worker and in the triggerer by the same rules, from the same document."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowRescheduleException, AirflowSkipException
from airflow.triggers.base import TaskFailedEvent, TaskSkippedEvent, TaskSuccessEvent
from hypothesis import given
from hypothesis import strategies as st
from model_triggers import UNFINISHED as UNFINISHED_FOR_TRIGGERS
from model_triggers import ModelsTrigger

from include.config.environments import read_environment
from include.config.errors import ConfigError, Problem
from include.factories.broken import RaiseConfigError, build_broken_dag
from include.jobs.warehouse.progress import ModelState, ProgressDocument
from include.operators.dbt import UNFINISHED, DbtModels, judge
from include.pods.job import JobSpec

A, B = "model.open_learning.a", "model.open_learning.b"
SELECTED = [A, B]


def document(finished: bool = False, selected: list[str] | None = None, **states: str) -> dict[str, Any]:
    nodes = {f"model.open_learning.{name}": {"state": state, "message": f"{name} is {state}", "seconds": 1.0, "rows": 1} for name, state in states.items()}
    return {"run_key": "r", "attempt": 1, "finished": finished, "selected": SELECTED if selected is None else selected, "nodes": nodes}


@pytest.mark.parametrize(
    ("found", "models", "done", "verdict", "message"),
    [
        (None, [A], False, "waiting", ""),
        (None, [A], True, "failed", "without saying"),
        (document(selected=[]), [A], False, "waiting", ""),
        (document(selected=[]), [A], True, "failed", "without saying"),
        (document(selected=[B]), [A], False, "skipped", "not part of this run's selection"),
        (document(selected=[B]), [A], True, "skipped", "not part of this run's selection"),
        (document(), [A], False, "waiting", ""),
        (document(), [A], True, "failed", "a: waiting"),
        (document(a="running"), [A], False, "waiting", ""),
        (document(a="running"), [A], True, "failed", "a: a is running"),
        (document(a="retrying"), [A], False, "waiting", ""),
        (document(a="retrying"), [A], True, "failed", "a: a is retrying"),
        (document(a="success"), [A], False, "success", ""),
        (document(a="success"), [A], True, "success", ""),
        (document(a="failed"), [A], False, "failed", "a: a is failed"),
        (document(a="skipped"), [A], True, "failed", "a: a is skipped"),
        (document(a="success", b="running"), [A, B], False, "waiting", ""),
        (document(a="failed", b="running"), [A, B], False, "waiting", ""),
        (document(a="success", b="running"), [A, B], True, "failed", "b: b is running"),
        (document(a="success", b="failed"), [A, B], True, "failed", "b: b is failed"),
        (document(a="failed", b="skipped"), [A, B], True, "failed", "a: a is failed\nb: b is skipped"),
        (document(a="success", b="success"), [A, B], True, "success", ""),
        (document(selected=[B], b="success"), [A, B], True, "success", ""),
        (document(selected=[B], a="failed", b="success"), [A, B], True, "success", ""),
    ],
)
def test_verdicts(found: dict[str, Any] | None, models: list[str], done: bool, verdict: str, message: str) -> None:
    told = judge(found, models, done)
    assert told[0] == verdict
    assert message in told[1]
    assert bool(told[1]) == bool(message)


state_names = st.sampled_from(["running", "retrying", "success", "failed", "skipped"])
any_document = st.none() | st.builds(
    lambda selected, states: document(selected=sorted(selected), **states),
    st.sets(st.sampled_from(SELECTED)),
    st.dictionaries(st.sampled_from(["a", "b"]), state_names),
)
some_models = st.sampled_from([[A], [B], [A, B]])


@given(any_document, some_models, st.booleans())
def test_a_worker_and_the_triggerer_judge_alike(found: dict[str, Any] | None, models: list[str], done: bool) -> None:
    event = ModelsTrigger(models, "progress.json", "build")._event(found, done)
    in_the_triggerer = {type(None): "waiting", TaskFailedEvent: "failed", TaskSkippedEvent: "skipped", TaskSuccessEvent: "success"}[type(event)]
    assert judge(found, models, done)[0] == in_the_triggerer


@given(any_document, some_models)
def test_nothing_waits_for_a_build_that_has_ended(found: dict[str, Any] | None, models: list[str]) -> None:
    assert judge(found, models, True)[0] != "waiting"


@given(any_document, some_models, st.booleans())
def test_success_means_that_every_selected_model_succeeded(found: dict[str, Any] | None, models: list[str], done: bool) -> None:
    wanted = [model for model in models if found and model in found["selected"]]
    good = bool(wanted) and found is not None and all(found["nodes"].get(model, {}).get("state") == "success" for model in wanted)
    assert (judge(found, models, done)[0] == "success") == good


def test_both_know_the_same_unfinished_states() -> None:
    assert UNFINISHED == UNFINISHED_FOR_TRIGGERS


def waiting_task(progress: Path) -> DbtModels:
    rebuild = JobSpec("dbt-build", ("--select", "a"), domain="dbt")
    return DbtModels(task_id="a", models=(A,), progress=str(progress), build_task_id="build", rebuild=rebuild, environment=read_environment({}))


def context(build_state: str | None) -> dict[str, Any]:
    """A task's context, with the state of the build's task, which only Airflow knows."""
    states = {"run": {"build": build_state}} if build_state else {}
    return {"ti": SimpleNamespace(dag_id="warehouse", run_id="run", get_task_states=lambda **_: states)}


@pytest.mark.parametrize(
    ("state", "build_state", "raised"),
    [
        ("running", "running", AirflowRescheduleException),
        ("running", None, AirflowRescheduleException),
        ("failed", "running", AirflowFailException),
        ("running", "failed", AirflowFailException),
        ("skipped", "success", AirflowFailException),
    ],
)
def test_execute_ends_as_judged(state: str, build_state: str | None, raised: type[Exception], tmp_path: Path) -> None:
    ProgressDocument("run", 1, False, SELECTED, {A: ModelState(state)}).write(str(tmp_path / "progress.json"))
    with pytest.raises(raised):
        waiting_task(tmp_path / "progress.json").execute(context(build_state))


def test_execute_succeeds_and_skips(tmp_path: Path) -> None:
    path = tmp_path / "progress.json"
    ProgressDocument("run", 1, True, SELECTED, {A: ModelState("success")}).write(str(path))
    waiting_task(path).execute(context("success"))
    ProgressDocument("run", 1, True, [B], {}).write(str(path))
    with pytest.raises(AirflowSkipException, match="not part of this run's selection"):
        waiting_task(path).execute(context("success"))


def test_a_waiting_task_starts_in_the_triggerer_and_comes_back_to_resume(tmp_path: Path) -> None:
    task = waiting_task(tmp_path / "progress.json")
    arguments = task.start_trigger_args
    assert arguments is not None
    assert (arguments.trigger_cls, arguments.next_method) == ("model_triggers.ModelsTrigger", "resume")
    assert ModelsTrigger(**(arguments.trigger_kwargs or {})).models == [A]
    assert callable(getattr(task, arguments.next_method))
    assert (task.retries, task.retry_policy) == (0, None)


def test_a_diagnostic_dag_fails_with_the_configuration_s_error() -> None:
    error = ConfigError((Problem("airbyte/a.yml", "owner", "'nobody'", "'data-platform'"),))
    (task,) = build_broken_dag("airbyte__a", error).tasks
    assert isinstance(task, RaiseConfigError)
    with pytest.raises(AirflowFailException, match=r"airbyte/a\.yml: owner: found 'nobody'; allowed: 'data-platform'"):
        task.execute({})
