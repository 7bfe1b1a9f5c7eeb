"""What every DAG and task of ours must say, whatever it does."""

from __future__ import annotations

import re
from typing import Any

import jinja2
import jinja2.meta
import pytest

from include.config.pools import pools_of
from include.config.vocabulary import Granularity, Layer, Owner, Runtime, Tier
from tests.dags.collected import ENVIRONMENTS, dags_of, settings_of

KINDS = {"airbyte", "warehouse", "openedx", "learn_webhooks", "maintain", "branches"}
TAGS = {
    "kind": KINDS,
    "owner": {owner.value for owner in Owner},
    "tier": {str(tier.value) for tier in Tier},
    "layer": {layer.value for layer in Layer},
}
# What a run without a logical date has, too; everything about dates and intervals is missing on runs that an asset triggered.
# Of the run itself only its type is asked for, which every run has, and its partition key, which is there exactly where it has one.
TEMPLATE_NAMES = {"ti", "run_id", "params", "task", "dag", "conn", "macros"}
WAITING = "DbtModels"
LIGHT = {"AirbyteSyncOperator", "CourseExport", "KnownCourses", "RememberSweep", "LastNight", "RememberNight", "ReportChangedCourses"}
OF_RUN = re.compile(r"dag_run\.(partition_key|run_type)\b")
PARTITIONED = {"CronPartitionTimetable", "PartitionedAssetTimetable"}
pytestmark = pytest.mark.parametrize("name", ENVIRONMENTS)


def dags(name: str) -> dict[str, Any]:
    found = dags_of(name)
    assert found
    return found


def tasks(name: str) -> dict[str, Any]:
    """Every task, by DAG and task id."""
    found = {f"{dag_id}.{task_id}": task for dag_id, dag in dags(name).items() for task_id, task in dag["tasks"].items()}
    assert found
    return found


def test_tags_come_from_the_vocabulary(name: str) -> None:
    for dag_id, dag in dags(name).items():
        found = [tag.partition(":")[::2] for tag in dag["tags"]]
        assert [f"{key}:{word}" for key, word in found if word not in TAGS.get(key, ())] == [], dag_id
        for key in ("kind", "owner", "tier"):
            assert [one for one, _ in found].count(key) == 1, f"{dag_id}: one tag {key}:… is needed"
        assert "layer" in dict(found), dag_id
        kind = dict(found)["kind"]
        assert dag_id == kind or dag_id.startswith(f"{kind}_"), dag_id


def test_every_task_has_the_owner_of_its_dag(name: str) -> None:
    for dag_id, dag in dags(name).items():
        owners = {f"owner:{task['owner']}" for task in dag["tasks"].values()}
        assert owners == {tag for tag in dag["tags"] if tag.startswith("owner:")}, dag_id


def test_every_dag_tells_whoever_is_called_at_night_what_to_do(name: str) -> None:
    for dag_id, dag in dags(name).items():
        _, heading, notes = (dag["doc_md"] or "").partition("### Triage notes\n")
        assert heading, dag_id
        assert notes.count("\n- ") + notes.startswith("- ") >= 2, f"{dag_id}: what to do when which task fails"


def test_one_run_at_a_time_and_nothing_caught_up(name: str) -> None:
    partitioned = {dag_id for dag_id, dag in dags(name).items() if dag["timetable"] in PARTITIONED}
    assert {dag_id: dag["max_active_runs"] for dag_id, dag in dags(name).items() if dag["max_active_runs"] != 1 and dag_id not in partitioned} == {}
    assert [dag_id for dag_id, dag in dags(name).items() if dag["catchup"]] == []


def test_retries_are_decided_by_cause(name: str) -> None:
    expected = ["include.config.errors.ConfigError", "include.contract.PermanentError", "include.contract.TransientError"]
    working = {task_id: task for task_id, task in tasks(name).items() if task["operator"] != WAITING}
    assert working
    assert {task_id: task["retry_rules"] for task_id, task in working.items() if task["retry_rules"] != expected} == {}
    assert {task_id: task["retries"] for task_id, task in working.items() if task["retries"] < 1} == {}


def test_a_waiting_task_retries_nothing_and_waits_in_the_triggerer(name: str) -> None:
    waiting = [task for task in tasks(name).values() if task["operator"] == WAITING]
    assert waiting
    assert {(task["retries"], len(task["retry_rules"]), task["start_from_trigger"]) for task in waiting} == {(0, 0, True)}


def test_every_pool_exists(name: str) -> None:
    exist = {"default_pool", *(pool.name for pool in pools_of(settings_of(name)))}
    assert {task_id: task["pool"] for task_id, task in tasks(name).items() if task["pool"] not in exist} == {}


def test_tasks_that_run_dbt_wait_for_their_turn_at_the_lake(name: str) -> None:
    writers = {task_id: task["pool"] for task_id, task in tasks(name).items() if any("dbt-build" in str(part) for part in task["commands"]) and task["outlets"]}
    assert "warehouse.build" in writers
    assert set(writers.values()) == {"lake_writers"}


def test_templates_need_no_logical_date(name: str) -> None:
    parser = jinja2.Environment()
    found = {text for task in tasks(name).values() for text in task["templates"]}
    assert any("run_id" in text for text in found)
    asked = {text: OF_RUN.sub("params.key", text) for text in found}
    unknown = {text: sorted(jinja2.meta.find_undeclared_variables(parser.parse(asked[text])) - TEMPLATE_NAMES) for text in found}
    assert {text: names for text, names in unknown.items() if names} == {}


def test_jobs_run_as_the_environment_says(name: str) -> None:
    kind = {Runtime.POD: "PlatformPodOperator", Runtime.PROCESS: "ProcessJobOperator"}[settings_of(name).runtime]
    assert {task["operator"] for task in tasks(name).values()} <= {kind, WAITING, *LIGHT}
    assert kind in {task["operator"] for task in tasks(name).values()}


def test_schedules(name: str) -> None:
    settings = settings_of(name)
    for dag_id, dag in dags(name).items():
        if dag_id == "warehouse":
            assert dag["triggered_by"]
            assert dag["timetable"] == ("AssetOrTimeSchedule" if settings.schedules else "AssetTriggeredTimetable"), (
                "an asset event can get lost, a cron cannot"
            )
        elif dag_id == "warehouse_engagement":
            assert dag["timetable"] == ("AssetOrTimeSchedule" if settings.schedules else "NullTimetable"), "on a laptop a demo or a person starts it"
            assert bool(dag["triggered_by"]) == settings.schedules
        elif dag_id.endswith("__course"):
            assert dag["timetable"] == "PartitionedAssetTimetable"
            assert len(dag["triggered_by"]) == 1, dag_id
        elif dag_id.endswith("__tracking_logs"):
            assert dag["timetable"] == "CronPartitionTimetable", "a backfill needs the days, also where nothing is scheduled"
        else:
            assert dag["timetable"] == ("CronTriggerTimetable" if settings.schedules else "NullTimetable"), dag_id


def test_granularity(name: str) -> None:
    expected = {"local-area": Granularity.AREA, "branch": Granularity.AREA}.get(name, Granularity.MODEL)
    assert settings_of(name).granularity is expected
    assert any(task.startswith("models.") for task in dags(name)["warehouse"]["tasks"]) == (expected is Granularity.MODEL)
