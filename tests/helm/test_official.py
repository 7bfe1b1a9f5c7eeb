"""Our values of the official chart: what its schema, its known keys and the installed Airflow say about them."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest
from helm_python import HelmError
from jsonschema import Draft7Validator

from include.config.environments import read_environment
from include.config.files import ROOT
from include.config.vocabulary import Runtime
from tests.helm.charts import (
    AIRFLOW,
    ENVIRONMENTS,
    PLATFORM,
    Values,
    airflow_deployed,
    airflow_values,
    merged,
    named,
    official_defaults,
    official_schema,
    platform_objects,
    platform_values,
    read,
    templated,
)

OWN_KEYS = {"global"}  # Helm's own: shared values


def wrong_values(values: Values, schema: Values) -> list[str]:
    return [f"{'.'.join(map(str, error.absolute_path))}: {error.message}" for error in Draft7Validator(schema).iter_errors(values)]


def unknown_keys(values: Values, defaults: Values) -> set[str]:
    """The schema lets any top-level key pass, so a misspelt one would do nothing, silently."""
    return values.keys() - defaults.keys() - OWN_KEYS


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_values_keep_the_official_schema(environment: str, schema: Values, defaults: Values) -> None:
    for values in (airflow_values(environment), airflow_deployed(environment)):
        assert wrong_values(values, schema) == []
        assert unknown_keys(values, defaults) == set()


@pytest.mark.parametrize(
    "change",
    [
        {"scheduler": {"replica": 2}},
        {"scheduler": {"replicas": "two"}},
        {"executor": "kubernetes"},
        {"pgbouncer": {"enabled": "yes"}},
        {"workers": {"kubernetes": {"securityContexts": {"container": {"runAsRoot": False}}}}},
        {"enableBuiltInSecretEnvVars": {"AIRFLOW__CORE__FERNET": False}},
        {"dagProcessor": {"dagBundleConfigList": [{"name": "platform"}]}},
    ],
)
def test_a_wrong_value_is_refused(change: Values, schema: Values) -> None:
    assert wrong_values(merged(airflow_values("qa"), change), schema) != []


def test_a_misspelt_key_is_refused(defaults: Values) -> None:
    assert unknown_keys({**airflow_values("qa"), "apiserver": {}}, defaults) == {"apiserver"}


def test_without_the_chart_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OL_CHART_SCHEMA", raising=False)
    monkeypatch.delenv("OL_CHART_DEFAULTS", raising=False)
    for reader, variable in ((official_schema, "OL_CHART_SCHEMA"), (official_defaults, "OL_CHART_DEFAULTS")):
        with pytest.raises(pytest.fail.Exception, match=rf"{variable}.*helm pull apache-airflow/airflow --version 1.22.0"):
            reader.__wrapped__()


def repeated(over: Values, under: Values, path: str = "") -> Iterator[str]:
    """What an environment's file says although base.yaml says the same."""
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(under.get(key), dict):
            yield from repeated(value, under[key], f"{path}{key}.")
        elif key in under and under[key] == value:
            yield f"{path}{key}"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_an_environment_holds_only_what_differs(environment: str) -> None:
    base, own = read(AIRFLOW / "base.yaml"), read(AIRFLOW / f"{environment}.yaml")
    assert list(repeated(own, base)) == []
    assert list(repeated(merged(own, {"scheduler": {"labels": {"ol/role": "scheduler"}}}), base)) == ["scheduler.labels.ol/role"]


# --- airflow.cfg ------------------------------------------------------------------------------------------------------------------


def unknown_options(config: Values) -> list[str]:
    """Settings that the installed Airflow would not read: unknown, removed or renamed."""
    import cosmos.settings
    from airflow.cli.commands.config_command import CONFIGS_CHANGES
    from airflow.configuration import conf
    from airflow.providers.cncf.kubernetes import kubernetes_helper_functions

    known = conf.configuration_description
    undeclared = inspect.getsource(cosmos.settings) + inspect.getsource(kubernetes_helper_functions)  # what both read stands in their sources alone
    gone = {(old[0], old[1]) for old in conf.deprecated_options.values()}
    gone |= {(one.config.section, one.config.option) for one in CONFIGS_CHANGES if one.renamed_to or (one.was_removed and not one.default_change)}
    wrong = []
    for section, options in config.items():
        for option in options:
            declared = option in known.get(section, {}).get("options", {}) or f'"{section}", "{option}"' in undeclared
            if not declared or ((section, option) in gone and option not in known.get(section, {}).get("options", {})):
                wrong.append(f"{section}.{option}")
    return wrong


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_installed_airflow_knows_every_setting(environment: str) -> None:
    config = airflow_values(environment)["config"]
    assert {"core", "scheduler", "workers", "kubernetes_executor", "common.io"} <= config.keys()
    assert unknown_options(config) == []


@pytest.mark.parametrize(
    ("section", "option"),
    [("webserver", "base_url"), ("core", "sql_alchemy_conn"), ("workers", "missing_dag_retires"), ("scheduler", "idle_sleep"), ("cosmos", "telemetry")],
)
def test_a_setting_that_is_gone_is_found(section: str, option: str) -> None:
    assert unknown_options({section: {option: 1}}) == [f"{section}.{option}"]


def lint(config: Values, home: Path) -> str:
    """What ``airflow config lint`` says about a configuration."""
    written = RawConfigParser()
    written.read_dict({section: {option: str(value).replace("%", "%%") for option, value in options.items()} for section, options in config.items()})
    with (home / "airflow.cfg").open("w", encoding="utf-8") as file:
        written.write(file)
    command = [sys.executable, "-m", "airflow", "config", "lint"]
    variables = {"AIRFLOW_HOME": str(home), "HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT / "plugins")}
    variables["AIRFLOW__LOGGING__REMOTE_LOGGING"] = "False"  # what writes logs to S3 is in the image alone
    return subprocess.run(command, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False).stdout


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_airflow_finds_nothing_to_change(environment: str, tmp_path: Path) -> None:
    config = templated(airflow_deployed(environment), tmp_path)["config"]
    assert "No issues found in your airflow.cfg" in lint(config, tmp_path)


def test_airflow_finds_a_setting_that_moved(tmp_path: Path) -> None:
    found = lint({"scheduler": {"dag_dir_list_interval": 300}, "core": {"parallelism": 8}}, tmp_path)
    assert "dag_dir_list_interval" in found
    assert "parallelism" not in found


# reference/targets.md C-3: the settings that carry the guarantees
GUARANTEES = {
    ("core", "max_consecutive_failed_dag_runs_per_dag"): 5,
    ("scheduler", "scheduler_idle_sleep_time"): 0.05,
    ("scheduler", "orphaned_tasks_check_interval"): 30,
    ("scheduler", "task_instance_heartbeat_timeout"): 90,
    ("scheduler", "task_queued_timeout"): 300,
    ("kubernetes_executor", "worker_pods_creation_batch_size"): 16,
    ("workers", "execution_api_retries"): 25,
    ("workers", "execution_api_retry_wait_max"): 10,
    ("workers", "min_heartbeat_interval"): 5,
    ("workers", "max_failed_heartbeats"): 12,
    ("triggerer", "job_heartbeat_sec"): 2,
    ("triggerer", "triggerer_health_check_threshold"): 8,
    ("database", "sql_alchemy_pool_pre_ping"): "True",
    ("state_store", "default_retention_days"): 400,
}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_settings_that_carry_guarantees(environment: str) -> None:
    config = airflow_values(environment)["config"]
    assert {(section, option): config[section][option] for section, option in GUARANTEES} == GUARANTEES
    bears = config["workers"]["min_heartbeat_interval"] * config["workers"]["max_failed_heartbeats"]
    assert config["scheduler"]["task_instance_heartbeat_timeout"] > bears, "a scheduler must not take back a task that still bears the outage"
    retries, longest = config["workers"]["execution_api_retries"], config["workers"]["execution_api_retry_wait_max"]
    pauses = [(1 + min(longest, 2**number)) / 2 for number in range(retries - 1)]  # the mean of each: Airflow waits a random time between
    assert sum(pauses) > 115, "a task bears two minutes without an API server"


def test_airflow_cfg_and_the_charts_agree() -> None:
    """What the laptop and the clusters both set is the same, unless the difference is written down here."""
    import configparser

    differ = {
        "core.executor",  # a cluster has pods
        "core.parallelism",
        "core.auth_manager",
        "core.xcom_backend",  # a cluster has an object store for large ones
        "scheduler.scheduler_idle_sleep_time",  # a laptop's scheduler has no core of its own
        "scheduler.task_instance_heartbeat_timeout",  # a laptop has no minute of outage to bear
        "dag_processor.min_file_process_interval",
    }
    parser = configparser.ConfigParser()
    parser.read(ROOT / "airflow.cfg", encoding="utf-8")
    laptop = {f"{section}.{option}": parser[section][option] for section in parser.sections() for option in parser[section]}
    cluster = {f"{section}.{option}": str(value) for section, options in airflow_values("production")["config"].items() for option, value in options.items()}
    assert {key for key in laptop.keys() & cluster.keys() if laptop[key] != cluster[key]} <= differ


def test_numbers_survive_helm(tmp_path: Path) -> None:
    """Helm reads numbers as floats and writes a million as 1e+06."""
    for environment in ENVIRONMENTS:
        filled = templated(airflow_deployed(environment), tmp_path)["config"]
        config = airflow_values(environment)["config"]
        for section, options in config.items():
            for option, value in options.items():
                if isinstance(value, (int, float)):
                    assert filled[section][option] == str(value), f"{section}.{option}"


# --- what an environment's pods are told ---------------------------------------------------------------------------------------------


def told(values: Values, environment: str, folder: Path) -> dict[str, str]:
    """The variables of Airflow's containers, with the marker as the platform's chart puts it into the cluster."""
    variables: list[dict[str, Any]] = templated(values, folder)["extraEnv"]
    (marker,) = [one for one in variables if "valueFrom" in one]
    reference = marker["valueFrom"]["configMapKeyRef"]
    cluster = named(platform_objects(environment), "ConfigMap", reference["name"], "ol-airflow")
    return {**{one["name"]: one["value"] for one in variables if "value" in one}, marker["name"]: cluster["data"][reference["key"]]}


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_airflow_finds_itself_in_its_environment(environment: str, tmp_path: Path) -> None:
    settings = read_environment(told(airflow_deployed(environment), environment, tmp_path))
    assert settings.name.value == environment == platform_values(environment)["environment"]
    assert settings.runtime is Runtime.POD
    assert settings.image("jobs").rpartition("@" if settings.image_digests else ":")[2]
    # where there are no schedules the DAGs have none (policies.cron); this switch would also end the runs that follow assets
    assert "use_job_schedule" not in airflow_values(environment)["config"]["scheduler"]
    edges = platform_values(environment)["edges"]
    # a DAG's on_failure_callback runs in the DAG processor
    assert {role for role, reach in edges.items() if "slack" in reach} == ({"dag-processor"} if settings.alerts.slack_channel else set())


@pytest.mark.parametrize(
    ("environment", "change", "reason"),
    [
        ("qa", {"images": {"airflow": {"tag": None}}}, "images.airflow.tag is given at deploy"),
        ("qa", {"global": {"environment": None}}, "use one of the environment files"),
        ("production", {"images": {"airflow": {"tag": "2026.11.20-3f2a1c0"}}}, "images.airflow.tag is 2026.11.20-3f2a1c0; allowed: <tag>@sha256:<digest>"),
        ("production", {"global": {"digests": None}}, "global.digests.{dbt,jobs,openedx} are given at deploy: production runs digests"),
        ("production", {"global": {"digests": {"jobs": None}}}, "global.digests.jobs is given at deploy"),
        ("qa", {"global": {"url": None}}, "global.url is given at deploy"),
        ("branch", {"global": {"schemaSuffix": None}}, "global.schemaSuffix is given at deploy"),
    ],
)
def test_what_a_deployment_forgets_is_named(environment: str, change: Values, reason: str, tmp_path: Path) -> None:
    with pytest.raises(HelmError, match=reason):
        templated(merged(airflow_deployed(environment), change), tmp_path)


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_versions(environment: str) -> None:
    values = airflow_values(environment)
    requirements = (ROOT / "requirements.in").read_text(encoding="utf-8").splitlines()
    assert f"apache-airflow=={values['airflowVersion']}" in requirements
    assert values["images"] == {"airflow": {"repository": "ol-data-platform/airflow"}}, "tags are given at deploy"
    assert values["executor"].split(",")[0] == "KubernetesExecutor"


def test_workers_find_the_api_server(tmp_path: Path) -> None:
    config = templated(airflow_deployed("qa"), tmp_path)["config"]
    assert config["core"]["execution_api_server_url"] == "http://airflow-api-server:8080/execution/"


def test_every_environment_has_its_files() -> None:
    expected = {f"{environment}.yaml" for environment in ENVIRONMENTS}
    assert {path.name for path in AIRFLOW.iterdir()} == expected | {"base.yaml"}
    assert {path.name for path in (PLATFORM / "environments").iterdir()} == expected
