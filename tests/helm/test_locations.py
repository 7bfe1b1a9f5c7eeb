"""What the charts say of code locations and of secrets is what ``include/units`` says; a difference would be found by a task that fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.dag_processing.bundles.manager import _parse_bundle_config

from include.config.environments import EnvironmentSettings, read_environment
from include.config.locations import SHARED, bundles, locations
from tests.dags.collected import DIGESTS, TAG
from tests.helm.charts import ENVIRONMENTS, airflow_deployed, airflow_values, merged, platform_values, templated
from tests.helm.test_official import told

KWARG = "AIRFLOW__SECRETS__BACKEND_KWARG__LOCATIONS"
# Whose secrets each component reads; a worker's pod what its task's location has.
READS = {"scheduler": "platform,shared", "triggerer": "platform,shared", "apiServer": None, "dagProcessor": None}


def settings(environment: str, folder: Path) -> EnvironmentSettings:
    return read_environment(told(airflow_deployed(environment), environment, folder))


def rendered(environment: str, folder: Path, **change: Any) -> dict[str, Any]:
    return dict(templated(merged(airflow_deployed(environment), change), folder)["config"])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_bundles_are_the_locations(environment: str, tmp_path: Path) -> None:
    release = {"OL_IMAGE_TAG": TAG}
    if environment in {"qa", "production"}:
        release["OL_IMAGE_DIGESTS"] = ",".join(f"{key}={digest}" for key, digest in sorted(DIGESTS.items()))
    found = json.loads(rendered(environment, tmp_path)["dag_processor"]["dag_bundle_config_list"])
    assert found == bundles(settings(environment, tmp_path), root="/opt/platform", release=release)
    assert [bundle.name for bundle in _parse_bundle_config(found)] == list(locations())


def test_a_location_that_the_chart_lacks_is_found(tmp_path: Path) -> None:
    only = airflow_values("qa")["dagProcessor"]["dagBundleConfigList"][:1]
    found = json.loads(rendered("qa", tmp_path, dagProcessor={"dagBundleConfigList": only})["dag_processor"]["dag_bundle_config_list"])
    assert found != bundles(settings("qa", tmp_path), root="/opt/platform", release={"OL_IMAGE_TAG": TAG})


def test_a_bundle_of_another_kind_is_left_as_it_is(tmp_path: Path) -> None:
    own = {"name": "own", "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle", "kwargs": {"path": "/opt/own"}}
    listed = airflow_values("qa")["dagProcessor"]["dagBundleConfigList"]
    found = json.loads(rendered("qa", tmp_path, dagProcessor={"dagBundleConfigList": [*listed, own]})["dag_processor"]["dag_bundle_config_list"])
    assert found[-1] == own
    assert all(bundle["kwargs"]["releases"] for bundle in found[:-1])


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_secrets_come_from_where_the_environment_keeps_them(environment: str, tmp_path: Path) -> None:
    config = rendered(environment, tmp_path)
    backend = settings(environment, tmp_path).secrets_backend
    assert backend == (config["secrets"]["backend"], json.loads(config["secrets"]["backend_kwargs"]))
    store = platform_values(environment)["secretStore"]
    assert store["source"] == settings(environment, tmp_path).secrets.source
    if store["source"] == "kubernetes":
        assert store["root"] == settings(environment, tmp_path).secrets.root


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_each_component_reads_its_own(environment: str) -> None:
    values = airflow_values(environment)
    found = {block: next((one["value"] for one in values[block]["env"] if one["name"] == KWARG), None) for block in READS}
    assert found == READS
    readers = {"shared": {"scheduler", "apiServer", "triggerer"}, "platform": {"scheduler", "triggerer"}}
    assert {location: set(names) for location, names in platform_values(environment)["secretStore"]["readers"].items()} == readers


def test_the_platforms_chart_knows_the_locations() -> None:
    values = platform_values("qa")
    assert values["locations"].keys() == locations().keys()
    assert values["domains"].keys() == {domain for location in locations().values() for domain in location.domains}
    assert SHARED not in values["locations"]
