"""Parsing all DAG files: no network, no database, quick, the same under every hash seed, and no unit can hurt another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from include.config.files import ROOT
from include.config.load import load_branches_unit, load_learn_webhooks_unit, load_maintenance_unit, load_pointers_unit, load_units_strictly
from tests.dags.collected import BROKEN, ENVIRONMENTS, FILES, WANTED, canonical, dags_of, in_detail, settings_of, under_both_seeds

PARTS = ("sweep", "course", "tracking_logs", "forum")
SECONDS = 2.0
NOISE = 10  # how much longer a parse may take by the clock, on a machine that does other things too


def case(name: str) -> dict[str, Any]:
    found: dict[str, Any] = in_detail()["cases"][name]
    return found


def file_of(found: dict[str, Any], name: str) -> dict[str, Any]:
    """What one file gave, by its name alone."""
    (told,) = [told for path, told in found["files"].items() if Path(path).name == name]
    return dict(told)


def expected_ids(name: str) -> set[str]:
    """The DAGs that an environment's units ask for."""
    settings = settings_of(name)
    connections = {unit.dag_id for unit in load_units_strictly("airbyte", settings)}
    units = load_units_strictly("openedx", settings)
    deployments = {f"openedx__{unit.id}__{part}" for unit in units for part in PARTS if part != "forum" or unit.sites[settings.name].forum}
    care = load_maintenance_unit()
    single = {
        "learn_webhooks": load_learn_webhooks_unit(),
        "maintain__pointers": load_pointers_unit(),
        "branches": load_branches_unit(),
        **dict.fromkeys(care.dag_ids, care),
    }
    return {*connections, *deployments, "warehouse", "warehouse_engagement", *(name for name, unit in single.items() if settings.name in unit.environments)}


def test_airflow_finds_the_dag_files_and_no_others() -> None:
    assert len(FILES) >= 2
    assert case("local")["discovered"] == [str(path) for path in FILES]


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_no_file_has_an_import_error_or_a_warning(name: str) -> None:
    found = case(name)
    assert len(found["files"]) == len(FILES)
    assert found["errors"] == {}
    assert {file: told["warnings"] for file, told in found["files"].items() if told["warnings"]} == {}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_parsing_reaches_for_nothing_outside_the_process(name: str) -> None:
    assert case(name)["violations"] == []


def test_the_guard_sees_every_reach_even_a_swallowed_one() -> None:
    found = case("probe")
    seen = {violation.partition("(")[0] for violation in found["violations"]}
    assert seen == {"socket.getaddrinfo", "sqlite3.connect", "psycopg.connect", "psycopg2.connect", "subprocess.Popen", "os.system"}
    assert sum(violation.startswith("socket.getaddrinfo") for violation in found["violations"]) == 2
    assert set(found["dags"]) == {"probe_refused"}, "Airflow's own database sessions must be closed while files are parsed"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_file_is_parsed_in_two_seconds(name: str) -> None:
    """After Airflow's own imports, with nothing of ours imported before: best of three, in processor seconds, which other programs do not lengthen."""
    files = case(name)["files"]
    assert {file: told["cpu_seconds"] for file, told in files.items() if told["cpu_seconds"] > SECONDS} == {}
    assert {file: told["wall_seconds"] for file, told in files.items() if told["wall_seconds"] > SECONDS * NOISE} == {}, "waiting for something?"


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_serialised_dags_do_not_depend_on_the_hash_seed(name: str) -> None:
    one, other = (answer["cases"][name]["dags"] for answer in under_both_seeds())
    assert one
    assert one.keys() == other.keys()
    assert [dag_id for dag_id in one if canonical(one[dag_id]) != canonical(other[dag_id])] == []


def test_a_dag_that_depends_on_the_hash_seed_is_noticed() -> None:
    one, other = (answer["cases"]["unsorted"]["dags"]["unsorted"] for answer in under_both_seeds())
    assert canonical(one) != canonical(other)


def test_airflow_s_own_check_finds_no_growing_versions() -> None:
    told = {Path(file).name: warnings for file, warnings in in_detail()["stability"].items()}
    assert "datetime.now()" in told.pop("unstable.py"), "the check finds what it is for"
    assert told == dict.fromkeys((path.name for path in FILES), None)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_each_unit_is_one_dag_and_each_dag_a_unit(name: str) -> None:
    assert set(dags_of(name)) == expected_ids(name)


def test_ids_do_not_name_the_environment() -> None:
    assert set(dags_of("local")) == set(dags_of("qa"))
    assert set(dags_of("qa")) - {"branches"} == set(dags_of("production")), "production has no clones"
    assert set(dags_of("branch")) == {"warehouse", "warehouse_engagement"}, "a branch has no connections of its own"


def test_a_task_s_start_builds_only_its_dag() -> None:
    found = case("wanted")
    assert file_of(found, "airbyte.py")["dag_ids"] == [WANTED]
    assert canonical(found["dags"][WANTED]) == canonical(dags_of("local")[WANTED])


def test_a_broken_unit_is_a_diagnostic_dag_and_hurts_no_other() -> None:
    found, whole = case("broken"), dags_of("local")
    broken = f"airbyte__{BROKEN}"
    assert found["errors"] == {}
    assert set(found["dags"]) == set(whole)
    for dag_id in whole.keys() - {broken}:
        assert canonical(found["dags"][dag_id]) == canonical(whole[dag_id])
    dag = found["dags"][broken]["serialized"]["dag"]
    assert dag["tags"] == ["config:broken"]
    assert "schedule" not in dag
    assert [task["__var"]["task_id"] for task in dag["tasks"]] == ["configuration"]
    for part in (f"airbyte/{BROKEN}.yml", "owner", "'nobody'", "'data-platform' or 'analytics-engineering'"):
        assert part in dag["doc_md"]


def test_without_a_manifest_every_dag_that_needs_one_says_so_under_its_own_id() -> None:
    found = case("no manifest")
    assert found["errors"] == {}
    assert set(found["dags"]) == set(dags_of("local"))
    elsewhere = ("openedx__", "learn_webhooks", "maintain__", "branches")
    needs = {dag_id: dag for dag_id, dag in found["dags"].items() if not dag_id.startswith(elsewhere)}
    assert needs
    for dag in needs.values():
        assert dag["serialized"]["dag"]["tags"] == ["config:broken"]
        assert "dbt's manifest; for example: make setup" in dag["serialized"]["dag"]["doc_md"]


def test_dag_files_are_where_airflow_looks() -> None:
    """Airflow reads only files that speak of airflow and of a dag or an asset."""
    for path in FILES:
        text = path.read_text(encoding="utf-8").lower()
        assert "airflow" in text, path.relative_to(ROOT)
        assert "dag" in text or "asset" in text, path.relative_to(ROOT)
