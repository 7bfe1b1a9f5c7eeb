"""What ``branches.yml`` may say."""

from __future__ import annotations

from pathlib import Path

import pytest

from include.config.errors import ConfigError
from include.config.files import UNITS
from include.config.load import load_branches_unit
from include.config.services import github_token
from include.config.vocabulary import Environment

GOOD = (UNITS / "branches.yml").read_text(encoding="utf-8")


def unit_with(folder: Path, found: str, instead: str):
    assert found in GOOD
    (folder / "branches.yml").write_text(GOOD.replace(found, instead), encoding="utf-8")
    return load_branches_unit(folder)


def test_the_unit() -> None:
    unit = load_branches_unit()
    assert (unit.id, unit.environments) == ("branches", {Environment.LOCAL, Environment.QA})


@pytest.mark.parametrize(
    ("found", "instead", "told"),
    [
        ("api: {", 'api: {production: "https://api.github.com", ', "production has no clones"),
        ("mitodl/ol-data-platform", "ol-data-platform", "repository"),
        ("idle_days: 14", "idle_days: 0", "idle_days"),
        ("https://api.github.com", "http://api.github.com", "api.qa"),
        ('cron: "30 5 * * *"', "cron: daily", "cron"),
        ("tier: 3", "tier: 3\ntoken: abc", "token"),
    ],
)
def test_what_is_refused(tmp_path: Path, found: str, instead: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        unit_with(tmp_path, found, instead)


def test_the_token() -> None:
    assert github_token({"GITHUB_TOKEN": " secret \n"}) == "secret"
    with pytest.raises(ConfigError, match="GITHUB_TOKEN: found nothing"):
        github_token({})
