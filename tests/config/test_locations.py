"""Code locations: whose each DAG file and each domain is, what they are deployed as, and what a release brings with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from include.config.environments import read_environment, read_release
from include.config.errors import ConfigError
from include.config.files import ROOT
from include.config.locations import bundles, image_for, location_of_domain, locations, read_locations

GOOD: dict[str, Any] = {"owner": "data-platform", "description": "x", "dags": ["a/*.py"], "domains": ["one"], "images": {"jobs": "jobs"}}
QA = {"OL_ENVIRONMENT": "qa", "OL_IMAGE_TAG": "t1"}


def read(folder: Path, **entries: Any) -> Any:
    (folder / "locations.yml").write_text(json.dumps(entries), encoding="utf-8")
    return read_locations(folder)


def test_both_locations_are_there() -> None:
    assert list(locations()) == ["platform", "openedx"]


def test_every_dag_file_is_of_one_location() -> None:
    """A file of none would be deployed nowhere, without a word."""
    found = [path for location in locations().values() for path in location.files(ROOT)]
    assert sorted(found) == sorted((ROOT / "dags").rglob("*.py"))
    assert len(found) == len(set(found)) > 1


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"a": GOOD, "b": {**GOOD, "dags": ["b/*.py"]}}, r"b\.domains: found 'one'; allowed: a domain of its own: a has this one"),
        ({"a": {**GOOD, "images": {"jobs": "tools"}}}, r"a\.images\.jobs: found 'tools'; allowed: jobs, dbt, openedx"),
        ({"shared": GOOD}, "shared: found a location; allowed: another name"),
        ({"a": ["x"]}, r"a: found \['x'\]; allowed: a mapping"),
        ({"A b": GOOD}, "name"),
        ({"a": {**GOOD, "dags": ["../x.py"]}}, "dags"),
        ({"a": {**GOOD, "dags": []}}, "dags"),
        ({"a": {**GOOD, "owner": "nobody"}}, "owner: found 'nobody'"),
    ],
)
def test_what_cannot_be_is_refused(entries: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, **entries)


def test_a_job_runs_its_locations_image() -> None:
    environment = read_environment(QA)
    assert image_for(environment, "dbt", "dbt") == "ol-data-platform/dbt:t1"
    assert image_for(environment, "lakehouse", "jobs") == "ol-data-platform/jobs:t1"
    assert image_for(environment, "openedx", "jobs") == "ol-data-platform/openedx:t1"
    with pytest.raises(ConfigError, match=r"openedx\.images: found no dbt; allowed: jobs"):
        image_for(environment, "openedx", "dbt")
    with pytest.raises(ConfigError, match="domains: found 'nobody'; allowed: a domain of one location: dbt, lakehouse, openedx"):
        location_of_domain("nobody")


def test_bundles_of_a_cluster() -> None:
    found = bundles(read_environment(QA), root="/opt/platform", release={"OL_IMAGE_TAG": "t1"})
    assert [bundle["name"] for bundle in found] == ["platform", "openedx"]
    assert found[1]["kwargs"]["releases"] == "s3://object_store@ol-data-platform-qa/work/releases"
    assert found[1]["kwargs"]["service_account"] == "airflow-worker-openedx"


# --- what a release brings with it --------------------------------------------------------------------------------------------------


def test_a_release_decides_its_images(tmp_path: Path) -> None:
    (tmp_path / "release.json").write_text('{"OL_IMAGE_TAG": "old"}', encoding="utf-8")
    assert read_environment(QA, read_release(tmp_path)).image("jobs") == "ol-data-platform/jobs:old"
    assert read_release(ROOT) == {}


@pytest.mark.parametrize("text", ["[]", '{"OL_ENVIRONMENT": "production"}', '{"OL_IMAGE_TAG": 1}'])
def test_a_release_brings_nothing_else(text: str, tmp_path: Path) -> None:
    (tmp_path / "release.json").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=r"release\.json: the file: found .*; allowed: texts for OL_IMAGE_DIGESTS and OL_IMAGE_TAG"):
        read_release(tmp_path)
