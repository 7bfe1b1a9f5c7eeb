"""Open edX's operators as the factory makes them, with their jobs as processes, the trigger of a deferral in between, and the local Open edX on a socket."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, Asset
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskDeferralTimeout, TaskDeferred
from airflow.sdk.execution_time.context import OutletEventAccessors
from openedx_triggers import ExportTrigger

from include.config.environments import read_environment
from include.config.load import load_units_strictly
from include.config.openedx import OpenedxUnit
from include.contract import TransientError
from include.factories.openedx import build_openedx_dags
from include.jobs.openedx.export.record import Records
from include.jobs.openedx.export.steps import LIMIT
from include.local.platform import Platform
from include.operators import openedx
from include.pods.outcome import JobError
from tests.openedx_service import CLIENT, EXPORTS, OUTLINES, VARIABLES, Service, running
from tests.own_lake import new_lake
from tests.variables import variables

PATIENCE = 120.0


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running(25) as found:
        yield found


@dataclass
class Store:
    """Airflow's store of asset states as tasks see it: outlives them and keeps JSON, by asset and key."""

    rows: dict[tuple[str, str], str] = field(default_factory=dict)

    def __getitem__(self, asset: Asset) -> SimpleNamespace:
        return SimpleNamespace(get=lambda key, default=None: self._get(asset, key, default), set=lambda key, value: self._set(asset, key, value))

    def _get(self, asset: Asset, key: str, default: Any) -> Any:
        return json.loads(self.rows[asset.uri, key]) if (asset.uri, key) in self.rows else default

    def _set(self, asset: Asset, key: str, value: Any) -> None:
        self.rows[asset.uri, key] = json.dumps(value)


@dataclass
class Run:
    """A DAG run: what its tasks return is there for those that follow. Every task is read anew, as a worker does."""

    build: Callable[[], DAG]
    run_id: str
    store: Store = field(default_factory=Store)
    partition_key: str | None = None
    returned: dict[str, Any] = field(default_factory=dict)
    events: OutletEventAccessors = field(default_factory=OutletEventAccessors)

    def task(self, task_id: str) -> tuple[Any, Any]:
        """A task and its context."""
        task = self.build().get_task(task_id)
        ti = SimpleNamespace(task=task, log_url="http://airflow.local/log", xcom_pull=self._pull)
        context: Any = {"ti": ti, "run_id": self.run_id, "dag_run": SimpleNamespace(partition_key=self.partition_key), "params": {"course": ""}}
        context |= {"outlet_events": self.events, "asset_state_store": self.store}
        task.render_template_fields(context)
        return task, context

    def _pull(self, task_ids: str) -> Any:
        return self.returned.get(task_ids)

    def execute(self, task_id: str) -> Any:
        """What the task returns."""
        task, context = self.task(task_id)
        self.returned[task_id] = task.execute(context)
        return self.returned[task_id]

    def outlets(self, task_id: str) -> list[Any]:
        """The outlets of a task once it has been executed."""
        task, context = self.task(task_id)
        task.execute(context)
        return list(task.outlets)


@pytest.fixture
def dags(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Callable[[], DAG]]:
    """What makes a DAG of the deployment, on this test's own folders."""
    login = {"conn_type": "http", "login": CLIENT[0], "password": CLIENT[1]}
    own = {"OL_OPENEDX_URL": service.root, "OL_LANDING": (tmp_path / "landing").as_uri(), "OL_WORK_ROOT": (tmp_path / "work").as_uri()}
    for name, value in {**VARIABLES, **own, "AIRFLOW_CONN_OPENEDX_MITXONLINE": json.dumps(login)}.items():
        monkeypatch.setenv(name, value)
    settings = read_environment({"OL_WORK_ROOT": own["OL_WORK_ROOT"]})
    unit = next(unit for unit in load_units_strictly("openedx", settings) if unit.id == service.deployment)
    assert isinstance(unit, OpenedxUnit)
    made = build_openedx_dags(unit, settings)
    service.clear()
    return lambda part: made[unit.dag_id(part)]


# --- the export ----------------------------------------------------------------------------------


@dataclass
class Export:
    """The ``export`` task of a course run's DAG run, from one worker to the triggerer and back to another one."""

    service: Service
    run: Run
    folder: Path

    @property
    def course(self) -> str:
        assert self.run.partition_key
        return self.run.partition_key

    @property
    def records(self) -> Records:
        return Records((self.folder / "work" / "openedx-exports").as_uri(), self.service.deployment)

    def plan(self, **plan: Any) -> None:
        self.service.faults({"match": EXPORTS, "export": {"seconds": 0.3, **plan}})

    def begun(self) -> int:
        """How many exports of the run Studio has seen."""
        return [task["course"] for task in self.service.exports()].count(self.course)

    def archives(self) -> list[Path]:
        return sorted(path for path in (self.folder / "landing").rglob("*.xml.tar.gz"))

    def deferred(self) -> TaskDeferred:
        """The first worker's part."""
        with pytest.raises(TaskDeferred) as caught:
            self.run.execute("export")
        return caught.value

    def event(self, deferred: TaskDeferred, **changes: Any) -> Any:
        """The triggerer's part."""
        assert isinstance(deferred.trigger, ExportTrigger)
        waits = ExportTrigger(**{**deferred.trigger.serialize()[1], "poll_seconds": 0.05, **changes})

        async def first() -> Any:
            return (await asyncio.wait_for(anext(waits.run()), PATIENCE)).payload

        return asyncio.run(first())

    def resumed(self, deferred: TaskDeferred, event: Any) -> Any:
        """The second worker's part, as the task runner begins it."""
        task, context = self.run.task("export")
        return task.resume_execution(deferred.method_name, {**(deferred.kwargs or {}), "event": event}, context)

    def wait(self) -> Any:
        """All of it."""
        deferred = self.deferred()
        return self.resumed(deferred, self.event(deferred))


@pytest.fixture
def export(service: Service, dags: Callable[[str], Callable[[], DAG]], tmp_path: Path) -> Iterator[Export]:
    exported = {task["course"] for task in service.exports()}
    course = next(name for name in service.ids if name not in exported)
    yield Export(service, Run(dags("course"), "asset_triggered__1", partition_key=course), tmp_path)
    service.clear()
    service.change(restore=[course])


def test_an_export_from_the_first_request_to_the_archive(export: Export) -> None:
    export.plan()
    deferred = export.deferred()
    assert export.archives() == []
    assert export.event(deferred) == {"state": "Succeeded"}
    facts = export.resumed(deferred, {"state": "Succeeded"})
    (archive,) = export.archives()
    assert facts["archive"] == f"file://{archive}"
    assert (facts["bytes"], facts["course"]) == (archive.stat().st_size, export.course)
    assert facts["published_version"] == export.service.version(export.course)
    assert facts["retrieved_at"]
    assert export.begun() == 1


def test_what_the_triggerer_is_given(export: Export) -> None:
    before = time.time()
    deferred = export.deferred()
    task, _ = export.run.task("export")
    path, given = deferred.trigger.serialize()
    assert path == "openedx_triggers.ExportTrigger"
    ends_at = given.pop("ends_at")
    (exported,) = [one for one in export.service.exports() if one["course"] == export.course]
    assert given == {**task.studio, "url": f"{export.service.studio}/api/courses/v0/export/{export.course}/?task_id={exported['task_id']}"}
    assert (given["connection_id"], given["lms"], given["token_type"]) == ("openedx_mitxonline", export.service.lms, "JWT")
    # the next try must find the export overdue, or it joins what hangs; and the scheduler must leave the triggerer the time to say so
    assert before + LIMIT.total_seconds() <= ends_at <= time.time() + openedx.EXPORT_LIMIT.total_seconds()
    assert deferred.timeout is not None
    assert deferred.timeout > openedx.EXPORT_LIMIT


def test_an_export_that_is_done_is_not_waited_for(export: Export) -> None:
    """A task that was cleared, or killed when everything was done: the same archive, without another export or a wait."""
    facts = export.wait()
    assert export.run.execute("export") == facts
    assert export.begun() == 1


def test_a_worker_that_dies_after_the_start_is_joined(export: Export) -> None:
    export.plan(end=None)
    first, second = export.deferred(), export.deferred()
    assert first.trigger.url == second.trigger.url
    assert export.begun() == 1


@pytest.mark.parametrize("end", ["Failed", "Canceled"])
def test_an_export_that_failed_fails_for_good_with_studio_s_word(export: Export, end: str) -> None:
    export.plan(end=end)
    with pytest.raises(AirflowFailException, match=rf"course-export failed for good: .*the export ended as {end}; see Studio's log for task "):
        export.wait()
    assert export.archives() == []


def test_an_export_that_studio_has_forgotten_is_tried_again(export: Export) -> None:
    deferred = export.deferred()
    export.service.store.exports.tasks.clear()
    event = export.event(deferred)
    assert event == {"state": "HTTP 404"}
    with pytest.raises(JobError, match=r"Studio does not know task .* any more"):
        export.resumed(deferred, event)
    assert export.wait()["starts"] == 2


def test_an_export_that_never_ends_is_told_and_begun_again(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first worker began it an hour ago; a task's next try does not join it, and no worker waits for it."""
    monkeypatch.setattr(openedx, "EXPORT_LIMIT", timedelta(seconds=0.5))
    export.plan(states=["Retrying"], end=None)
    deferred = export.deferred()
    record = export.records.read(export.course)
    assert record is not None
    export.records.write(replace(record, begun_at=record.begun_at - LIMIT))
    with pytest.raises(TransientError, match="the export did not end in time; Studio's last answer: Retrying"):
        export.resumed(deferred, export.event(deferred))
    assert export.begun() == 1
    assert export.wait()["starts"] == 2


def test_a_triggerer_that_says_nothing_is_given_up(export: Export) -> None:
    """What the scheduler does when the deferral's own time is over."""
    export.plan(end=None)
    export.deferred()
    task, context = export.run.task("export")
    with pytest.raises(TaskDeferralTimeout):
        task.resume_execution("__fail__", {"error": "Trigger timeout"}, context)


def test_without_a_connection_it_fails_for_good_and_no_worker_waits(export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_OPENEDX_MITXONLINE")
    monkeypatch.setattr("openedx_triggers.PATIENCE", 0.1)
    export.plan(end=None)
    deferred = export.deferred()
    export.service.http.delete("/_requests")
    with pytest.raises(AirflowFailException, match=r"^connection openedx_mitxonline: found none"):
        export.resumed(deferred, export.event(deferred))
    assert export.service.requests() == []


def test_a_course_that_is_gone_is_no_export(export: Export) -> None:
    export.service.change(remove=[export.course])
    with pytest.raises(AirflowFailException, match=r"course-export failed for good: .*404"):
        export.run.execute("export")
    assert export.begun() == 0


def test_a_killed_task_ends_its_job_and_leaves_no_export_behind(export: Export) -> None:
    export.service.faults({"match": {"path": OUTLINES}, "delay": 60})
    task, context = export.run.task("export")
    raised: list[BaseException] = []

    def execute() -> None:
        try:
            task.execute(context)
        except BaseException as error:  # noqa: BLE001 - handed to the test
            raised.append(error)

    worker = threading.Thread(target=execute)
    worker.start()
    deadline = time.monotonic() + PATIENCE
    while not export.service.requests("course_outline"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    task.on_kill()
    worker.join(PATIENCE)
    assert not worker.is_alive()
    assert [type(error) for error in raised] == [JobError]
    assert export.begun() == 0


# --- the sweep -----------------------------------------------------------------------------------


@pytest.fixture
def sweeps(dags: Callable[[str], Callable[[], DAG]], postgres: Platform, tmp_path: Path) -> Iterator[Callable[[str], Run]]:
    """Makes runs of the sweep's DAG that share a lake and Airflow's store of asset states."""
    (tmp_path / "lake").mkdir()
    store = Store()
    with variables(new_lake(postgres, tmp_path / "lake")):
        yield lambda run_id: Run(dags("sweep"), run_id, store)


def changed(run: Run) -> list[str]:
    """The partitions that the run's report has emitted."""
    return sorted(key for asset in run.events for key in run.events[asset].partition_keys)


def sweep(run: Run, *tasks: str) -> Run:
    for task in tasks or ("known", "sweep", "report", "remember"):
        run.execute(task)
    return run


def test_each_sweep_goes_on_from_what_was_reported(service: Service, sweeps: Callable[[str], Run]) -> None:
    first = sweep(sweeps("one"))
    assert first.returned["known"] == ""
    assert first.returned["report"] == len(changed(first)) == 4, "as many as the unit allows; the others wait"
    assert set(changed(first)) < set(service.ids)
    second = sweep(sweeps("two"))
    assert second.returned["known"] == first.returned["remember"] != second.returned["remember"]
    assert set(changed(second)).isdisjoint(changed(first))


def test_a_report_is_an_event_with_the_sweep_s_numbers(sweeps: Callable[[str], Run]) -> None:
    run = sweep(sweeps("one"), "known", "sweep")
    (asset,) = run.outlets("report")
    assert asset.uri.endswith("raw__mitxonline__openedx__sweep__observations")
    (event,) = [run.events[one] for one in run.events]
    assert event.partition_keys == set(json.loads(run.returned["sweep"])["facts"]["changed"])
    extra: Any = event.extra
    assert (extra["rows"], extra["run_key"]) == (25, "one")
    assert extra["links"]["task"] == "http://airflow.local/log"
    assert extra["links"]["state"] == json.loads(run.returned["sweep"])["facts"]["state"]


def test_a_sweep_that_dies_before_it_is_remembered_is_reported_again(sweeps: Callable[[str], Run]) -> None:
    first = sweep(sweeps("one"))
    reported, silent = sweep(sweeps("two"), "known", "sweep", "report"), sweep(sweeps("three"), "known", "sweep")
    again = sweep(sweeps("four"))
    assert {run.returned["known"] for run in (reported, silent, again)} == {first.returned["remember"]}
    assert len(changed(again)) == 4
    assert changed(again) == changed(reported) == sorted(json.loads(silent.returned["sweep"])["facts"]["changed"])


def test_a_day_without_news_is_skipped_and_remembered(service: Service, sweeps: Callable[[str], Run]) -> None:
    for number in range(-(-len(service.ids) // 4)):
        sweep(sweeps(f"news {number}"))
    run = sweep(sweeps("no news"), "known", "sweep")
    with pytest.raises(AirflowSkipException, match="no course run was published again"):
        run.execute("report")
    assert changed(run) == []
    assert run.execute("remember") == json.loads(run.returned["sweep"])["facts"]["state"]
    assert run.task("remember")[0].trigger_rule == "none_failed", "it runs after a skipped report"


def test_tasks_without_the_sweep_s_result_fail(sweeps: Callable[[str], Run]) -> None:
    run = sweeps("one")
    run.returned["sweep"] = json.dumps({"facts": {}})
    for task in ("report", "remember"):
        with pytest.raises(ValueError, match=r"job result: found .*allowed: an object with tables, facts and links"):
            run.execute(task)
    assert not run.store.rows
