"""Loading units: lenient where DAG files are parsed, strict everywhere else."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.config.environments import EnvironmentSettings, read_environment
from include.config.errors import ConfigError
from include.config.files import UNITS
from include.config.load import KINDS, load_airbyte_unit, load_units, load_units_strictly, load_warehouse_unit
from include.config.retired import load_retired
from include.config.vocabulary import Environment
from tests.config.units_on_disk import GOOD, changed, write_unit


@pytest.fixture
def local() -> EnvironmentSettings:
    return read_environment({})


def environment(name: Environment) -> EnvironmentSettings:
    variables = {"OL_ENVIRONMENT": name.value, "OL_IMAGE_TAG": "2026.11.20"}
    if name is Environment.BRANCH:
        variables["OL_SCHEMA_SUFFIX"] = "pr_1"
    if name is Environment.PRODUCTION:
        variables |= {"OL_CLUSTER": "production", "OL_IMAGE_DIGESTS": "dbt=sha256:" + "0d" * 32 + ",jobs=sha256:" + "0f" * 32 + ",openedx=sha256:" + "0e" * 32}
    return read_environment(variables)


@pytest.mark.parametrize("name", list(Environment))
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_unit_of_the_repository_loads(kind: str, name: Environment) -> None:
    units = load_units_strictly(kind, environment(name))
    assert [unit.id for unit in units] == sorted(unit.id for unit in units)
    if name is not Environment.BRANCH:
        assert units, "an environment without any unit"


def test_the_lane_has_its_three_connections(local: EnvironmentSettings) -> None:
    found = {unit.id: unit.cadence.value for unit in load_units_strictly("airbyte", local)}
    expected = {"mitxonline__app_postgres": "every_6_hours", "mitxonline__openedx_mysql": "every_12_hours", "mitxpro__app_postgres": "daily"}
    assert expected.items() <= found.items()


def test_no_file_in_a_unit_folder_is_overlooked() -> None:
    """Only ``*.yml`` is read: a ``.yaml`` would be a unit that silently does not exist."""
    folders = [path for path in UNITS.iterdir() if path.is_dir() and path.name != "schema"]
    assert {path.name for path in folders} == set(KINDS)
    assert [str(path) for folder in folders for path in folder.iterdir() if path.name != "__pycache__" and (path.suffix != ".yml" or not path.is_file())] == []


def test_no_two_units_claim_a_connection_a_prefix_or_a_staging_model() -> None:
    units = [load_airbyte_unit(path.stem) for path in sorted((UNITS / "airbyte").glob("*.yml"))]
    assert len(units) >= 3
    for name, claimed in {
        "connection.ids": [str(connection) for unit in units for connection in unit.connection.ids.values()],
        "table": [unit.table_of(stream) for unit in units for stream in unit.streams],
        "dbt_staging": [unit.dbt_staging for unit in units],
    }.items():
        assert len(claimed) == len(set(claimed)), f"{name}: {sorted(one for one in set(claimed) if claimed.count(one) > 1)}"


def test_lenient_loading_keeps_the_good_units(tmp_path: Path, local: EnvironmentSettings) -> None:
    write_unit(tmp_path, GOOD, "a.yml")
    write_unit(tmp_path, changed("tier: 2", "tier: 7"), "b.yml")
    write_unit(tmp_path, b"\xff\xfe", "c.yml")
    write_unit(tmp_path, GOOD, "d e.yml")
    write_unit(tmp_path, GOOD, "f.yml")
    good, broken = load_units("airbyte", local, tmp_path)
    assert [unit.dag_id for unit in good] == ["airbyte__a", "airbyte__f"]
    assert [unit.dag_id for unit in broken] == ["airbyte__b", "airbyte__c", "airbyte__d_e"]
    assert all(unit.error.problems for unit in broken)


def test_strict_loading_raises_with_the_problems_of_all_broken_units(tmp_path: Path, local: EnvironmentSettings) -> None:
    write_unit(tmp_path, GOOD, "a.yml")
    write_unit(tmp_path, changed("tier: 2", "tier: 7"), "b.yml")
    write_unit(tmp_path, "- 1", "c.yml")
    with pytest.raises(ConfigError) as caught:
        load_units_strictly("airbyte", local, tmp_path)
    assert [problem.file for problem in caught.value.problems] == ["b.yml", "c.yml"]


def test_a_unit_is_absent_where_it_has_no_connection(tmp_path: Path, local: EnvironmentSettings) -> None:
    write_unit(tmp_path, GOOD, "a.yml")
    assert [unit.id for unit in load_units_strictly("airbyte", local, tmp_path)] == ["a"]
    assert load_units_strictly("airbyte", environment(Environment.QA), tmp_path) == ()


def test_an_unknown_unit_names_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"found 'nowhere'; allowed: .*mitxonline__app_postgres"):
        load_airbyte_unit("nowhere")


def test_a_unit_knows_its_tables() -> None:
    unit = load_airbyte_unit("mitxonline__app_postgres")
    assert unit.dag_id == "airbyte__mitxonline__app_postgres"
    assert unit.table_of(unit.streams[0]) == f"raw__mitxonline__app__postgres__{unit.streams[0].name}"


def test_warehouse_and_retired_load(tmp_path: Path) -> None:
    assert load_warehouse_unit().id == "warehouse"
    assert load_warehouse_unit(unit_id="warehouse_engagement").id == "warehouse_engagement"
    assert isinstance(load_retired(), tuple)
    (tmp_path / "warehouse.yml").write_text('owner: data-platform\ntier: 1\ndescription: x\nbackstop: "every hour"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"warehouse\.yml: backstop: found 'every hour'"):
        load_warehouse_unit(tmp_path)
