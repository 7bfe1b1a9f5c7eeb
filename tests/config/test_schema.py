"""The schemas for editors are what the models say, and accept what the models accept."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, FormatChecker

from include.config.errors import ConfigError
from include.config.files import ROOT, UNITS
from include.config.load import read_unit
from include.config.schema import FOLDER, main, schemas, stale
from tests.config.test_errors import CASES
from tests.config.units_on_disk import GOOD, write_unit

FILES = sorted(path for path in UNITS.rglob("*.yml"))
# What a schema cannot say: rules about several keys at once, and what is wrong with the text before it is data.
ONLY_MODELS = {
    "cursor on a full refresh",
    "incremental without cursor",
    "deduplicated without key",
    "cursor that is no column",
    "stream given twice",
    "key given twice",
    "broken YAML",
    "a list as a key",
    "tab as indentation",
    "an object constructor",
    "not UTF-8",
}


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((FOLDER / name).read_text(encoding="utf-8")), format_checker=FormatChecker())


def schema_named_in(path: Path) -> str:
    """The schema that a unit file's first line points an editor to, as a path."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    marker = "# yaml-language-server: $schema="
    assert first.startswith(marker), f"{path.relative_to(ROOT)}: line 1: found {first!r}; allowed: {marker}<path of its schema>"
    return first.removeprefix(marker)


def test_the_schemas_are_current() -> None:
    assert stale() == [], "run: python -m include.config.schema"


def test_check_tells_a_stale_missing_or_orphaned_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "schema"
    shutil.copytree(FOLDER, folder)
    assert main(["--check", "--folder", str(folder)]) == 0
    (folder / "airbyte.schema.json").write_text("{}", encoding="utf-8")
    (folder / "warehouse.schema.json").unlink()
    (folder / "old.schema.json").write_text("{}", encoding="utf-8")
    assert main(["--check", "--folder", str(folder)]) == 1
    told = capsys.readouterr().err
    assert all(name in told for name in ("airbyte.schema.json", "warehouse.schema.json", "old.schema.json"))
    assert "environments.schema.json" not in told
    assert main(["--folder", str(folder)]) == 0
    assert main(["--check", "--folder", str(folder)]) == 0


def test_the_command_line_exits_with_what_it_found(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "include.config.schema", "--check", "--folder", str(tmp_path)], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == 1


@pytest.mark.parametrize("name", sorted(schemas()))
def test_every_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(schemas()[name])


def test_there_are_unit_files() -> None:
    assert len(FILES) >= 6


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(UNITS)))
def test_every_unit_file_names_its_schema_and_validates(path: Path) -> None:
    schema = (path.parent / schema_named_in(path)).resolve()
    kind = path.parent.name if path.parent != UNITS else "warehouse" if path.stem.startswith("warehouse_") else path.stem
    assert schema == FOLDER / f"{kind}.schema.json"
    data = json.loads(json.dumps(yaml.safe_load(path.read_text(encoding="utf-8")), default=str))
    errors = [f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator(schema.name).iter_errors(data)]
    assert errors == []


def data_of(text: str | bytes) -> Any:
    return json.loads(json.dumps(yaml.safe_load(text), default=str))


def test_only_models_names_cases_that_exist() -> None:
    assert {case.name for case in CASES} >= ONLY_MODELS


@pytest.mark.parametrize("case", [case for case in CASES if case.name not in ONLY_MODELS], ids=lambda case: case.name)
def test_an_editor_sees_what_the_models_refuse(case: Any) -> None:
    check = validator("airbyte.schema.json")
    assert check.is_valid(data_of(GOOD))
    assert not check.is_valid(data_of(case.text))


def test_a_valid_uuid_is_asked_for_by_both(tmp_path: Path) -> None:
    text = GOOD.replace("9a0f7a4e-5f9d-4a6a-8f25-1c8f3e6b0009", "9a0f7a4e-5f9d-4a6a-8f25-1c8f3e6b00")
    assert not validator("airbyte.schema.json").is_valid(data_of(text))
    with pytest.raises(ConfigError):
        read_unit("airbyte", write_unit(tmp_path, text))
