"""Units that are gone on purpose: ``retired.yml``. A test compares it with the history of the unit files, so that none disappears unnoticed."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from include.config.files import UNITS, read_yaml, validate


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RetiredUnit(_Model):
    """A unit that existed once. ``id`` is that of its DAG; ``tables`` are those it left in the lake, as ``schema.table`` without the environment."""

    id: Annotated[str, Field(pattern=r"^[a-z_]+__[a-z0-9_]+$")]
    date: date
    reason: Annotated[str, Field(min_length=10)]
    tables: tuple[str, ...]


class Retired(_Model):
    """The whole file, oldest entry first."""

    retired: tuple[RetiredUnit, ...]


def load_retired(root: Path = UNITS) -> tuple[RetiredUnit, ...]:
    """All entries of ``retired.yml``. Raises ``ConfigError``."""
    path = root / "retired.yml"
    return validate(Retired, read_yaml(path), path.name).retired
