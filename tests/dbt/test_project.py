"""Rules of the dbt project, judged on its manifest: no Trino and no variables are needed."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from include.config.environments import read_environment
from include.config.load import load_units_strictly
from include.config.vocabulary import Layer, Owner, SyncMode
from tests.dbt.project import PROJECT, parse, run_dbt
from tests.variables import without_platform

AREAS = {"users", "courses", "enrollments", "grades", "certificates", "ecommerce", "b2b", "engagement", "reference"}
READS = {
    "staging": {"source"},
    "intermediate": {"staging", "intermediate"},
    "dimensional": {"staging", "intermediate", "dimensional"},
    "mart": {"intermediate", "dimensional"},
    "reporting": {"intermediate", "dimensional"},
}
NAMES = {
    "staging": r"stg__(mitxonline|mitxpro)__(app__postgres|openedx__mysql)__[a-z0-9_]+"
    r"|stg__(mitx|mitxonline|xpro)__openedx__(tracking_logs|(api|course_xml|mongodb)__[a-z0-9_]+)",
    "intermediate": r"int__(mitxonline|mitxpro|combined)__[a-z0-9_]+",
    "dimensional": r"(dim|tfact|afact|bridge)_[a-z0-9_]+",
    "mart": r"marts__(combined|mitxonline|mitxpro)__[a-z0-9_]+",
    "reporting": r"[a-z0-9_]+_report",
}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return parse(tmp_path_factory.mktemp("dbt"))


@pytest.fixture(scope="module")
def models(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    found = [node for node in manifest["nodes"].values() if node["resource_type"] == "model"]
    assert len(found) > 50
    return found


def layer_of(model: dict[str, Any]) -> str:
    return str(model["config"]["schema"])


def is_of_openedx(model: dict[str, Any]) -> bool:
    """Whether the model reads a deployment's logs, courses or forum, which no Airbyte connection brings."""
    return model["config"]["tags"] == ["warehouse_engagement"]


def test_layers_read_only_what_they_may(manifest: dict[str, Any], models: list[dict[str, Any]]) -> None:
    layers = {model["unique_id"]: layer_of(model) for model in models} | dict.fromkeys(manifest["sources"], "source")
    wrong = [
        f"{model['name']} ({layer_of(model)}) reads {parent} ({layers[parent]})"
        for model in models
        for parent in model["depends_on"]["nodes"]
        if layers[parent] not in READS[layer_of(model)]
    ]
    assert not wrong, "\n".join(wrong)


def test_names_and_schemas_tell_the_layer(models: list[dict[str, Any]]) -> None:
    for model in models:
        layer = Layer(layer_of(model)).value
        assert re.fullmatch(NAMES[layer], model["name"]), f"{model['name']}: not a name of layer {layer}: {NAMES[layer]}"
        assert model["schema"] == f"ol_warehouse_local_{layer}"
        assert model["database"] == "ol_data_lake_local"
        folder = model["fqn"][1]
        assert folder == {"mart": "marts"}.get(layer, layer), f"{model['name']}: lies in {folder}, belongs to {layer}"


def test_every_model_says_what_it_is_and_whose(models: list[dict[str, Any]]) -> None:
    for model in models:
        meta = model["config"]["meta"]
        assert len(model["description"]) > 10, f"{model['name']}: no description"
        assert meta.get("area") in AREAS, f"{model['name']}: meta.area: found {meta.get('area')!r}; allowed: {sorted(AREAS)}"
        assert meta.get("owner") in set(Owner), f"{model['name']}: meta.owner: found {meta.get('owner')!r}; allowed: {[owner.value for owner in Owner]}"


def test_keys_are_tested(manifest: dict[str, Any], models: list[dict[str, Any]]) -> None:
    """Of staging models only those of merged streams: the others are copies of a table with a primary key, or made unique by ``deduplicate``."""
    units = load_units_strictly("airbyte", read_environment({}))
    merged = {unit.table_of(stream) for unit in units for stream in unit.streams if stream.sync_mode is SyncMode.INCREMENTAL_DEDUPED}
    keyed = {
        test["attached_node"]
        for test in manifest["nodes"].values()
        if test["resource_type"] == "test" and (test.get("test_metadata") or {}).get("name") == "primary_key"
    }
    wanted = {model["unique_id"] for model in models if layer_of(model) != "staging" or (model["sources"] and model["sources"][0][1] in merged)}
    assert wanted == keyed


def test_reports_are_contracts(models: list[dict[str, Any]]) -> None:
    reports = [model for model in models if layer_of(model) == "reporting"]
    assert len(reports) >= 4
    for model in reports:
        assert model["config"]["contract"]["enforced"], f"{model['name']}: contract not enforced"
        assert model["columns"]
        for column in model["columns"].values():
            assert column["data_type"], f"{model['name']}.{column['name']}: no data_type"
            assert len(column["description"]) > 5, f"{model['name']}.{column['name']}: no description"


def test_tables_are_replaced_never_dropped_and_facts_merged(models: list[dict[str, Any]]) -> None:
    for model in models:
        config = model["config"]
        assert config["materialized"] in {"table", "incremental"}, f"{model['name']}: {config['materialized']}"
        assert config["on_table_exists"] == "replace", f"{model['name']}: the live table would be dropped or renamed away"
        if config["materialized"] == "incremental":
            assert config["incremental_strategy"] == "merge", f"{model['name']}: only merge is one commit"
            assert config["unique_key"], f"{model['name']}: a merge without a key appends"


def test_sql_does_not_ask_the_clock_or_chance(models: list[dict[str, Any]]) -> None:
    pattern = re.compile(r"\b(now\s*\(|current_(date|time|timestamp)\b|localtime(stamp)?\b|rand(om)?\s*\(|uuid\s*\()", re.IGNORECASE)
    json_path = re.compile(r"'\$\.[^']*'")
    code = {model["name"]: json_path.sub("''", without_comments(model["raw_code"])) for model in models}
    wrong = [f"{name}: {found.group()}" for name, text in code.items() if (found := pattern.search(text))]
    assert not wrong, wrong


def test_joins_on_course_runs_carry_the_platform(models: list[dict[str, Any]]) -> None:
    """Readable ids and source ids of runs repeat between platforms. Hashed keys hold the platform; models of one platform need none."""
    wrong = [
        f"{model['name']}: join on {condition}"
        for model in models
        if layer_of(model) != "staging" and not model["name"].startswith(("int__mitxonline__", "int__mitxpro__"))
        for condition in join_conditions(model["raw_code"])
        if re.search(r"\b(courserun_readable_id|courserun_id|course_readable_id)\b", condition) and not re.search(r"\bplatform\b", condition)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_join_rule_finds_a_join_without_platform() -> None:
    conditions = join_conditions("select 1 from a\nleft join b as c on c.courserun_id = a.courserun_id\n  and c.x = 1\nwhere c.y group by 1")
    assert conditions == ["c.courserun_id = a.courserun_id\n  and c.x = 1"]


def without_comments(code: str) -> str:
    return re.sub(r"--[^\n]*|\{#.*?#\}", "", code, flags=re.DOTALL)


def join_conditions(code: str) -> list[str]:
    """The ON conditions of a model's joins, each up to the next join or clause."""
    code = without_comments(code)
    assert not re.search(r"\busing\s*\(", code, re.IGNORECASE), "joins name their columns with ON"
    ends = r"\b(?:left|right|full|inner|cross|join|where|group|order|having|union|limit|window)\b|\)\s*,|\Z"
    return [found.group(1).strip() for found in re.finditer(rf"\bon\s+(?=\w+\.|\{{\{{)(.*?)(?={ends})", code, re.IGNORECASE | re.DOTALL)]


def test_sources_are_the_units_streams(manifest: dict[str, Any], models: list[dict[str, Any]]) -> None:
    units = load_units_strictly("airbyte", read_environment({}))
    streams = {unit.table_of(stream): set(stream.columns) for unit in units for stream in unit.streams}
    sources = {source["identifier"]: set(source["columns"]) for source in manifest["sources"].values()}
    of_openedx = openedx_tables(models)
    assert of_openedx <= sources.keys()
    assert {name: columns for name, columns in sources.items() if name not in of_openedx} == streams
    assert {source["schema"] for source in manifest["sources"].values()} == {"ol_warehouse_local_raw"}


def openedx_tables(models: list[dict[str, Any]]) -> set[str]:
    """The raw tables of the deployments that have models; tests/dbt/test_engagement.py compares their columns with those that the jobs make."""
    parts = ("tracking_logs", "api__course_structure", "api__course_blocks", "course_xml__blocks", "course_xml__video", "mongodb__forum__contents")
    modelled = {model["name"].split("__")[1] for model in models if layer_of(model) == "staging" and is_of_openedx(model)}
    units = [unit for unit in load_units_strictly("openedx", read_environment({})) if unit.id in modelled]
    assert {unit.id for unit in units} == modelled
    return {unit.table(part) for unit in units for part in parts}


def test_staging_models_of_openedx_read_their_own_table(models: list[dict[str, Any]]) -> None:
    """Three deployments have one shape: the models differ in nothing but the deployment, and each reads the table of its own name."""
    staging = [model for model in models if layer_of(model) == "staging" and is_of_openedx(model)]
    assert len(staging) == 18
    for model in staging:
        assert model["sources"] == [["ol_warehouse_raw_data", model["name"].replace("stg__", "raw__", 1)]]
        deployment = model["name"].split("__")[1]
        assert re.fullmatch(rf"\{{\{{ openedx_\w+\('{deployment}'\) \}}\}}", model["raw_code"].strip())


def test_models_of_the_two_dags_do_not_read_each_other(models: list[dict[str, Any]]) -> None:
    of_openedx = {model["unique_id"] for model in models if is_of_openedx(model)}
    assert len(of_openedx) >= 30
    for model in models:
        parents = {parent for parent in model["depends_on"]["nodes"] if parent.startswith("model.")}
        assert parents <= of_openedx if model["unique_id"] in of_openedx else not parents & of_openedx, model["name"]


def test_staging_models_belong_to_one_connection(manifest: dict[str, Any], models: list[dict[str, Any]]) -> None:
    """A connection's DAG builds the staging models whose names begin with its prefix: they must read that connection's tables and no other's."""
    units = load_units_strictly("airbyte", read_environment({}))
    for model in models:
        if layer_of(model) == "staging" and not is_of_openedx(model):
            (unit,) = [unit for unit in units if model["name"].startswith(unit.dbt_staging)]
            for parent in model["depends_on"]["nodes"]:
                assert manifest["sources"][parent]["identifier"].startswith(unit.table_prefix), f"{model['name']} reads {parent}"


def test_appended_streams_are_deduplicated(models: list[dict[str, Any]]) -> None:
    units = load_units_strictly("airbyte", read_environment({}))
    appended = {unit.table_of(stream) for unit in units for stream in unit.streams if stream.sync_mode.value.endswith("_append")}
    for model in models:
        if layer_of(model) == "staging" and not is_of_openedx(model):
            table = model["sources"][0][1]
            assert ("deduplicate(" in model["raw_code"]) == (table in appended), f"{model['name']}: reads {table}"


@pytest.mark.parametrize(
    ("target", "variables", "schema"),
    [
        ("branch", {"OL_SCHEMA_SUFFIX": "pr_1523"}, "ol_warehouse_qa_reporting_pr_1523"),
        ("production", {}, "ol_warehouse_production_reporting"),
    ],
)
def test_targets_write_their_own_schemas(tmp_path: Path, target: str, variables: dict[str, str], schema: str) -> None:
    found = parse(tmp_path, target, variables)
    assert found["nodes"]["model.open_learning.enrollment_summary_report"]["schema"] == schema
    raw = {source["schema"] for source in found["sources"].values()}
    assert raw == {schema.partition("_reporting")[0] + "_raw"}, "raw tables take no suffix: they are read, not written"


@pytest.mark.parametrize(("target", "variables"), [("branch", {}), ("production", {"OL_SCHEMA_SUFFIX": "ada"})])
def test_a_branch_needs_a_suffix_and_production_refuses_one(tmp_path: Path, target: str, variables: dict[str, str]) -> None:
    done = run_dbt(tmp_path, "parse", "--target", target, environment=without_platform(**variables))
    assert done.returncode != 0
    assert "OL_SCHEMA_SUFFIX" in done.stdout


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The project's settings and macros with one model instead of all: what is said of names and windows is said in the macros."""
    folder = tmp_path / "small"
    shutil.copytree(PROJECT / "macros", folder / "macros")
    shutil.copy2(PROJECT / "dbt_project.yml", folder)
    (folder / "models" / "marts").mkdir(parents=True)
    (folder / "models" / "marts" / "one.sql").write_text("select 1 as n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("target", "variables"),
    [
        ("qa", {"TRINO_CATALOG": "ol_data_lake_production"}),
        ("local", {"TRINO_CATALOG": "ol_data_lake_production"}),
        ("branch", {"TRINO_CATALOG": "ol_data_lake_production", "OL_SCHEMA_SUFFIX": "pr_7"}),
        ("local", {"TRINO_CATALOG": "ol_data_lake_qa", "OL_SCHEMA_SUFFIX": "ada"}),
        ("production", {"TRINO_CATALOG": "ol_data_lake_qa"}),
    ],
)
def test_no_target_takes_another_environments_catalog(small: Path, tmp_path: Path, target: str, variables: dict[str, str]) -> None:
    done = run_dbt(tmp_path, "parse", "--target", target, environment=without_platform(**variables), project=small)
    assert done.returncode != 0
    assert f"target {target}: found catalog {variables['TRINO_CATALOG']}" in " ".join(done.stdout.split())


@pytest.mark.parametrize("target", ["local", "branch", "qa"])
def test_no_profile_of_ones_own_leads_to_production(small: Path, tmp_path: Path, target: str) -> None:
    text = (PROJECT / "profiles.yml").read_text(encoding="utf-8")
    (tmp_path / "profiles.yml").write_text(re.sub(r"schema: ol_warehouse_(local|qa)", "schema: ol_warehouse_production", text), encoding="utf-8")
    suffix = {"OL_SCHEMA_SUFFIX": "pr_7"} if target == "branch" else {}
    done = run_dbt(tmp_path, "parse", "--target", target, environment=without_platform(**suffix), project=small, profiles=tmp_path)
    assert done.returncode != 0
    assert "which are production's" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("target", "variables", "flags", "limited"),
    [
        ("local", {}, (), False),
        ("local", {"OL_SCHEMA_SUFFIX": "ada"}, (), True),
        ("branch", {"OL_SCHEMA_SUFFIX": "pr_7"}, (), True),
        ("branch", {"OL_SCHEMA_SUFFIX": "pr_7"}, ("--vars", "{ignore_date_limits: true}"), False),
        ("qa", {}, (), False),
        ("production", {}, (), False),
    ],
)
def test_only_somebodys_own_schemas_hold_a_window(
    small: Path, tmp_path: Path, target: str, variables: dict[str, str], flags: tuple[str, ...], limited: bool
) -> None:
    asked = "{{ limit_dates_in_development('moment') if dates_are_limited() else 'everything' }}"
    offline = ("--no-introspect", "--no-populate-cache", "--output", "json")
    done = run_dbt(tmp_path, "compile", "--target", target, "--inline", asked, *offline, *flags, environment=without_platform(**variables), project=small)
    assert done.returncode == 0, done.stdout
    assert ("moment >= current_timestamp - interval '90' day" in done.stdout) == limited
    assert ("everything" in done.stdout.replace(asked, "")) != limited
