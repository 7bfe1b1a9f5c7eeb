"""JSON Schema for editors, generated from the models: ``python -m include.config.schema``; with ``--check`` it only says whether they are current.

Draft 2020-12, one file per kind of unit file in ``include/units/schema``. What depends on several keys at once (a cursor belongs to an
incremental mode) is checked by the models alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from include.config.branches import BranchesUnit
from include.config.environments import EnvironmentSettings
from include.config.files import UNITS
from include.config.locations import Location
from include.config.maintenance import MaintenanceUnit
from include.config.openedx import LearnWebhooksUnit, OpenedxUnit
from include.config.pointers import PointersUnit
from include.config.retired import Retired
from include.config.units import AirbyteUnit, WarehouseUnit
from include.config.vocabulary import Environment

FOLDER = UNITS / "schema"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schemas() -> dict[str, dict[str, Any]]:
    """Every schema by the name of its file."""
    found = {
        "airbyte": _of_file(AirbyteUnit, "id"),  # the id is the file's stem
        "openedx": _of_file(OpenedxUnit, "id"),
        "branches": _of_file(BranchesUnit, "id"),
        "learn_webhooks": _of_file(LearnWebhooksUnit, "id"),
        "maintenance": _of_file(MaintenanceUnit, "id"),
        "pointers": _of_file(PointersUnit, "id"),
        "warehouse": _of_file(WarehouseUnit, "id"),
        "environments": _environments(),
        "locations": _locations(),
        "retired": _of_file(Retired),
    }
    return {f"{name}.schema.json": {"$schema": DIALECT, **schema} for name, schema in found.items()}


def _of_file(model: type[BaseModel], *derived: str) -> dict[str, Any]:
    """A model's schema without the keys that do not stand in the file."""
    schema = model.model_json_schema()
    for key in derived:
        del schema["properties"][key]
        if key in schema["required"]:
            schema["required"].remove(key)
    return schema


def _environments() -> dict[str, Any]:
    """One entry for each environment, and no others."""
    one = _of_file(EnvironmentSettings, "name", "schema_suffix", "image_tag")
    definitions = {**one.pop("$defs"), "EnvironmentSettings": one}
    names = [name.value for name in Environment]
    return {
        "title": "Environments",
        "type": "object",
        "properties": {name: {"$ref": "#/$defs/EnvironmentSettings"} for name in names},
        "required": names,
        "additionalProperties": False,
        "$defs": dict(sorted(definitions.items())),
    }


def _locations() -> dict[str, Any]:
    """Any number of entries, by name."""
    one = _of_file(Location, "name")
    definitions = {**one.pop("$defs"), "Location": one}
    return {"title": "Locations", "type": "object", "additionalProperties": {"$ref": "#/$defs/Location"}, "$defs": dict(sorted(definitions.items()))}


def text_of(schema: dict[str, Any]) -> str:
    """A schema as it stands in its file."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def stale(folder: Path = FOLDER) -> list[str]:
    """Names of files that are missing, differ from what the models say, or belong to no model."""
    expected = {name: text_of(schema) for name, schema in schemas().items()}
    found = {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*")}
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def write(folder: Path = FOLDER) -> None:
    """Writes every schema and removes what belongs to no model."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in stale(folder):
        if name in schemas():
            (folder / name).write_text(text_of(schemas()[name]), encoding="utf-8")
        else:
            (folder / name).unlink()


def main(argv: list[str]) -> int:
    """Writes the files, or with ``--check`` returns 1 and names those that are not current."""
    parser = argparse.ArgumentParser(prog="python -m include.config.schema", description="JSON Schema of the unit files, for editors")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is not current")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the schemas lie")
    arguments = parser.parse_args(argv)
    if not arguments.check:
        write(arguments.folder)
        return 0
    for name in (old := stale(arguments.folder)):
        print(f"{arguments.folder / name}: not what the models say; run: python -m include.config.schema", file=sys.stderr)
    return 1 if old else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
