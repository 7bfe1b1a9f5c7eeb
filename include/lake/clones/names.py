"""What belongs to a pull request or a developer: schemas by their suffix, tags by their name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.glue import GlueCatalog
from sqlalchemy import text

from include.config.environments import EnvironmentSettings, territories
from include.config.errors import ConfigError, Problem
from include.config.vocabulary import Environment, Layer
from include.lake.catalog import open_catalog
from include.lake.metadata import glue_entries, sql_catalog
from include.lake.objects import ObjectStore, store_of

CLONE_OF = "ol.clone-of"
CLONE_PR = "ol.clone-pr"
CLONE_SNAPSHOT = "ol.clone-snapshot"
CLONED_AT = "ol.cloned-at"
CREATED_AT = "ol.created-at"
"""Property of a schema, and so in the catalog: when it was made (ISO 8601)."""

OWN_LAYERS = tuple(layer for layer in Layer if layer is not Layer.RAW)
"""The layers that a developer or a pull request has schemas of; raw tables are read where connections load them."""
IN_FLIGHT = 8
_TAG = re.compile(r"clone_pr_([1-9][0-9]*)\Z")
_SUFFIX = re.compile(r"pr_([1-9][0-9]*)\Z")
T = TypeVar("T")
R = TypeVar("R")


class CloneError(Exception):
    """A clone or a schema that is not made or not removed, and why. What was done before stays; the same command goes on from there."""


@dataclass(frozen=True)
class Lake:
    """A catalog, the store of its files and the environment whose schemas are meant."""

    environment: EnvironmentSettings
    catalog: Catalog

    @classmethod
    def of(cls, environment: EnvironmentSettings) -> Lake:
        """An environment's lake. Raises ``ConfigError``, for production as well, which has neither clones nor developers' schemas."""
        if environment.name is Environment.PRODUCTION:
            allowed = "local, branch and qa: pull requests are based on QA, and nobody works in production"
            raise ConfigError((Problem("environment variables", "OL_ENVIRONMENT", "production", allowed),))
        return cls(environment, open_catalog(environment))

    @cached_property
    def store(self) -> ObjectStore:
        """Where the tables' files lie."""
        return store_of(self.catalog)

    @property
    def base_schemas(self) -> dict[Layer, str]:
        """The schemas that clones are made from."""
        return {layer: self.environment.base_schema_for(layer) for layer in OWN_LAYERS}

    def schemas_with(self, suffix: str) -> dict[Layer, str]:
        """The schemas that carry a suffix: ``pr_1523`` or a developer's name."""
        return {layer: f"{schema}_{suffix}" for layer, schema in self.base_schemas.items()}

    def warehouse_for(self, suffix: str) -> str:
        """Where the schemas with a suffix lie: a pull request's in the store of the environment that it runs in, whoever makes them."""
        runs_in = [territory for territory in territories() if territory.based_on is self.environment.name]
        if pull_request_of_suffix(suffix) and runs_in:
            return runs_in[0].roots[0].rstrip("/")
        return str(self.catalog.properties["warehouse"]).rstrip("/")

    def pull_request_of(self, schema: str) -> int | None:
        """Whose schema it is; nothing for one that no pull request owns."""
        for base in self.base_schemas.values():
            if schema.startswith(f"{base}_") and (found := pull_request_of_suffix(schema.removeprefix(f"{base}_"))):
                return found
        return None


def suffix_of(pull_request: int) -> str:
    """``pr_1523``."""
    return f"pr_{pull_request}"


def pull_request_of_suffix(suffix: str) -> int | None:
    """The inverse of :func:`suffix_of`; nothing for a developer's."""
    found = _SUFFIX.match(suffix)
    return int(found[1]) if found else None


def tag_of(pull_request: int) -> str:
    """The tag that keeps a base's snapshot for a clone: ``clone_pr_1523``."""
    return f"clone_pr_{pull_request}"


def pull_request_of_tag(tag: str) -> int | None:
    """The inverse of :func:`tag_of`; nothing for other tags."""
    found = _TAG.match(tag)
    return int(found[1]) if found else None


def check_pull_request(lake: Lake, pull_request: int) -> None:
    """Raises ``ConfigError`` where the process has a suffix that is another's: it could write nothing of this pull request."""
    suffix = lake.environment.schema_suffix
    if suffix and suffix != suffix_of(pull_request):
        raise ConfigError((Problem("environment variables", "OL_SCHEMA_SUFFIX", repr(suffix), f"{suffix_of(pull_request)}, or nothing"),))


def views_of(catalog: Catalog, schema: str) -> list[str]:
    """The names of a schema's views, sorted: what Trino made with CREATE VIEW."""
    if isinstance(catalog, GlueCatalog):
        return sorted(entry["Name"] for entry in glue_entries(catalog, schema) if entry.get("TableType") == "VIRTUAL_VIEW")
    statement = "SELECT table_name FROM iceberg_tables WHERE catalog_name = :catalog AND table_namespace = :schema AND iceberg_type = 'VIEW'"
    with sql_catalog(catalog).engine.connect() as connection:
        return sorted(connection.execute(text(statement), {"catalog": catalog.name, "schema": schema}).scalars())


def forget_view(catalog: Catalog, schema: str, view: str) -> None:
    """Removes a view's entry; callers have asked for the right to drop from its schema. One that is gone is fine."""
    if isinstance(catalog, GlueCatalog):
        try:
            catalog.glue.delete_table(DatabaseName=schema, Name=view)
        except catalog.glue.exceptions.EntityNotFoundException:
            return
        return
    where = "catalog_name = :catalog AND table_namespace = :schema AND table_name = :view AND iceberg_type = 'VIEW'"
    with sql_catalog(catalog).engine.begin() as connection:
        connection.execute(text(f"DELETE FROM iceberg_tables WHERE {where}"), {"catalog": catalog.name, "schema": schema, "view": view})  # noqa: S608


def each(work: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """The results in order, several at a time. The first failure is raised when what has begun has ended; nothing new begins after it."""
    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        futures = [threads.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            for future in futures:
                future.cancel()
            raise
