"""``TableRef``: the one name of a table, from which its asset, its dbt relation and its Superset dataset follow."""

from __future__ import annotations

import re
from dataclasses import dataclass

from include.config.environments import EnvironmentSettings
from include.config.vocabulary import Layer

_PART = re.compile(r"[a-z0-9_]+\Z")


@dataclass(frozen=True, order=True)
class TableRef:
    """A table's place in the lake: ``catalog.schema.table``, always lower case.

    Raises ``ValueError`` for parts outside ``[a-z0-9_]+`` (upper case is folded, not refused), so a name can be
    quoted into SQL, a URI or a path without escaping.
    """

    catalog: str
    schema: str
    table: str

    def __post_init__(self) -> None:
        for field in ("catalog", "schema", "table"):
            part = getattr(self, field).lower()
            if not _PART.match(part):
                raise ValueError(f"{field} of a table name: found {part!r}; allowed: letters, digits and underscores; for example: users_user")
            object.__setattr__(self, field, part)

    def __str__(self) -> str:
        return f"{self.catalog}.{self.schema}.{self.table}"

    @property
    def identifier(self) -> tuple[str, str]:
        """``(schema, table)``, as pyiceberg's catalogs take it."""
        return self.schema, self.table

    @property
    def sql(self) -> str:
        """The quoted three-part name for Trino."""
        return f'"{self.catalog}"."{self.schema}"."{self.table}"'

    def uri(self, host: str, port: int) -> str:
        """The asset's name and URI: ``trino://host:port/catalog/schema/table``."""
        return f"trino://{host.lower()}:{port}/{self.catalog}/{self.schema}/{self.table}"

    @classmethod
    def from_uri(cls, uri: str) -> TableRef:
        """The inverse of :meth:`uri`. Raises ``ValueError`` when there are not exactly three path parts."""
        parts = uri.partition("://")[2].split("/")[1:]
        if len(parts) != 3:
            raise ValueError(f"asset URI: found {uri!r}; allowed: trino://host:port/catalog/schema/table")
        return cls(*parts)


def table_in(environment: EnvironmentSettings, layer: Layer, name: str) -> TableRef:
    """The table ``name`` of one layer in an environment."""
    return TableRef(environment.lake.catalog, environment.schema_for(layer), name)


def asset_uri(environment: EnvironmentSettings, table: TableRef) -> str:
    """A table's asset name (and URI): stable, independent of the address Trino answers at."""
    return table.uri(environment.lake.asset_host, environment.lake.asset_port)
