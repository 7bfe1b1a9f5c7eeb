"""The closed lists that units choose from. A word that is not here is a configuration error."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Environment(StrEnum):
    """Where the platform runs. Unknown names raise; nothing defaults to production."""

    LOCAL = "local"
    BRANCH = "branch"
    QA = "qa"
    PRODUCTION = "production"


class Runtime(StrEnum):
    """How a job is started: as a pod in a cluster or as a child process of the task."""

    POD = "pod"
    PROCESS = "process"


class Granularity(StrEnum):
    """How many tasks the ``warehouse`` DAG shows: one per dbt model, or one per subject area."""

    MODEL = "model"
    AREA = "area"


class WarehouseAfter(StrEnum):
    """What news of staging tables starts the ``warehouse`` DAG: of any connection, or of every one since its last run."""

    ANY_CONNECTION = "any_connection"
    EVERY_CONNECTION = "every_connection"


class Layer(StrEnum):
    """Layers of the lake; the value is the schema's suffix."""

    RAW = "raw"
    STAGING = "staging"
    INTERMEDIATE = "intermediate"
    DIMENSIONAL = "dimensional"
    MART = "mart"
    REPORTING = "reporting"
    INTEGRATIONS = "integrations"
    EXTERNAL = "external"


class Owner(StrEnum):
    """Teams that answer for a unit; alerts are routed to them."""

    DATA_PLATFORM = "data-platform"
    ANALYTICS_ENGINEERING = "analytics-engineering"


class Tier(IntEnum):
    """1: somebody is woken up. 2: repaired the same working day. 3: repaired when there is time."""

    ONE = 1
    TWO = 2
    THREE = 3


class Cadence(StrEnum):
    """How often a unit runs. Minute 0, UTC, counted from midnight."""

    HOURLY = "hourly"
    EVERY_6_HOURS = "every_6_hours"
    EVERY_12_HOURS = "every_12_hours"
    DAILY = "daily"

    @property
    def cron(self) -> str:
        """The five-field cron expression, in UTC."""
        return {"hourly": "0 * * * *", "every_6_hours": "0 */6 * * *", "every_12_hours": "0 */12 * * *", "daily": "0 0 * * *"}[self.value]


class SyncMode(StrEnum):
    """How an Airbyte stream is read and written, named as Airbyte's API names it."""

    FULL_REFRESH_OVERWRITE = "full_refresh_overwrite"
    FULL_REFRESH_APPEND = "full_refresh_append"
    INCREMENTAL_APPEND = "incremental_append"
    INCREMENTAL_DEDUPED = "incremental_deduped_history"

    @property
    def incremental(self) -> bool:
        """Whether only rows at or after the stored cursor are read."""
        return self in (SyncMode.INCREMENTAL_APPEND, SyncMode.INCREMENTAL_DEDUPED)


class Profile(StrEnum):
    """Compute sizes by name; ``include.pods.profiles`` says what each asks for."""

    XS = "xs"
    S = "s"
    M = "m"
    L = "l"
    XL = "xl"
