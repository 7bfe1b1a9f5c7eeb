"""Rules of maintenance: by group, by exception, by a model's meta; and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from include.config.errors import ConfigError
from include.config.files import UNITS
from include.config.load import load_maintenance_unit
from include.config.maintenance import Changes
from include.config.vocabulary import Layer


def test_retention() -> None:
    groups = load_maintenance_unit().groups
    wanted = {
        ("raw", Layer.RAW, "raw__mitxonline__app__postgres__users_user"): 3,
        ("raw", Layer.RAW, "raw__learn_ai__app__postgres__x"): 3,
        ("raw", Layer.RAW, "raw__ocw__studio__postgres__x"): 3,
        ("raw", Layer.RAW, "raw__mitxonline__openedx__mysql__auth_user"): 7,
        ("raw", Layer.RAW, "raw__thirdparty__salesforce__opportunity"): 14,
        ("raw", Layer.RAW, "raw__thirdparty__zendesk_support__tickets"): 14,
        ("warehouse", Layer.DIMENSIONAL, "dim_user"): 14,
        ("warehouse", Layer.MART, "marts__combined"): 14,
        ("warehouse", Layer.STAGING, "stg__x"): 7,
    }
    assert {key: groups[key[0]].rules_for(*key[1:])[1].retention_days for key in wanted} == wanted
    assert {name: group.cron for name, group in groups.items()} == {"warehouse": "0 2 * * *", "raw": "0 3 * * *"}


def test_a_model_has_the_last_word() -> None:
    group = load_maintenance_unit().groups["warehouse"]
    enabled, rules = group.rules_for(Layer.MART, "m", Changes(retention_days=30, small_files=3))
    assert (enabled, rules.retention_days, rules.small_files, rules.manifests) == (True, 30, 3, 50)
    assert group.rules_for(Layer.MART, "m", Changes(enabled=False))[0] is False


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("groups", "raw", "rules", "retention_days"), 0, r"groups\.raw\.rules\.retention_days: found 0"),
        (("groups", "raw", "rules", "orphan_days"), 0.1, r"groups\.raw\.rules\.orphan_days: found 0\.1"),
        (("groups", "raw", "cron"), "daily", r"groups\.raw\.cron: found 'daily'"),
        (("groups", "raw", "tables"), "some", r"groups\.raw\.tables: found 'some'; allowed: 'dbt' or 'all'"),
        (("groups", "raw", "exceptions"), [{"retention_days": 3}], r"an exception names layers or tables"),
        (("groups", "raw", "exceptions"), [{"layers": ["mart"], "retention_days": 3}], r"mart is no layer of this group; allowed: raw"),
        (("failure_share",), 1.5, r"failure_share: found 1\.5"),
        (("quarantine_dayz",), 7, r"quarantine_dayz: found 7; allowed: no such key"),
    ],
)
def test_refused(path: tuple[str, ...], value: Any, message: str, tmp_path: Path) -> None:
    data = yaml.safe_load((UNITS / "maintenance.yml").read_text())
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (tmp_path / "maintenance.yml").write_text(yaml.safe_dump(data))
    with pytest.raises(ConfigError, match=rf"maintenance\.yml: .*{message}"):
        load_maintenance_unit(tmp_path)
