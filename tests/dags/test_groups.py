"""The groups in which the project is built, each connection's staging and subject areas behind it; what is downstream of a source, and who builds it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import pytest

from include.config.environments import read_environment
from include.config.files import ROOT
from include.config.load import load_units_strictly
from include.config.units import AirbyteUnit
from include.config.vocabulary import Layer
from include.jobs.warehouse.dbt import NO_VARIABLES
from include.lake.manifest import Model, Warehouse, load_warehouse
from include.lake.names import TableRef
from tests.dags.collected import dags_of

BUILDERS = ("warehouse", "warehouse_engagement")
WITHOUT_SOURCE = {"dim_date", "dim_platform"}
"""Made of nothing but their own SQL: built with everything else, and downstream of no source."""
SOURCES = sorted(load_warehouse().sources)
UNITS = load_units_strictly("airbyte", read_environment({}))


@dataclass(frozen=True)
class Group:
    """Models that one task builds, or stands for: those of a connection's ``stage``, or of a subject area."""

    dag: str
    task: str
    models: frozenset[str]


@pytest.fixture(scope="module")
def warehouse() -> Warehouse:
    return load_warehouse()


@cache
def groups() -> tuple[Group, ...]:
    """As the DAGs themselves tell, where a task is an area's."""
    warehouse, dags = load_warehouse(), dags_of("local-area")
    staging = {model.name: model.unique_id for model in warehouse.models if model.layer is Layer.STAGING}
    found = []
    for dag_id, dag in dags.items():
        if dag_id in BUILDERS:
            found += [Group(dag_id, name, frozenset(task["models"])) for name, task in dag["tasks"].items() if name != "build"]
        elif "stage" in dag["tasks"]:
            tables = [TableRef.from_uri(outlet["uri"]).table for outlet in dag["tasks"]["stage"]["outlets"]]
            found.append(Group(dag_id, "stage", frozenset(staging[table] for table in tables if table in staging)))
    return tuple(found)


def behind(warehouse: Warehouse, names: Iterable[str]) -> frozenset[str]:
    """Everything that reads one of some sources or models, directly or not: dbt's ``name+`` without the name itself."""
    found: set[str] = set()
    new = set(names)
    while new:
        new = {model.unique_id for model in warehouse.models if not new.isdisjoint(model.upstream)} - found
        found |= new
    return frozenset(found)


def closure(warehouse: Warehouse, source: str) -> set[Group]:
    """The groups that run, whole, on news of a source: those that read it, those that read one of these, and so on."""
    found: set[Group] = set()
    news = {source}
    while new := {group for group in groups() if any(not news.isdisjoint(warehouse.by_id[model].upstream) for model in group.models)} - found:
        found |= new
        news |= {model for group in new for model in group.models}
    return found


def upstream_of(warehouse: Warehouse, model: Model) -> set[str]:
    direct = set(model.upstream)
    return direct.union(*(upstream_of(warehouse, warehouse.by_id[parent]) for parent in direct if parent in warehouse.by_id))


def test_groups_are_disjoint_and_their_union_is_the_project(warehouse: Warehouse) -> None:
    members = [model for group in groups() for model in group.models]
    assert len(members) == len(set(members))
    assert set(members) == {model.unique_id for model in warehouse.models}
    assert all(group.models for group in groups())
    assert len({group.dag for group in groups() if group.task == "stage"}) == len(UNITS)


def test_every_model_is_downstream_of_a_source(warehouse: Warehouse) -> None:
    """Or no news would ever build it anew."""
    alone = {model.name for model in warehouse.models if upstream_of(warehouse, model).isdisjoint(warehouse.sources)}
    assert alone == WITHOUT_SOURCE


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.id)
def test_a_connection_stages_what_reads_its_tables_and_nothing_else(unit: AirbyteUnit, warehouse: Warehouse) -> None:
    tables = {unit.table_of(stream) for stream in unit.streams}
    readers = {model.unique_id for model in warehouse.models if any(warehouse.sources.get(parent) in tables for parent in model.upstream)}
    assert readers == set(next(group for group in groups() if group.dag == unit.dag_id).models)


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.rpartition(".")[2])
def test_what_is_downstream_of_a_source_is_what_its_groups_build(source: str, warehouse: Warehouse) -> None:
    """By the rule of docs/howto/add-a-model.md: the connection's DAG stages, ``warehouse`` builds the rest; Open edX's part is one DAG's alone."""
    downstream, running = behind(warehouse, [source]), closure(warehouse, source)
    touched = {group for group in groups() if group.models & downstream}
    assert downstream == {model for group in running for model in group.models & downstream}, "a model would keep old rows"
    assert touched <= running
    staged = {model for model in downstream if warehouse.by_id[model].layer is Layer.STAGING}
    if {warehouse.by_id[model].dag for model in downstream} == {"warehouse_engagement"}:
        assert {group.dag for group in running} == {"warehouse_engagement"}
        return
    loading = {unit.dag_id for unit in UNITS if warehouse.sources[source] in {unit.table_of(stream) for stream in unit.streams}}
    assert len(loading) == 1
    assert {group.dag for group in touched} == (loading if staged else set()) | ({"warehouse"} if downstream - staged else set())
    assert {group.dag for group in running} <= {*loading, "warehouse"}
    assert all(group.models >= staged for group in touched if group.task == "stage")


def test_dbt_selects_the_same(warehouse: Warehouse) -> None:
    """What a run of a DAG with ``{"select": "source:…+"}`` builds, in dbt's own words."""
    sources = {selector_of(one): one for one in SOURCES if one.endswith(("users_user", "auth_user", "__tracking_logs"))}
    assert len(sources) == 6
    for selector, selected in selected_by_dbt(*sources).items():
        assert {node for node in selected if node in warehouse.by_id} == behind(warehouse, [sources[selector]]), selector


def selector_of(source: str) -> str:
    return f"source:{source.removeprefix('source.open_learning.')}+"


def selected_by_dbt(*selectors: str, variables: str = NO_VARIABLES) -> dict[str, list[str]]:
    """The models and tests that the build job would run, by selector."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.dags.selected", variables, *selectors], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    return json.loads(done.stdout.splitlines()[-1])
