"""Assets, dbt's sources and models, and units name the same tables, and each table is made in exactly one place."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest

from include.config.environments import read_environment
from include.config.errors import ConfigError
from include.config.load import load_learn_webhooks_unit, load_units_strictly, load_warehouse_unit
from include.config.vocabulary import Layer
from include.lake.manifest import Warehouse, load_warehouse
from include.lake.names import TableRef, asset_uri, table_in
from tests.dags.collected import ENVIRONMENTS, dags_of, settings_of
from tests.dags.exceptions import SOURCES_WITHOUT_STREAM, STREAMS_WITHOUT_SOURCE

BUILDERS = ("warehouse", "warehouse_engagement")
# the raw tables of each of a deployment's DAGs
OPENEDX_TABLES = {
    "sweep": ("sweep__observations",),
    "course": (
        *(f"api__course_{name}" for name in ("structure", "blocks")),
        *(f"course_xml__{name}" for name in ("metadata", "video", "blocks", "policies", "signatories", "static_assets")),
    ),
    "tracking_logs": ("tracking_logs",),
    "forum": tuple(f"mongodb__forum__{name}" for name in ("contents", "users", "subscriptions")),
}


@pytest.fixture(scope="module")
def warehouse() -> Warehouse:
    found = load_warehouse()
    assert len(found.models) >= 30
    return found


def producers(name: str) -> dict[str, set[str]]:
    """Asset URIs, each with the DAGs it is an outlet of."""
    found: dict[str, set[str]] = defaultdict(set)
    for dag_id, dag in dags_of(name).items():
        for task in dag["tasks"].values():
            for asset in task["outlets"]:
                found[asset["uri"]].add(dag_id)
    assert found
    return found


def assets(name: str) -> list[dict[str, str]]:
    found = [asset for dag in dags_of(name).values() for task in dag["tasks"].values() for asset in (*task["outlets"], *task["inlets"])]
    assert found
    return found


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_asset_s_name_is_its_uri_and_its_table(name: str) -> None:
    settings = settings_of(name)
    for asset in assets(name):
        table = TableRef.from_uri(asset["uri"])
        assert asset["name"] == asset["uri"] == asset["uri"].lower() == asset_uri(settings, table)
        assert asset["group"] == table.schema
        assert table.catalog == settings.lake.catalog
        assert table.schema in {settings.schema_for(layer) for layer in Layer}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_no_asset_is_told_twice_by_one_task(name: str) -> None:
    for dag in dags_of(name).values():
        for task_id, task in dag["tasks"].items():
            uris = [asset["uri"] for asset in task["outlets"]]
            assert len(uris) == len(set(uris)), task_id


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_raw_table_is_made_by_its_unit_s_dag_alone(name: str) -> None:
    settings, made = settings_of(name), producers(name)
    expected = {
        asset_uri(settings, table_in(settings, Layer.RAW, unit.table_of(stream))): {unit.dag_id}
        for unit in load_units_strictly("airbyte", settings)
        for stream in unit.streams
    }
    for unit in load_units_strictly("openedx", settings):
        for part, tables in OPENEDX_TABLES.items():
            if part != "forum" or unit.sites[settings.name].forum:
                expected |= {asset_uri(settings, table_in(settings, Layer.RAW, f"raw__{unit.id}__openedx__{table}")): {unit.dag_id(part)} for table in tables}
    learn = load_learn_webhooks_unit()
    if settings.name in learn.environments:
        expected[asset_uri(settings, table_in(settings, Layer.RAW, "raw__openedx__learn__webhook_outbox"))] = {learn.id}
    assert {uri: dags for uri, dags in made.items() if TableRef.from_uri(uri).schema == settings.schema_for(Layer.RAW)} == expected
    assert expected or name == "branch"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_every_model_is_made_by_one_dag(name: str, warehouse: Warehouse) -> None:
    settings, made = settings_of(name), producers(name)
    units = load_units_strictly("airbyte", settings)
    for model in warehouse.models:
        staging = {unit.dag_id for unit in units if model.name.startswith(unit.dbt_staging)}
        expected = {model.dag} if model.dag else staging if model.layer is Layer.STAGING else {"warehouse"}
        assert made.get(asset_uri(settings, model.table(settings)), set()) == expected, model.name
        assert len(expected) == 1 or name == "branch", f"{model.name}: staged by {sorted(expected) or 'no unit'}"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_nothing_else_is_made(name: str, warehouse: Warehouse) -> None:
    settings = settings_of(name)
    models = {asset_uri(settings, model.table(settings)) for model in warehouse.models}
    rest = {uri for uri in producers(name) if uri not in models}
    assert {TableRef.from_uri(uri).schema for uri in rest} <= {settings.schema_for(Layer.RAW)}


@pytest.mark.parametrize("name", [name for name in ENVIRONMENTS if name != "branch"])
def test_what_triggers_a_dag_is_made_by_another(name: str) -> None:
    made = producers(name)
    triggered = {dag_id: dag["triggered_by"] for dag_id, dag in dags_of(name).items() if dag["triggered_by"]}
    assert triggered
    for dag_id, uris in triggered.items():
        assert {uri: made.get(uri, set()) for uri in uris if not made.get(uri, set()) - {dag_id}} == {}


def one_sided(sources: set[str], streams: set[str], without_stream: dict[str, str], without_source: dict[str, str]) -> list[str]:
    """Everything wrong between dbt's sources and the units' streams."""
    wrong = [f"{table}: a dbt source that no unit brings" for table in sorted(sources - streams - without_stream.keys())]
    wrong += [f"{table}: a stream that is no dbt source" for table in sorted(streams - sources - without_source.keys())]
    settled = (without_stream.keys() & streams) | (without_source.keys() & sources)
    return wrong + [f"{table}: listed as an exception, but is none" for table in sorted(settled)]


def test_every_dbt_source_is_a_stream_and_every_stream_a_source(warehouse: Warehouse) -> None:
    sources = list(warehouse.sources.values())
    assert len(sources) == len(set(sources)), "two sources for one table"
    streams = {unit.table_of(stream) for unit in load_units_strictly("airbyte", settings_of("local")) for stream in unit.streams}
    units = load_units_strictly("openedx", settings_of("production"))
    of_openedx = {unit.table(table) for unit in units for tables in OPENEDX_TABLES.values() for table in tables}
    assert sources
    assert streams
    assert of_openedx & set(sources)
    assert one_sided(set(sources) - of_openedx, streams, SOURCES_WITHOUT_STREAM, STREAMS_WITHOUT_SOURCE) == []


def test_exceptions_have_reasons() -> None:
    assert [table for table, reason in {**SOURCES_WITHOUT_STREAM, **STREAMS_WITHOUT_SOURCE}.items() if len(reason) < 10] == []


@pytest.mark.parametrize(
    ("sources", "streams", "without_stream", "without_source", "count"),
    [
        ({"a"}, {"a"}, {}, {}, 0),
        ({"a", "b"}, {"a"}, {}, {}, 1),
        ({"a"}, {"a", "b"}, {}, {}, 1),
        ({"a", "b"}, {"a"}, {"b": "external"}, {}, 0),
        ({"a"}, {"a", "b"}, {}, {"b": "not modelled"}, 0),
        ({"a"}, {"a"}, {"a": "stale"}, {}, 1),
        ({"a"}, {"b"}, {}, {}, 2),
    ],
)
def test_the_comparison_finds_what_stands_on_one_side(
    sources: set[str], streams: set[str], without_stream: dict[str, str], without_source: dict[str, str], count: int
) -> None:
    assert len(one_sided(sources, streams, without_stream, without_source)) == count


def waiting_tasks(name: str, dag_id: str = "warehouse") -> dict[str, Any]:
    return {task_id: task for task_id, task in dags_of(name)[dag_id]["tasks"].items() if task_id != "build"}


def test_the_dags_of_the_project_share_no_model(warehouse: Warehouse) -> None:
    built = [model.unique_id for dag_id in BUILDERS for model in warehouse.built_by(dag_id)]
    assert len(set(built)) == len(built)
    assert {model.unique_id for model in warehouse.models} - set(built) == {m.unique_id for m in warehouse.models if m.layer is Layer.STAGING and not m.dag}
    assert warehouse.own_dags == BUILDERS[1:]
    assert {dag_id: load_warehouse_unit(unit_id=dag_id).id for dag_id in BUILDERS} == {dag_id: dag_id for dag_id in BUILDERS}


@pytest.mark.parametrize("dag_id", BUILDERS)
@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_warehouse_s_tasks_stand_for_every_model_once(name: str, dag_id: str, warehouse: Warehouse) -> None:
    models = [model for task in waiting_tasks(name, dag_id).values() for model in task["models"]]
    assert sorted(models) == sorted(model.unique_id for model in warehouse.built_by(dag_id))


@pytest.mark.parametrize("dag_id", BUILDERS)
@pytest.mark.parametrize("name", ["local", "qa", "production"])
def test_with_a_task_per_model_dependencies_are_the_project_s(name: str, dag_id: str, warehouse: Warehouse) -> None:
    tasks = waiting_tasks(name, dag_id)
    built = {model.unique_id: model for model in warehouse.built_by(dag_id)}
    assert set(tasks) == {f"models.{model.name}" for model in built.values()}
    for model in built.values():
        expected = sorted(f"models.{built[parent].name}" for parent in model.upstream if parent in built)
        assert tasks[f"models.{model.name}"]["upstream"] == expected, model.name


@pytest.mark.parametrize("name", ["local-area", "branch"])
def test_with_a_task_per_area_there_are_few(name: str, warehouse: Warehouse) -> None:
    tasks = waiting_tasks(name)
    areas = {model.area for model in warehouse.built_by_warehouse()}
    assert set(tasks) == areas
    assert len(tasks) <= 50
    for area, task in tasks.items():
        assert {warehouse.by_id[model].area for model in task["models"]} == {area}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_waiting_tasks_have_no_outlets(name: str) -> None:
    """A task that a trigger ends emits no events, so an outlet there would be a promise that nobody keeps."""
    assert {task_id for dag_id in BUILDERS for task_id, task in waiting_tasks(name, dag_id).items() if task["outlets"]} == set()


@pytest.mark.parametrize("dag_id", BUILDERS)
def test_the_backstop_is_the_unit_s(dag_id: str) -> None:
    timetable = dags_of("production")[dag_id]["serialized"]["dag"]["timetable"]["__var"]["timetable"]["__var"]
    assert (timetable["expression"], timetable["timezone"]) == (load_warehouse_unit(unit_id=dag_id).backstop, "UTC")


def test_a_folder_of_staging_models_is_one_connection_s() -> None:
    """The warehouse of a laptop waits for news of every such folder."""
    prefixes = {unit.dbt_staging for unit in load_units_strictly("airbyte", read_environment({}))}
    folders: dict[str, set[str]] = {}
    for model in load_warehouse().models:
        if model.layer is Layer.STAGING and not model.dag:
            folders.setdefault(model.folder, set()).update(prefix for prefix in prefixes if model.name.startswith(prefix))
    assert len(folders) == len(prefixes)
    assert [folder for folder, found in folders.items() if len(found) != 1] == []


def test_a_part_that_no_model_names_is_refused(warehouse: Warehouse) -> None:
    """It would otherwise build the whole warehouse under another name."""
    with pytest.raises(ConfigError, match=r"warehouse_of_nobody\.yml.*a tag of models: warehouse_engagement"):
        warehouse.built_by("warehouse_of_nobody")
