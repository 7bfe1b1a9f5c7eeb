"""No environment but production names anything of production's, and production nothing of another's: values, and all that is rendered.

The names are not listed here: they are read from ``include/units/environments.yml``.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.io.fsspec import FsspecFileIO
from pyiceberg.utils.config import Config

from include.config.files import UNITS
from include.lake.catalog import _configured
from tests.helm.charts import (
    ENVIRONMENTS,
    Values,
    airflow_deployed,
    merged,
    named,
    objects,
    platform_deployed,
    platform_objects,
    read,
    render,
    templated,
)

UNIT = read(UNITS / "environments.yml")


def names(environment: str) -> set[str]:
    """What an environment calls its own: catalog, schemas, hosts, buckets, channels."""
    of = UNIT[environment]
    lake = of["lake"]
    buckets = {address.split("/")[2] for address in (lake["warehouse"], of["work_root"]) if address.startswith("s3://")}
    found = {lake["catalog"], lake["schema_prefix"], lake["asset_host"], *buckets}
    return found | ({of["alerts"]["slack_channel"]} if of["alerts"]["slack_channel"] else set())


def foreign(environment: str) -> list[re.Pattern[str]]:
    """What must not occur in an environment: names of the other side of the fence, and its very word."""
    others = [other for other in ENVIRONMENTS if (other == "production") != (environment == "production")]
    theirs = set().union(*(names(other) for other in others)) - names(environment)
    words = ("qa", "branch") if environment == "production" else ("production",)
    patterns = [rf"(?<![\w.-]){re.escape(name)}(?![\w-])" for name in theirs]
    return [re.compile(pattern, re.IGNORECASE) for pattern in (*patterns, *(rf"(?<![a-z]){word}(?![a-z])" for word in words))]


def trespasses(environment: str, text: str) -> set[str]:
    return {match.group() for pattern in foreign(environment) for match in pattern.finditer(text)}


def everything(environment: str, folder: Path) -> str:
    """All values of the official chart as they are used, and all that our chart renders."""
    values = airflow_deployed(environment)
    used = {**values, **templated(values, folder)}  # the template of extraEnv itself names production, to refuse what it lacks there
    return json.dumps(used) + "\n" + "\n".join(render(platform_deployed(environment)).values())


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_nobody_names_what_is_beyond_the_fence(environment: str, tmp_path: Path) -> None:
    text = everything(environment, tmp_path)
    assert len(text) > 10_000
    assert trespasses(environment, text) == set()


def test_the_names_are_those_of_the_units() -> None:
    assert names("production") >= {"ol_data_lake_production", "ol_warehouse_production", "trino.ol.internal", "ol-data-lake-production"}
    assert names("branch") & names("qa") == {"ol_data_lake_qa", "ol_warehouse_qa", "trino.qa.ol.internal", "ol-data-platform-qa"}


@pytest.mark.parametrize(
    ("environment", "planted"),
    [
        ("qa", "s3://ol-data-lake-production/x"),
        ("qa", "trino.ol.internal"),
        ("branch", "PYICEBERG_CATALOG__OL_DATA_LAKE_PRODUCTION__TYPE"),
        ("local", "ol_warehouse_production_raw"),
        ("qa", "#notifications-data-platform"),
        ("qa", "airflow-Production-keys"),
        ("production", "trino.qa.ol.internal"),
        ("production", "s3://ol-data-platform-qa/airflow/logs"),
        ("production", "ol_data_lake_local"),
        ("production", "s3://ol-data-lake-branch"),
    ],
)
def test_a_planted_name_is_found(environment: str, planted: str, tmp_path: Path) -> None:
    assert trespasses(environment, json.dumps({"config": {"x": planted}})) != set()
    values = merged(platform_deployed(environment), {"lake": {"properties": {"type": "glue", "uri": None, "warehouse": planted}}})
    assert trespasses(environment, "\n".join(render(values).values())) != set()


def test_own_names_are_no_trespass() -> None:
    assert trespasses("qa", "trino.qa.ol.internal #notifications-data-platform-qa s3://ol-data-platform-qa/work") == set()
    assert trespasses("production", "trino.ol.internal #notifications-data-platform s3://ol-data-platform-production/work") == set()


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_one_cluster_marker_in_both_namespaces(environment: str) -> None:
    expected = "production" if environment == "production" else "shared"
    for namespace in ("ol-airflow", "ol-jobs"):
        assert named(platform_objects(environment), "ConfigMap", "ol-cluster", namespace)["data"] == {"name": expected}


# --- the lake as jobs find it -----------------------------------------------------------------------------------------------------


def lake(environment: str) -> dict[str, str]:
    return dict(named(platform_objects(environment), "ConfigMap", "ol-lake", "ol-jobs")["data"])


@pytest.mark.parametrize("environment", ["branch", "qa", "production"])
def test_jobs_find_the_trino_that_assets_name(environment: str) -> None:
    data, of = lake(environment), UNIT[environment]["lake"]
    assert (data["TRINO_HOST"], data["TRINO_PORT"], data["TRINO_CATALOG"]) == (of["asset_host"], str(of["asset_port"]), of["catalog"])
    assert data["TRINO_HTTP_SCHEME"] == "https"


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_pyiceberg_reads_the_variables(environment: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYICEBERG_HOME", str(tmp_path))
    for key, value in lake(environment).items():
        monkeypatch.setenv(key, value)
    of: dict[str, Any] = UNIT[environment]["lake"]
    assert Config().config  # pyiceberg took them at all
    found = _configured(of["catalog"])
    wanted = merged(read_properties(), platform_deployed(environment)["lake"]["properties"])
    assert found == {key: str(value) for key, value in wanted.items()}
    assert found["type"] == {"jdbc": "sql", "glue": "glue"}[of["kind"]]
    module, _, name = found["py-io-impl"].rpartition(".")
    assert issubclass(getattr(__import__(module, fromlist=[name]), name), FsspecFileIO), "the C++ file access has deadlocked in pods"


def read_properties() -> Values:
    from tests.helm.charts import PLATFORM

    return dict(read(PLATFORM / "values.yaml")["lake"]["properties"])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_logs_and_xcom_lie_beside_the_work(environment: str) -> None:
    values = airflow_deployed(environment)
    root = values["global"].get("workRoot", UNIT[environment]["work_root"])
    config = values["config"]
    for address in (config["logging"]["remote_base_log_folder"], config["common.io"]["xcom_objectstorage_path"].replace("object_store@", "")):
        assert address.split("/")[2] == root.split("/")[2]
    assert config["logging"]["remote_log_conn_id"] == "object_store"
    assert {one["name"] for one in values["apiServer"]["env"]} >= {
        "AIRFLOW_CONN_OBJECT_STORE",
        f"AIRFLOW_CONN_{UNIT[environment]['airbyte_connection'].upper()}",
    }


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_configmap_holds_a_secret(environment: str) -> None:
    looks = re.compile(r"://[^/\s:@]+:[^/\s@]+@|(?i:password|secret|access.?key)[^=\n]{0,20}[=:]\s*\S")
    for one in objects(platform_deployed(environment)):
        if one["kind"] == "ConfigMap":
            assert [value for value in one["data"].values() if looks.search(re.sub(r"(?m)^\s*;.*$", "", value))] == []
    assert not [one for one in platform_objects(environment) if one["kind"] == "Secret"]
    assert looks.search("postgresql://u:p@h/d")
    assert looks.search("password=x")
