"""A change of what the platform asks Airflow and Kubernetes for shows as a change of a golden file, and is accepted by ``make golden``."""

from __future__ import annotations

import json

import pytest

from include.config.files import ROOT
from tests.golden.render import LONG, as_json, as_yaml, differences, rendered, stored


def starting(prefix: str) -> dict[str, str]:
    found = {name: text for name, text in rendered().items() if name.startswith(prefix)}
    assert found, f"nothing is rendered under {prefix}"
    return found


@pytest.mark.parametrize("prefix", ["dag_ids.txt", "assets.txt", *(f"{name}/" for name in LONG), "pods/"])
def test_nothing_has_changed(prefix: str) -> None:
    found = differences(stored(prefix), starting(prefix))
    if found:
        pytest.fail(found, pytrace=False)


def test_no_file_is_left_over() -> None:
    assert stored().keys() == rendered().keys()


def test_files_hold_nothing_of_this_machine() -> None:
    texts = rendered()
    assert [name for name, text in texts.items() if f"{ROOT}/" in text or "/home/" in text or "/root/" in text] == []


def test_a_difference_is_told_with_its_place_and_the_command() -> None:
    before = {"dag_ids.txt": "airbyte__a: local\nwarehouse: local\n", "pods/x.yaml": "kind: Pod\n"}
    after = {"dag_ids.txt": "airbyte__a: local qa\nwarehouse: local\n", "local/y.json": "{}\n"}
    told = differences(before, after).splitlines()
    for line in ("--- tests/golden/dag_ids.txt", "-airbyte__a: local", "+airbyte__a: local qa", "-kind: Pod", "+{}", "If this is what you want: make golden"):
        assert line in told
    assert differences(before, before) == ""


def test_a_long_difference_is_cut() -> None:
    told = differences({"a.txt": "\n".join(map(str, range(1000)))}, {"a.txt": ""})
    assert len(told.splitlines()) < 100
    assert "more lines" in told


def test_rendering_is_sorted_and_without_empty_values() -> None:
    data = {"b": 1, "a": {"z": None, "y": [], "w": {}, "x": f"{ROOT}/include", "v": f"s3://b{ROOT}tenance"}, "fileloc": "/somewhere"}
    assert json.loads(as_json(data)) == {"a": {"v": f"s3://b{ROOT}tenance", "x": "<repository>/include"}, "b": 1}
    assert as_yaml(data) == f"a:\n  v: s3://b{ROOT}tenance\n  x: <repository>/include\nb: 1\n"
