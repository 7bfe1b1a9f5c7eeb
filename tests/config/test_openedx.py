"""Unit files of Open edX deployments: which ids and addresses they may have, and whom MIT Learn may be told of."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from include.config.environments import read_environment
from include.config.errors import ConfigError
from include.config.files import UNITS
from include.config.load import load_units_strictly
from include.config.openedx import LearnPlatform, OpenedxUnit, deployment_id
from include.jobs.openedx.webhooks.events import content_files_event

LOCAL = {"OL_ENVIRONMENT": "local"}
GOOD = (UNITS / "openedx" / "mitxonline.yml").read_text(encoding="utf-8")


def unit(folder: Path, name: str, text: str = GOOD) -> OpenedxUnit:
    """A unit file of that name, read."""
    path = folder / "openedx" / f"{name}.yml"
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    (found,) = load_units_strictly("openedx", read_environment(LOCAL), folder)
    assert isinstance(found, OpenedxUnit)
    return found


@pytest.mark.parametrize("name", ["a", "edge", "mitx2", "x" * 40])
def test_an_id_is_one_for_unit_files_and_for_jobs(tmp_path: Path, name: str) -> None:
    assert unit(tmp_path, name, GOOD.replace("tells_learn: true", "tells_learn: false")).id == deployment_id(name) == name


@pytest.mark.parametrize("name", ["2mitx", "Mitx", "mitx_online", "mitx-online", "x" * 41, "mitx ", "é"])
def test_what_is_no_id_is_refused_by_both(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"\.yml: id: found"):
        unit(tmp_path, name, GOOD.replace("tells_learn: true", "tells_learn: false"))
    with pytest.raises(ValueError, match=r"found .*; allowed: the id of a deployment: lower-case letters and digits"):
        deployment_id(name)


@pytest.mark.parametrize("name", ["", "mitx\n", "../mitx"])
def test_what_no_file_could_be_called_is_no_id(name: str) -> None:
    with pytest.raises(ValueError, match="allowed: the id of a deployment"):
        deployment_id(name)


def test_learn_is_told_only_of_platforms_that_its_webhook_takes(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        unit(tmp_path, "edge")
    (problem,) = caught.value.problems
    told = (problem.file, problem.key, problem.found, problem.allowed)
    assert told == ("edge.yml", "tells_learn", "True", "false for edge; MIT Learn knows only mitxonline, xpro, mit_edx")


@pytest.mark.parametrize("platform", get_args(LearnPlatform))
def test_a_webhook_takes_every_platform_of_the_list(platform: str) -> None:
    event = content_files_event(course_id="course-v1:a+b+c", content_path="a/b", source=platform, run_key="1")
    assert event.lane == f"{platform}/course-v1:a+b+c"


@pytest.mark.parametrize(
    ("key", "found", "good"),
    [
        ("tracking_logs", "gs://logs/mitxonline", True),
        ("tracking_logs", "http://logs/mitxonline", False),
        ("tracking_logs", "gs://partner_logs", True),
        ("tracking_logs", "s3://partner_logs", False),
        ("landing", "s3://landing", True),
        ("landing", "gs://landing", False),
        ("forum", "gs://dumps/mitxonline/forum", True),
        ("forum", "s3://dumps:443/forum", False),
        ("forum", "mongodb+srv://mongo.example.org/forum", True),
        ("forum", "gs://dumps", False),
        ("forum", "gcs://dumps/forum", False),
        ("forum", "mongodb://user:password@mongo.example.org/forum", False),
    ],
)
def test_places(tmp_path: Path, key: str, found: str, good: bool) -> None:
    old = {"landing": '"{landing}"', "tracking_logs": '"{landing}/tracking_logs/mitxonline"', "forum": '"{mongodb}/forum_mitxonline"'}[key]
    assert GOOD.count(old) == 1
    text = GOOD.replace(old, found)
    if good:
        assert str(getattr(unit(tmp_path, "mitxonline", text).sites[read_environment(LOCAL).name], key)) == found
    else:
        with pytest.raises(ConfigError, match=rf"mitxonline\.yml: sites\.local\.{key}: found"):
            unit(tmp_path, "mitxonline", text)
