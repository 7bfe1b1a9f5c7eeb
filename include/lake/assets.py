"""The only caller of ``Asset()``: name and URI are equal, lower case, and the same for every producer and consumer of a table.

Airflow keeps neither rule by itself: two names for one URI make the loser's task fail at its start.
"""

from __future__ import annotations

from functools import cached_property

from airflow.sdk import Asset, AssetAny

from include.config.environments import EnvironmentSettings
from include.lake.names import TableRef, asset_uri


def asset_of(environment: EnvironmentSettings, table: TableRef) -> Asset:
    """The asset that stands for a table of the lake; its group is the schema."""
    uri = asset_uri(environment, table)
    return Asset(name=uri, uri=uri, group=table.schema)


class AnyTable(AssetAny):
    """Schedules a DAG on any of several tables. As Airflow's own, but hashed once.

    A DAG is hashed, with its schedule, for every dependency drawn between two of its tasks, and an asset's hash writes the asset as
    JSON: 57 dependencies and 37 assets took 0.6 s of every parse, and the product grows with both.
    """

    @cached_property
    def _hash(self) -> int:
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)

    def __hash__(self) -> int:
        return self._hash
