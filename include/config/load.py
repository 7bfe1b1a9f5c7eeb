"""Reads unit files. Strict for tests and deployments, lenient for the parser, where one bad unit must hurt no other."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from include.config.branches import BranchesUnit
from include.config.environments import EnvironmentSettings
from include.config.errors import ConfigError, Problem
from include.config.files import UNITS, path_in_units, read_yaml, validate
from include.config.maintenance import MaintenanceUnit
from include.config.openedx import LearnWebhooksUnit, OpenedxUnit
from include.config.parsed import ParsedFolder, without_collection
from include.config.pointers import PointersUnit
from include.config.units import AirbyteUnit, WarehouseUnit

M = TypeVar("M", bound=BaseModel)
KINDS: dict[str, type[BaseModel]] = {"airbyte": AirbyteUnit, "openedx": OpenedxUnit}


@dataclass(frozen=True)
class BrokenUnit:
    """A unit file that cannot be used: the id its DAG would have, and why."""

    dag_id: str
    error: ConfigError


def read_unit(kind: str, path: Path) -> BaseModel:
    """One unit file as its kind's model; its id is the file's stem. Raises ``ConfigError``."""
    return _unit(kind, path, read_yaml(path))


def _unit(kind: str, path: Path, data: dict[str, Any]) -> BaseModel:
    return validate(KINDS[kind], _named(path, data), path_in_units(path))


def _named(path: Path, data: dict[str, Any]) -> dict[str, Any]:
    """A unit file's keys with its id, which is the file's name and nothing else."""
    if "id" in data:
        raise ConfigError((Problem(path_in_units(path), "id", repr(data["id"]), f"no such key: the id is the file's name, {path.stem}"),))
    return {"id": path.stem, **data}


def load_units(kind: str, environment: EnvironmentSettings, root: Path = UNITS, *, wanted: str | None = None) -> tuple[tuple[Any, ...], tuple[BrokenUnit, ...]]:
    """All units of one kind that exist in this environment, sorted by id, and those that are broken.

    ``wanted`` is the id of the one DAG whose unit is asked for (``<kind>__<file>``, or one of a unit's several, ``<kind>__<file>__<part>``): no
    other file is read then. Parse time uses both halves: a broken
    unit becomes a diagnostic DAG. :func:`load_units_strictly` raises instead.
    """
    good: list[Any] = []
    broken: list[BrokenUnit] = []
    paths = [path for path in sorted((root / kind).glob("*.yml")) if wanted is None or f"{wanted}__".startswith(f"{_dag_id(kind, path)}__")]
    with without_collection():
        parsed = ParsedFolder(root / kind) if wanted is None else None
        for path in paths:
            try:
                unit = _unit(kind, path, parsed.read(path) if parsed else read_yaml(path))
            except ConfigError as error:
                broken.append(BrokenUnit(_dag_id(kind, path), error))
                continue
            if exists_in(unit, environment):
                good.append(unit)
        if parsed:
            parsed.save()
    return tuple(good), tuple(broken)


def _dag_id(kind: str, path: Path) -> str:
    """The id of a broken unit's DAG; a file name that Airflow would refuse must not keep the other units from loading."""
    return f"{kind}__{re.sub(r'[^A-Za-z0-9_.-]', '_', path.stem)}"[:250]


def load_units_strictly(kind: str, environment: EnvironmentSettings, root: Path = UNITS) -> tuple[Any, ...]:
    """As :func:`load_units`, but raises one ``ConfigError`` that lists the problems of all broken units."""
    good, broken = load_units(kind, environment, root)
    if broken:
        raise ConfigError(tuple(problem for unit in broken for problem in unit.error.problems))
    return good


def load_warehouse_unit(root: Path = UNITS, unit_id: str = "warehouse") -> WarehouseUnit:
    """``warehouse.yml``, or another part of the dbt project with a file of its own. Raises ``ConfigError``."""
    return _single(WarehouseUnit, root / f"{unit_id}.yml")


def load_learn_webhooks_unit(root: Path = UNITS) -> LearnWebhooksUnit:
    """The one ``learn_webhooks.yml``. Raises ``ConfigError``."""
    return _single(LearnWebhooksUnit, root / "learn_webhooks.yml")


def load_branches_unit(root: Path = UNITS) -> BranchesUnit:
    """The one ``branches.yml``. Raises ``ConfigError``."""
    return _single(BranchesUnit, root / "branches.yml")


def load_pointers_unit(root: Path = UNITS) -> PointersUnit:
    """The one ``pointers.yml``. Raises ``ConfigError``."""
    return _single(PointersUnit, root / "pointers.yml")


def load_maintenance_unit(root: Path = UNITS) -> MaintenanceUnit:
    """The one ``maintenance.yml``. Raises ``ConfigError``."""
    return _single(MaintenanceUnit, root / "maintenance.yml")


def _single(model: type[M], path: Path) -> M:
    """A unit of a kind that has one file, beside the folders of the others."""
    return validate(model, _named(path, read_yaml(path)), path.name)


def load_airbyte_unit(unit_id: str, root: Path = UNITS) -> AirbyteUnit:
    """One Airbyte unit by its id. Raises ``ConfigError``, also when there is no such file."""
    path = root / "airbyte" / f"{unit_id}.yml"
    if not path.exists():
        allowed = ", ".join(sorted(other.stem for other in path.parent.glob("*.yml")))
        raise ConfigError((Problem("airbyte", "unit", repr(unit_id), allowed),))
    return validate(AirbyteUnit, _named(path, read_yaml(path)), path_in_units(path))


def exists_in(unit: Any, environment: EnvironmentSettings) -> bool:
    """Whether a unit exists in an environment: absent, not paused, where it does not."""
    return environment.name in unit.environments
