"""What a unit may say: one pydantic model per kind of unit file. JSON Schema for editors is generated from these."""

from __future__ import annotations

from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from include.config.vocabulary import Cadence, Environment, Owner, SyncMode, Tier

Identifier = Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]*$", max_length=128)]
Cron = Annotated[str, Field(pattern=r"^(\S+ ){4}\S+$")]
"""Five fields, in UTC."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Stream(_Model):
    """One table that a connection brings, and the columns its consumers rely on."""

    name: Identifier
    sync_mode: SyncMode
    cursor: Identifier | None = None
    primary_key: tuple[Identifier, ...] = ()
    columns: Annotated[tuple[Identifier, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _keys_fit_the_mode(self) -> Self:
        if self.sync_mode.incremental and self.cursor is None:
            raise ValueError(f"cursor: {self.sync_mode.value} needs one of the columns, for example: cursor: updated_on")
        if not self.sync_mode.incremental and self.cursor is not None:
            raise ValueError(f"cursor: {self.sync_mode.value} reads everything and takes none; remove the line")
        if self.sync_mode is SyncMode.INCREMENTAL_DEDUPED and not self.primary_key:
            raise ValueError("primary_key: incremental_deduped_history needs one, for example: primary_key: [id]")
        for column in (*self.primary_key, *filter(None, [self.cursor])):
            if column not in self.columns:
                raise ValueError(f"columns: {column} is a key or cursor and must be listed")
        return self


class AirbyteConnection(_Model):
    """The connection's name, and its id at Airbyte in every environment where the unit exists."""

    name: str
    ids: dict[Environment, UUID]


class AirbyteUnit(_Model):
    """One Airbyte connection: what it reads, where it writes, when, and whose it is."""

    id: Identifier
    owner: Owner
    tier: Tier
    cadence: Cadence
    description: str
    dbt_staging: Annotated[str, Field(pattern=r"^stg__[a-z0-9_]+__$")]
    connection: AirbyteConnection
    table_prefix: Annotated[str, Field(pattern=r"^raw__[a-z0-9_]+__$")]
    streams: Annotated[tuple[Stream, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _streams_are_distinct(self) -> Self:
        names = [stream.name for stream in self.streams]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"streams: {', '.join(twice)} listed more than once")
        return self

    @property
    def environments(self) -> frozenset[Environment]:
        """Where the connection's DAG exists."""
        return frozenset(self.connection.ids)

    @property
    def dag_id(self) -> str:
        """``airbyte__<file stem>``."""
        return f"airbyte__{self.id}"

    def table_of(self, stream: Stream) -> str:
        """The raw table's name: the declared prefix and the stream's own name."""
        return f"{self.table_prefix}{stream.name}"


class WarehouseUnit(_Model):
    """The dbt project as a DAG, or the part of it whose models have the unit's id as a tag.

    ``backstop`` is a cron expression in UTC: Airflow can lose an asset event, a schedule it cannot.
    """

    id: Identifier
    owner: Owner
    tier: Tier
    description: str
    backstop: Cron
