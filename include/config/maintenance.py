"""What a unit file says of the lake's maintenance: when, which tables, how long snapshots stay, when a rewrite is worth it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from include.config.units import Cron, Identifier
from include.config.vocabulary import Environment, Layer, Owner, Tier


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Tables(StrEnum):
    """Which tables of its schemas a group maintains: those of dbt's models that are tables, or all."""

    DBT = "dbt"
    ALL = "all"


Days = Annotated[float, Field(gt=0, le=3650)]


class Rules(_Model):
    """The rules for a table. ``orphan_days`` must be longer than the longest write; files below ``small_file_mb`` (10^6 bytes) are small."""

    retention_days: Days
    orphan_days: Annotated[float, Field(ge=1, le=3650)]
    small_file_mb: Annotated[float, Field(gt=0, le=10_000)]
    small_files: Annotated[int, Field(ge=2)]
    analyze_after_commits: Annotated[int, Field(ge=1)]
    manifests: Annotated[int, Field(ge=2)]
    metadata_files: Annotated[int, Field(ge=1)]


class Changes(_Model):
    """Other values for some rules; also what a dbt model's ``meta.iceberg_maintenance`` may say."""

    enabled: bool = True
    retention_days: Days | None = None
    orphan_days: Annotated[float, Field(ge=1, le=3650)] | None = None
    small_file_mb: Annotated[float, Field(gt=0, le=10_000)] | None = None
    small_files: Annotated[int, Field(ge=2)] | None = None
    analyze_after_commits: Annotated[int, Field(ge=1)] | None = None
    manifests: Annotated[int, Field(ge=2)] | None = None
    metadata_files: Annotated[int, Field(ge=1)] | None = None

    def on(self, rules: Rules) -> Rules:
        """The rules with these values."""
        return rules.model_copy(update={key: value for key, value in self.model_dump(exclude={"enabled", "layers", "tables"}).items() if value is not None})


class GroupException(Changes):
    """Other rules for the tables of some layers, or for those whose names match one of some shell patterns."""

    model_config = ConfigDict(frozen=True, extra="forbid", title="Exception")

    layers: tuple[Layer, ...] = ()
    tables: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _says_of_whom(self) -> Self:
        if not self.layers and not self.tables:
            raise ValueError("tables: an exception names layers or tables, for example: tables: [raw__xpro__app__*]")
        return self

    def is_for(self, layer: Layer, table: str) -> bool:
        """Whether it speaks of a table."""
        return (not self.layers or layer in self.layers) and (not self.tables or any(fnmatchcase(table, pattern) for pattern in self.tables))


class Group(_Model):
    """Tables that are maintained together, by one DAG. ``cron`` is in UTC; of several exceptions for a table the later ones win."""

    description: str
    cron: Cron
    tables: Tables
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]
    rules: Rules
    exceptions: tuple[GroupException, ...] = ()

    @model_validator(mode="after")
    def _exceptions_are_its_own(self) -> Self:
        for exception in self.exceptions:
            if others := [layer.value for layer in exception.layers if layer not in self.layers]:
                raise ValueError(f"exceptions: {', '.join(others)} is no layer of this group; allowed: {', '.join(layer.value for layer in self.layers)}")
        return self

    def rules_for(self, layer: Layer, table: str, meta: Changes | None = None) -> tuple[bool, Rules]:
        """Whether a table is maintained at all, and by which rules; a model's own ``meta`` has the last word."""
        rules, enabled = self.rules, True
        for changes in (*(one for one in self.exceptions if one.is_for(layer, table)), *([meta] if meta else [])):
            rules, enabled = changes.on(rules), enabled and changes.enabled
        return enabled, rules


class MaintenanceUnit(_Model):
    """Both groups and what they share. A run fails when more than ``failure_share`` of its tables do; ``at_once`` bounds requests to the store.

    A night's report, and what it knew of every table, is kept for ``report_days``.
    """

    id: Identifier
    owner: Owner
    tier: Tier
    environments: Annotated[tuple[Environment, ...], Field(min_length=1)]
    failure_share: Annotated[float, Field(ge=0, lt=1)]
    quarantine_days: Annotated[int, Field(ge=1, le=365)]
    report_days: Annotated[int, Field(ge=7, le=3650)]
    at_once: Annotated[int, Field(ge=1, le=64)]
    statements_at_once: Annotated[int, Field(ge=1, le=16)]
    groups: Annotated[Mapping[Identifier, Group], Field(min_length=1)]

    @property
    def dag_ids(self) -> dict[str, str]:
        """``maintain__<group>`` of each group."""
        return {f"maintain__{name}": name for name in self.groups}


META = "iceberg_maintenance"
"""The key of a dbt model's ``meta``."""
