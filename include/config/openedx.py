"""What a unit file of an Open edX deployment may say: where it answers, what is taken from it, how often, and whether MIT Learn is told."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from include.config.units import Cron, Identifier
from include.config.vocabulary import Cadence, Environment, Owner, Tier

DeploymentId = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*$", max_length=40)]
"""A deployment's id: the name of its unit file, a part of DAG ids, of tables' names and of objects' keys."""
LearnPlatform = Literal["mitxonline", "xpro", "mit_edx"]
"""Platforms whose course runs MIT Learn takes content of, by its own names; it knows no residential ``mitx``."""

Address = Annotated[str, Field(pattern=r"^(https://[A-Za-z0-9.-]+(:\d+)?(/[A-Za-z0-9._~-]+)*|\{[a-z]+\}(/[A-Za-z0-9._~-]+)*)$")]
"""``https://host[/path]``, or in the local environment ``{service}[/path]``: a service of the local platform, whose port is chosen at its start."""
Place = Annotated[str, Field(pattern=r"^(s3://[a-z0-9.-]+|gs://[a-z0-9._-]+|\{[a-z]+\})(/[A-Za-z0-9._=-]+)*$")]
"""A prefix in an object store that is read, or in the local environment below ``{landing}``. Of ``gs://`` the deployment has credentials of its own."""
Landing = Annotated[str, Field(pattern=r"^(s3://[a-z0-9.-]+|\{[a-z]+\})(/[A-Za-z0-9._=-]+)*$")]
"""A prefix that jobs write to: in the lake's own object store, or in the local environment ``{landing}``."""


ForumPlace = Annotated[str, Field(pattern=r"^(s3://[a-z0-9.-]+|gs://[a-z0-9._-]+|mongodb(\+srv)?://[a-z0-9.-]+(:\d+)?|\{[a-z]+\})(/[A-Za-z0-9._=-]+)+$")]
"""A database of a forum: below the prefix where its dumps arrive, or on a MongoDB server that may be read; the last part is the database's name."""

DailyCron = Annotated[str, Field(pattern=r"^[0-5]?[0-9] ([01]?[0-9]|2[0-3]) \* \* \*$")]
"""A :data:`Cron` of one time a day: a run is one day's partition."""
DayFolder = Annotated[str, Field(pattern=r"^([A-Za-z0-9._=-]+/)*([A-Za-z0-9._=-]*[A-Za-z._=-])?(%Y-%m-%d|%Y%m%d)$")]
"""A folder of a day, for example ``%Y-%m-%d`` or ``logs/day=%Y%m%d``."""


def deployment_id(text: str) -> str:
    """``text`` as the id of a deployment, by the rule that unit files obey. Raises ``ValueError``."""
    try:
        return TypeAdapter[str](DeploymentId).validate_python(text)
    except ValidationError as error:
        allowed = "the id of a deployment: lower-case letters and digits, a letter first, 40 at most"
        raise ValueError(f"found {text!r}; allowed: {allowed}; for example: mitxonline") from error


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Site(_Model):
    """One deployment in one environment: LMS and Studio, where tracking logs arrive and the forum is, and where we put what we make of them.

    ``max_changed`` is the environment's own for the sweep's: a laptop takes a few course runs at a time.
    """

    lms: Address
    studio: Address
    landing: Landing
    tracking_logs: Place
    forum: ForumPlace | None = None
    max_changed: Annotated[int, Field(ge=1, le=1000)] | None = None


class Sweep(_Model):
    """How the list of course runs is looked through: requests at once, and the seconds and requests that one sweep may spend."""

    cadence: Cadence
    concurrency: Annotated[int, Field(ge=1, le=64)] = 16
    budget_seconds: Annotated[int, Field(ge=10, le=3000)] = 180
    max_requests: Annotated[int, Field(ge=100)] = 10_000
    max_changed: Annotated[int, Field(ge=1, le=1000)] = 500  # Airflow makes at most 1,000 partitions of one event


class TrackingLogs(_Model):
    """``first_day``: the first day that there are logs of; a backfill begins there. ``cron``, in UTC: when the day before is loaded.

    The run of a day also opens those of the ``look_back_days`` before it whose log files have changed since they were loaded. ``day_folder`` says, in the
    letters of ``strftime``, in which folder below the site's ``tracking_logs`` a day's log files lie, where all of them do; then a day's folder is
    listed and not the whole prefix.
    """

    first_day: date
    cron: DailyCron = "0 4 * * *"  # a day's last file arrives with the hour after midnight
    look_back_days: Annotated[int, Field(ge=0, le=90)] = 7
    day_folder: DayFolder | None = None


class OpenedxUnit(_Model):
    """One Open edX deployment.

    ``secret`` names the secret with the keys ``client-id`` and ``client-secret`` of our OAuth application there; ``mongodb-username`` and
    ``mongodb-password`` where the forum is a server; ``gcs-credentials`` where logs or dumps are on ``gs://``.
    """

    id: DeploymentId
    owner: Owner
    tier: Tier
    description: str
    sites: dict[Environment, Site]
    secret: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    token_type: Literal["JWT", "Bearer"]
    sweep: Sweep
    export_slots: Annotated[int, Field(ge=1, le=50)]
    tracking_logs: TrackingLogs
    forum_cadence: Cadence = Cadence.DAILY
    tells_learn: bool

    @model_validator(mode="after")
    def _learn_knows_it(self) -> Self:
        known = get_args(LearnPlatform)
        if self.tells_learn and self.id not in known:
            raise ValueError(f"tells_learn: false for {self.id}; MIT Learn knows only {', '.join(known)}")
        return self

    @property
    def environments(self) -> frozenset[Environment]:
        """Where the deployment's DAGs exist."""
        return frozenset(self.sites)

    @property
    def export_pool(self) -> str:
        """The pool of ``export_slots`` that bounds how many exports Studio builds at a time; it counts deferred tasks."""
        return f"openedx_export_{self.id}"

    def dag_id(self, part: str) -> str:
        """``openedx__<deployment>__<part>``."""
        return f"openedx__{self.id}__{part}"

    def table(self, name: str) -> str:
        """A raw table of this deployment: ``raw__<deployment>__openedx__<name>``."""
        return f"raw__{self.id}__openedx__{name}"


class LearnWebhooksUnit(_Model):
    """When the outbox of webhooks is sent to MIT Learn. ``cron`` is in UTC."""

    id: Identifier
    owner: Owner
    tier: Tier
    description: str
    environments: Annotated[tuple[Environment, ...], Field(min_length=1)]
    cron: Cron
