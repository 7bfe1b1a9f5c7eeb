"""What ``branches.yml`` may say: whose pull requests have clones, where GitHub is asked about them, and how long a forgotten clone lives."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from include.config.openedx import Address
from include.config.units import Cron, Identifier
from include.config.vocabulary import Environment, Owner, Tier


class BranchesUnit(BaseModel):
    """The sweep over clones.

    ``api`` has GitHub's address for every environment where the DAG exists; ``cron`` is in UTC, ``idle_days`` are days without a write.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Identifier
    owner: Owner
    tier: Tier
    description: str
    api: Annotated[dict[Environment, Address], Field(min_length=1)]
    repository: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9-]{0,38}/[A-Za-z0-9._-]{1,100}$")]
    cron: Cron
    idle_days: Annotated[int, Field(ge=1, le=365)]

    @model_validator(mode="after")
    def _never_in_production(self) -> Self:
        if Environment.PRODUCTION in self.api:
            raise ValueError("api: production has no clones; pull requests are based on QA: remove the line")
        return self

    @property
    def environments(self) -> frozenset[Environment]:
        """Where the DAG exists."""
        return frozenset(self.api)
