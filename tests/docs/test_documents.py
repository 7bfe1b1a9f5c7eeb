"""Links lead somewhere, commands exist, and an example that is to be copied can be used as it is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from include.config.environments import read_environment
from include.config.files import ROOT
from include.config.load import load_units_strictly
from include.config.vocabulary import Environment
from include.factories.airbyte import build_airbyte_dag
from include.factories.openedx import build_openedx_dags
from include.lake.manifest import load_warehouse
from include.pods.profiles import PROFILES

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#]+)")
MAKE = re.compile(r"\bmake (?:-s )?([a-z][a-z-]*)((?: [A-Z]+=\S+)*)")


def blocks(path: Path, language: str) -> list[str]:
    return [text for name, text in BLOCK.findall(path.read_text(encoding="utf-8")) if name == language]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_links_lead_somewhere(path: Path) -> None:
    links = LINK.findall(path.read_text(encoding="utf-8"))
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_commands_are_there(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    models = {model.name for model in load_warehouse().models}
    code = " ".join([*blocks(path, "sh"), *re.findall(r"`([^`\n]+)`", path.read_text(encoding="utf-8"))])
    for target, settings in MAKE.findall(code):
        assert target in targets, f"make {target}"
        for model in re.findall(r"M=(\w+)", settings):
            assert model in models, f"make {target} M={model}"


def test_documents_hold_commands() -> None:
    """The test above looks for something that is there."""
    assert len([found for path in DOCUMENTS for found in MAKE.findall(path.read_text(encoding="utf-8"))]) > 10


def test_files_and_folders_in_documents_exist() -> None:
    place = re.compile(r"`((?:include|dags|docs|benchmarks|tests|plugins)/[\w./-]+)`")
    missing = {f"{named(path)}: {found}" for path in DOCUMENTS for found in place.findall(path.read_text(encoding="utf-8")) if not (ROOT / found).exists()}
    examples = {
        f"docs/howto/add-an-airbyte-connection.md: include/units/airbyte/{EXAMPLE}.yml",
        f"docs/howto/add-an-open-edx-deployment.md: include/units/openedx/{DEPLOYMENT}.yml",
    }
    assert missing - examples == set()


EXAMPLE = "bootcamps__app_postgres"
DEPLOYMENT = "edge"
DIGESTS = ",".join(f"{image}=sha256:{'0' * 64}" for image in ("jobs", "dbt", "openedx"))


def test_the_example_of_a_connection_becomes_its_dag(tmp_path: Path) -> None:
    (text,) = blocks(ROOT / "docs/howto/add-an-airbyte-connection.md", "yaml")
    assert text.startswith(f"# unit: {EXAMPLE}\n")
    (tmp_path / "airbyte").mkdir()
    (tmp_path / "airbyte" / f"{EXAMPLE}.yml").write_text(text, encoding="utf-8")
    environment = read_environment({"OL_ENVIRONMENT": Environment.LOCAL.value})
    (unit,) = load_units_strictly("airbyte", environment, tmp_path)
    dag = build_airbyte_dag(unit, environment, load_warehouse())
    assert dag.dag_id == f"airbyte__{EXAMPLE}"
    assert set(dag.task_ids) >= {"sync", "verify"}
    assert [outlet.uri.rpartition("/")[2] for outlet in dag.get_task("verify").outlets] == ["raw__bootcamps__app__postgres__applications_application"]


def test_the_example_of_a_deployment_becomes_its_dags(tmp_path: Path) -> None:
    (text,) = blocks(ROOT / "docs/howto/add-an-open-edx-deployment.md", "yaml")
    assert text.startswith(f"# unit: {DEPLOYMENT}\n")
    (tmp_path / "openedx").mkdir()
    (tmp_path / "openedx" / f"{DEPLOYMENT}.yml").write_text(text, encoding="utf-8")
    production = {"OL_ENVIRONMENT": "production", "OL_CLUSTER": "production", "OL_IMAGE_TAG": "test", "OL_IMAGE_DIGESTS": DIGESTS}
    environment = read_environment(production)
    (unit,) = load_units_strictly("openedx", environment, tmp_path)
    made = {dag_id: build() for dag_id, build in build_openedx_dags(unit, environment).items()}
    assert set(made) == {f"openedx__{DEPLOYMENT}__{part}" for part in ("sweep", "course", "tracking_logs", "forum")}
    assert made[f"openedx__{DEPLOYMENT}__course"].get_task("export").pool == f"openedx_export_{DEPLOYMENT}"


def test_the_table_of_profiles_is_what_jobs_get() -> None:
    text = (ROOT / "docs/howto/change-a-compute-profile.md").read_text(encoding="utf-8")
    rows = {row[0]: row[1:] for row in re.findall(r"^\| ([a-z]+) \| (\w+) \((\d+)\) \| (\w+) \| (\w+) \|$", text, re.MULTILINE)}
    assert rows == {profile.value: (of.cpu, of.cpu_limit, of.memory, of.disk) for profile, of in PROFILES.items()}
