"""Links lead somewhere, commands exist, and an example that is to be copied can be used as it is."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator

from include.config.environments import EnvironmentSettings, read_environment
from include.config.errors import ConfigError
from include.config.files import ROOT
from include.config.load import load_units_strictly
from include.config.openedx import OpenedxUnit
from include.config.vocabulary import Environment
from include.factories.airbyte import build_airbyte_dag
from include.factories.openedx import build_openedx_dags
from include.jobs.__main__ import JOBS, _Parser
from include.lake.manifest import load_warehouse
from include.operators.openedx import CourseExport
from include.pods.job import JobSpec
from include.pods.profiles import PROFILES
from include.pods.secrets import SecretRef

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


@pytest.fixture
def production() -> EnvironmentSettings:
    return read_environment({"OL_ENVIRONMENT": "production", "OL_CLUSTER": "production", "OL_IMAGE_TAG": "test", "OL_IMAGE_DIGESTS": DIGESTS})


def example_deployment(folder: Path, environment: EnvironmentSettings, **changes: str) -> OpenedxUnit:
    """The howto's unit file, read as it would be in ``include/units``; ``changes`` replace the value of a key's only line."""
    (text,) = blocks(ROOT / "docs/howto/add-an-open-edx-deployment.md", "yaml")
    assert text.startswith(f"# unit: {DEPLOYMENT}\n")
    for key, value in changes.items():
        text, times = re.subn(rf"^( *{key}: ).*$", rf"\g<1>{value}", text, flags=re.MULTILINE)
        assert times == 1, key
    (folder / "openedx").mkdir()
    (folder / "openedx" / f"{DEPLOYMENT}.yml").write_text(text, encoding="utf-8")
    (unit,) = load_units_strictly("openedx", environment, folder)
    assert isinstance(unit, OpenedxUnit)
    return unit


def dags_of(unit: OpenedxUnit, environment: EnvironmentSettings) -> dict[str, DAG]:
    return {dag_id: build() for dag_id, build in build_openedx_dags(unit, environment).items()}


def test_the_example_of_a_deployment_becomes_its_dags(tmp_path: Path, production: EnvironmentSettings) -> None:
    made = dags_of(example_deployment(tmp_path, production), production)
    assert set(made) == {f"openedx__{DEPLOYMENT}__{part}" for part in ("sweep", "course", "tracking_logs", "forum")}
    assert made[f"openedx__{DEPLOYMENT}__course"].get_task("export").pool == f"openedx_export_{DEPLOYMENT}"


# What the tasks before have told, as templates ask for it.
TOLD: dict[str, Any] = {
    "known": "s3://work/openedx-sweep/edge/1.json",
    "export": {"archive": "s3://landing/edge/1.xml.tar.gz", "published_version": "1", "retrieved_at": "2026-11-20T06:00:00+00:00"},
    "dump": '{"facts": {"dump": "s3://landing/edge/openedx/raw_data/forum/1"}}',
}


def jobs_of(task: BaseOperator) -> Iterator[JobSpec]:
    """The jobs that a task starts."""
    yield from task.jobs.values() if isinstance(task, CourseExport) else (spec for spec in [getattr(task, "spec", None)] if spec is not None)


def parsed(task: BaseOperator, spec: JobSpec) -> argparse.Namespace:
    """What the job's own parser makes of the command line, its templates filled in as at the task's start."""
    from airflow.sdk.execution_time import macros

    key = "2026-11-20" if task.dag_id.endswith("tracking_logs") else "course-v1:MITxT+6.00x+1T2026"
    run = SimpleNamespace(partition_key=key, run_type="scheduled")
    context: Any = {"ti": SimpleNamespace(xcom_pull=TOLD.__getitem__), "dag_run": run, "run_id": "manual__1", "macros": macros}
    _, _, _, job, *flags = task.render_template(spec.command("result.json"), context)
    parser = _Parser(prog=job)
    parser.add_argument("--result", type=Path, required=True)
    importlib.import_module(JOBS[job]).add_arguments(parser)
    return parser.parse_args(flags)


@pytest.mark.parametrize("forum", ["s3://dumps/edge/forum", "gs://dumps/edge/forum", "mongodb://mongo.edge.example.org:27017/forum"])
def test_every_job_of_the_example_takes_its_command_line(tmp_path: Path, production: EnvironmentSettings, forum: str) -> None:
    """Adding a deployment is adding a file: no job has a list of those it works for."""
    dags = dags_of(example_deployment(tmp_path, production, forum=forum), production)
    started = {(dag.dag_id, spec.job): parsed(task, spec) for dag in dags.values() for task in dag.tasks for spec in jobs_of(task)}
    jobs = {job for _, job in started}
    assert jobs == {"openedx-sweep", "course-export", "course-structure", "course-load", "tracking-logs", "forum-load"} | (
        {"forum-dump"} if forum.startswith("mongodb") else set()
    )
    assert {arguments.deployment for arguments in started.values()} == {DEPLOYMENT}


@pytest.mark.parametrize(("key", "job"), [("forum", "forum-load"), ("tracking_logs", "tracking-logs")])
def test_google_s_store_is_read_with_the_deployment_s_own_credentials(tmp_path: Path, production: EnvironmentSettings, key: str, job: str) -> None:
    unit = example_deployment(tmp_path, production, forum="gs://edge-dumps/dumps/forum")
    place = unit.sites[production.name].model_copy(update={"tracking_logs": "gs://edge-logs/logs"} if key == "tracking_logs" else {})
    unit = unit.model_copy(update={"sites": {production.name: place}})
    of_job = {spec.job: spec.secrets for dag in dags_of(unit, production).values() for task in dag.tasks for spec in jobs_of(task)}
    reference = SecretRef("GCS_CREDENTIALS", f"openedx-{DEPLOYMENT}", "gcs-credentials")
    assert reference in of_job[job]
    assert {name for name, refs in of_job.items() if reference in refs} == {"forum-load", job}


def test_learn_is_told_of_platforms_that_it_knows(tmp_path: Path, production: EnvironmentSettings) -> None:
    allowed = f"false for {DEPLOYMENT}; MIT Learn knows only mitxonline, xpro, mit_edx"
    with pytest.raises(ConfigError, match=f"{DEPLOYMENT}.yml: tells_learn: found True; allowed: {allowed}"):
        example_deployment(tmp_path, production, tells_learn="true")


def test_the_howto_of_a_deployment_names_what_has_to_be_registered(tmp_path: Path, production: EnvironmentSettings) -> None:
    text = (ROOT / "docs/howto/add-an-open-edx-deployment.md").read_text(encoding="utf-8")
    unit = example_deployment(tmp_path, production, forum="mongodb://mongo.edge.example.org/forum", tracking_logs="gs://edge-logs/logs")
    dags = dags_of(unit, production)
    export = dags[f"openedx__{DEPLOYMENT}__course"].get_task("export")
    specs = [spec for dag in dags.values() for task in dag.tasks for spec in jobs_of(task)]
    named_there = {ref.secret for spec in specs for ref in spec.secrets if DEPLOYMENT in ref.secret}
    named_there |= {ref.key for spec in specs for ref in spec.secrets if DEPLOYMENT in ref.secret}
    assert isinstance(export, CourseExport)
    for name in {export.pool, export.studio["connection_id"], *named_there}:
        assert f"`{name}`" in text, name


def test_the_table_of_profiles_is_what_jobs_get() -> None:
    text = (ROOT / "docs/howto/change-a-compute-profile.md").read_text(encoding="utf-8")
    rows = {row[0]: row[1:] for row in re.findall(r"^\| ([a-z]+) \| (\w+) \((\d+)\) \| (\w+) \| (\w+) \|$", text, re.MULTILINE)}
    assert rows == {profile.value: (of.cpu, of.cpu_limit, of.memory, of.disk) for profile, of in PROFILES.items()}
