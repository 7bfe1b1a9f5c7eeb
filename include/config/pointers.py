"""What a unit file says of the repair of tables' pointers."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from include.config.units import Cron, Identifier
from include.config.vocabulary import Environment, Layer, Owner, Tier


class PointersUnit(BaseModel):
    """When tables are looked at, which of their branches writers publish from, and how long such a branch may wait for its writer.

    ``staging_branches`` are shell patterns; ``aborted_after_hours`` must be longer than the longest sync. ``cron`` is in UTC.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Identifier
    owner: Owner
    tier: Tier
    description: str
    environments: Annotated[tuple[Environment, ...], Field(min_length=1)]
    cron: Cron
    layers: Annotated[tuple[Layer, ...], Field(min_length=1)]
    staging_branches: Annotated[tuple[str, ...], Field(min_length=1)]
    aborted_after_hours: Annotated[float, Field(ge=1)]

    @property
    def dag_id(self) -> str:
        """``maintain__pointers``."""
        return f"maintain__{self.id}"

    @property
    def aborted_after(self) -> timedelta:
        """How long a staging branch may stand still before it counts as left behind."""
        return timedelta(hours=self.aborted_after_hours)
