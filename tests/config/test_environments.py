"""Which environment a process is in: every combination of the variables is either one of the four or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from include.config import environments
from include.config.environments import LakeConnection, current_environment, lake_connection, read_environment
from include.config.errors import ConfigError
from include.config.files import ROOT, UNITS
from include.config.services import airbyte_application, openedx_application
from include.config.vocabulary import Environment, Granularity, Layer, Runtime

TAG = "2026.11.20-3f2a1c0"
DIGESTS = "dbt=sha256:" + "0d" * 32 + ",jobs=sha256:" + "0f" * 32 + ",openedx=sha256:" + "0e" * 32
# OL_ENVIRONMENT, OL_CLUSTER, OL_SCHEMA_SUFFIX (None: not set) → the environment, or the variable that is refused
COMBINATIONS: tuple[tuple[str | None, str | None, str | None, str], ...] = (
    (None, None, None, "local"),
    (None, None, "pr_1", "local"),
    (None, "qa", None, "local"),
    (None, "production", None, "OL_CLUSTER"),
    ("local", None, None, "local"),
    ("local", None, "anna", "local"),
    ("local", "production", None, "OL_CLUSTER"),
    ("branch", None, None, "OL_SCHEMA_SUFFIX"),
    ("branch", None, "", "OL_SCHEMA_SUFFIX"),
    ("branch", None, "pr_1523", "branch"),
    ("branch", "qa", "pr_1523", "branch"),
    ("branch", "production", "pr_1523", "OL_CLUSTER"),
    ("branch", None, "PR-1523", "OL_SCHEMA_SUFFIX"),
    ("branch", None, "1523", "OL_SCHEMA_SUFFIX"),
    ("branch", None, "a" * 32, "OL_SCHEMA_SUFFIX"),
    ("branch", None, 'x"; drop', "OL_SCHEMA_SUFFIX"),
    ("qa", None, None, "qa"),
    ("qa", "qa", None, "qa"),
    ("qa", None, "pr_1", "qa"),
    ("qa", "production", None, "OL_CLUSTER"),
    ("production", None, None, "OL_CLUSTER"),
    ("production", "", None, "OL_CLUSTER"),
    ("production", "qa", None, "OL_CLUSTER"),
    ("production", "Production", None, "OL_CLUSTER"),
    ("production", "production", None, "production"),
    ("production", "production", "", "production"),
    ("production", "production", "pr_1", "OL_SCHEMA_SUFFIX"),
    ("prod", None, None, "OL_ENVIRONMENT"),
    ("PRODUCTION", "production", None, "OL_ENVIRONMENT"),
    ("", None, None, "OL_ENVIRONMENT"),
    ("dev", "production", "pr_1", "OL_ENVIRONMENT"),
)


def variables(environment: str | None, cluster: str | None, suffix: str | None) -> dict[str, str]:
    named = {"OL_ENVIRONMENT": environment, "OL_CLUSTER": cluster, "OL_SCHEMA_SUFFIX": suffix, "OL_IMAGE_TAG": TAG, "OL_IMAGE_DIGESTS": DIGESTS}
    return {name: value for name, value in named.items() if value is not None}


@pytest.mark.parametrize(("environment", "cluster", "suffix", "expected"), COMBINATIONS)
def test_every_combination_is_an_environment_or_refused(environment: str | None, cluster: str | None, suffix: str | None, expected: str) -> None:
    environ = variables(environment, cluster, suffix)
    if expected.startswith("OL_"):
        with pytest.raises(ConfigError) as caught:
            read_environment(environ)
        (problem,) = caught.value.problems
        assert (problem.file, problem.key) == ("environment variables", expected)
        assert problem.found
        assert problem.allowed
        return
    settings = read_environment(environ)
    assert settings.name == expected
    assert settings.schema_suffix == (suffix or "")


def test_the_table_reaches_every_environment_and_every_refusal() -> None:
    assert {row[3] for row in COMBINATIONS} == {*(name.value for name in Environment), "OL_ENVIRONMENT", "OL_CLUSTER", "OL_SCHEMA_SUFFIX"}


def test_environments_yml_has_exactly_the_known_environments() -> None:
    found = yaml.safe_load((UNITS / "environments.yml").read_text(encoding="utf-8"))
    assert set(found) == {name.value for name in Environment}


def test_a_suffix_marks_every_schema_but_raw() -> None:
    settings = read_environment(variables("branch", None, "pr_7"))
    assert settings.schema_for(Layer.RAW) == "ol_warehouse_qa_raw"
    for layer in set(Layer) - {Layer.RAW}:
        assert settings.schema_for(layer) == f"ol_warehouse_qa_{layer.value}_pr_7"


def test_schemas_without_a_suffix() -> None:
    assert read_environment({}).schema_for(Layer.REPORTING) == "ol_warehouse_local_reporting"


def test_overrides() -> None:
    settings = read_environment({"OL_GRANULARITY": "area", "OL_WORK_ROOT": "s3://bucket/work"})
    assert (settings.granularity, settings.work) == (Granularity.AREA, "s3://bucket/work")
    assert read_environment({}).work == str(ROOT / ".platform/work")
    with pytest.raises(ConfigError, match=r"granularity: found 'task'; allowed: 'model' or 'area'"):
        read_environment({"OL_GRANULARITY": "task"})


def test_a_laptop_may_use_the_catalog_of_somebody_elses_trino() -> None:
    assert read_environment({"TRINO_CATALOG": "lake"}).lake.catalog == "lake"
    assert read_environment({"OL_ENVIRONMENT": "qa", "OL_IMAGE_TAG": TAG, "TRINO_CATALOG": "lake"}).lake.catalog == "ol_data_lake_qa"
    with pytest.raises(ConfigError, match=r"catalog: found 'a\.b'"):
        read_environment({"TRINO_CATALOG": "a.b"})


def test_a_laptop_may_run_its_jobs_in_a_cluster() -> None:
    settings = read_environment({"OL_RUNTIME": "pod", "OL_IMAGE_TAG": TAG})
    assert (settings.runtime, settings.image("jobs")) == (Runtime.POD, f"ol-data-platform/jobs:{TAG}")
    with pytest.raises(ConfigError, match="OL_IMAGE_TAG"):
        read_environment({"OL_RUNTIME": "pod"})
    with pytest.raises(ConfigError, match="OL_RUNTIME: found 'docker'; allowed: pod, process"):
        read_environment({"OL_RUNTIME": "docker"})


@pytest.mark.parametrize("name", ["branch", "qa", "production"])
def test_other_environments_run_their_jobs_in_pods_and_nothing_else(name: str) -> None:
    given = variables(name, "production" if name == "production" else None, "pr_1" if name == "branch" else None)
    with pytest.raises(ConfigError, match="only on a laptop is there a choice"):
        read_environment({**given, "OL_RUNTIME": "process"})


def test_an_environment_that_the_file_does_not_know_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "environments.yml").write_text("local: {}\n", encoding="utf-8")
    monkeypatch.setattr(environments, "UNITS", tmp_path)
    with pytest.raises(ConfigError, match="qa: found None; allowed: an entry for qa"):
        read_environment({"OL_ENVIRONMENT": "qa"})


@pytest.mark.parametrize("name", list(Environment))
def test_what_each_environment_promises(name: Environment) -> None:
    cluster, suffix = "production" if name is Environment.PRODUCTION else None, "pr_1" if name is Environment.BRANCH else None
    settings = read_environment(variables(name.value, cluster, suffix))
    assert settings.pools
    if name is Environment.PRODUCTION:
        assert settings.alerts.slack_channel, "failures in production are told to somebody"
        assert settings.schedules
    if name is Environment.LOCAL:
        assert settings.lake.kind == "jdbc"
    else:
        assert settings.lake.warehouse.startswith("s3://")


def test_no_two_environments_share_a_place() -> None:
    """A branch reads the lake of QA; its own storage, and everything of all others, is theirs alone."""
    data = yaml.safe_load((UNITS / "environments.yml").read_text(encoding="utf-8"))
    for place in (lambda one: one["lake"]["warehouse"], lambda one: one["work_root"]):
        places = [place(one) for one in data.values()]
        assert len(set(places)) == len(places), places
    assert len({one["lake"]["catalog"] for name, one in data.items() if name != "branch"}) == len(data) - 1


def test_current_environment_reads_the_process_once(monkeypatch: pytest.MonkeyPatch) -> None:
    current_environment.cache_clear()
    try:
        for name in ("OL_CLUSTER", "OL_SCHEMA_SUFFIX", "OL_GRANULARITY", "OL_WORK_ROOT"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("OL_ENVIRONMENT", "qa")
        monkeypatch.setenv("OL_IMAGE_TAG", TAG)
        assert current_environment().name is Environment.QA
        monkeypatch.setenv("OL_ENVIRONMENT", "local")
        assert current_environment().name is Environment.QA
    finally:
        current_environment.cache_clear()


def test_lake_connection() -> None:
    full = {"TRINO_HOST": "trino.example.org", "TRINO_PORT": "443", "TRINO_USER": "anna", "TRINO_CATALOG": "lake", "TRINO_HTTP_SCHEME": "https"}
    assert lake_connection(full) == LakeConnection(host="trino.example.org", port=443, user="anna", catalog="lake", http_scheme="https")
    with_login = lake_connection({**full, "DBT_ENV_SECRET_TRINO_PASSWORD": "geheim"})
    assert with_login.password.get_secret_value() == "geheim"
    assert "geheim" not in repr(with_login)
    with pytest.raises(ConfigError, match="TRINO_HOST"):
        lake_connection({})
    with pytest.raises(ConfigError, match="TRINO_PORT: found 'https'"):
        lake_connection({**full, "TRINO_PORT": "https"})


@pytest.mark.parametrize("tag", [None, "", "latest", "a b", "sha256:12", "x" * 129])
def test_pods_need_the_version_of_their_images(tag: str | None) -> None:
    given = {} if tag is None else {"OL_IMAGE_TAG": tag}
    with pytest.raises(ConfigError, match="OL_IMAGE_TAG"):
        read_environment({"OL_ENVIRONMENT": "qa", **given})


def test_images() -> None:
    qa = {"OL_ENVIRONMENT": "qa", "OL_IMAGE_TAG": TAG}
    assert read_environment(qa).image("dbt") == f"ol-data-platform/dbt:{TAG}"
    digest = "sha256:" + "0f" * 32
    known = read_environment({**qa, "OL_IMAGE_DIGESTS": f"jobs={digest}"})
    assert (known.image("jobs"), known.image("dbt")) == (f"ol-data-platform/jobs@{digest}", f"ol-data-platform/dbt:{TAG}")


@pytest.mark.parametrize("text", ["jobs", "jobs=latest", "jobs=sha256:12", "tools=sha256:" + "0f" * 32, "jobs=sha256:" + "0f" * 32 + ",dbt"])
def test_a_digest_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"OL_IMAGE_DIGESTS: found .*; allowed: a digest for each of jobs, dbt, openedx"):
        read_environment({"OL_ENVIRONMENT": "qa", "OL_IMAGE_TAG": TAG, "OL_IMAGE_DIGESTS": text})


def test_production_runs_only_what_is_known_by_its_digest() -> None:
    given = variables("production", "production", None)
    with pytest.raises(ConfigError, match="in production all must be known"):
        read_environment({**given, "OL_IMAGE_DIGESTS": ""})


def test_airbyte_application() -> None:
    found = airbyte_application({"AIRBYTE_CLIENT_ID": "a", "AIRBYTE_CLIENT_SECRET": "b"})
    assert (found.client_id, found.client_secret.get_secret_value()) == ("a", "b")
    with pytest.raises(ConfigError, match="AIRBYTE_CLIENT_SECRET"):
        airbyte_application({"AIRBYTE_CLIENT_ID": "a"})


def test_openedx_application() -> None:
    assert openedx_application({"OPENEDX_CLIENT_ID": "a", "OPENEDX_CLIENT_SECRET": "b"}) == ("a", "b")
    for given in ({"OPENEDX_CLIENT_ID": "a"}, {"OPENEDX_CLIENT_ID": "a", "OPENEDX_CLIENT_SECRET": ""}):
        with pytest.raises(ConfigError, match="OPENEDX_CLIENT_SECRET: found nothing"):
            openedx_application(given)
