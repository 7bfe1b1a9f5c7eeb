"""Opens catalogs: Glue in production and qa, PostgreSQL (``jdbc``) on a laptop, in tests and in small installations.

The ``jdbc`` kind is one pair of tables that Trino calls a JDBC catalog (schema version V1) and pyiceberg a ``SqlCatalog``; both
find their tables by the catalog's name, which is therefore the same everywhere.

Addresses and credentials come from pyiceberg's own variables, ``PYICEBERG_CATALOG__<NAME>__<PROPERTY>``: ``…__URI`` (the
PostgreSQL database), ``…__LOCAL__ROOT`` (the directory behind ``local://``), ``…__S3__ENDPOINT``, ``…__GLUE__REGION`` and so on.
pyiceberg turns every single underscore of such a name into a dash, the catalog's name included, so it never finds a catalog
whose name has underscores; :func:`open_catalog` looks under the dashed name as well and opens under the real one.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, cast

import psycopg
import pyarrow as pa
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NamespaceAlreadyExistsError, NoSuchTableError, TableAlreadyExistsError
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.utils.config import Config
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from include.config.environments import EnvironmentSettings
from include.config.errors import ConfigError, Problem
from include.lake.names import TableRef
from include.lake.rights import guard

FILE_IO = "include.lake.storage.LakeFileIO"
TYPES = {"jdbc": "sql", "glue": "glue"}

# Properties of every table that a job creates, each with its reason.
TABLE_PROPERTIES = {
    "format-version": "2",  # Trino 476 refuses 3
    "write.parquet.compression-codec": "zstd",  # Trino's default as well
    "write.metadata.delete-after-commit.enabled": "true",  # or every commit leaves a metadata file behind for ever
    "write.metadata.previous-versions-max": "50",  # commits slow down as the log grows: 12 → 58 ms in 100 commits
}

_DDL = """
CREATE TABLE IF NOT EXISTS iceberg_tables (
  catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL, table_name VARCHAR(255) NOT NULL,
  metadata_location VARCHAR(1000), previous_metadata_location VARCHAR(1000), iceberg_type VARCHAR(5),
  PRIMARY KEY (catalog_name, table_namespace, table_name));
CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
  catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL, property_key VARCHAR(255) NOT NULL, property_value VARCHAR(1000),
  PRIMARY KEY (catalog_name, namespace, property_key));
"""
_DDL_LOCK = 0x1CEB  # two starts at once: IF NOT EXISTS alone still fails on the catalog's own indexes


def create_catalog_tables(dsn: str) -> None:
    """Makes the two tables of a ``jdbc`` catalog (schema V1) where they are missing.

    Neither Trino nor pyiceberg makes both as the other needs them. ``dsn`` is a libpq or SQLAlchemy address, for example
    ``postgresql://user:password@127.0.0.1:5432/iceberg``. Safe to call at any time, also twice at once.
    """
    scheme, separator, rest = dsn.partition("://")
    address = f"{scheme.partition('+')[0]}{separator}{rest}"
    with psycopg.connect(address) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (_DDL_LOCK,))
        connection.execute(_DDL)


def open_catalog(environment: EnvironmentSettings | str, properties: Mapping[str, str] | None = None) -> Catalog:
    """The catalog of an environment, or the one of that name.

    A plain name takes its kind from the property ``type`` (``sql`` when absent). ``properties`` win over variables, variables over
    the environment's own settings. Writes outside of what this process's environment owns raise ``ForbiddenError``, whatever was opened
    (:mod:`include.lake.rights`). Raises ``ConfigError`` when the ``jdbc`` kind has no address; no connection is made for Glue.
    """
    if isinstance(environment, str):
        name, defaults = environment, {"type": "sql"}
    else:
        name, defaults = environment.lake.catalog, {"type": TYPES[environment.lake.kind], "warehouse": environment.lake.warehouse}
    merged = {
        "py-io-impl": FILE_IO,
        "pool_pre_ping": "true",
        **defaults,
        **_configured(name),
        **(properties or {}),
        "init_catalog_tables": "false",  # pyiceberg's own tables differ in a NOT NULL; create_catalog_tables is the only place
    }
    if merged["type"] == "sql" and not merged.get("uri"):
        variable = f"PYICEBERG_CATALOG__{name.upper()}__URI"
        raise ConfigError((Problem("environment variables", variable, "nothing", "the catalog's PostgreSQL", f"{variable}=postgresql://…"),))
    catalog = load_catalog(name, **cast("dict[str, str | None]", merged))
    if merged["type"] == "glue":
        _ = cast("Any", catalog).glue.exceptions  # botocore makes these classes when they are first asked for: two threads at once would get two of each
    return guard(catalog)


def _configured(name: str) -> dict[str, str]:
    """The catalog's properties from pyiceberg's file (under the name as it is) and from variables (under the dashed name), read now."""
    config = Config()
    return {key: str(value) for form in (name, name.replace("_", "-")) for key, value in (config.get_catalog_config(form) or {}).items()}


def ensure_schema(catalog: Catalog, schema: str) -> None:
    """Creates a schema where it is missing, with its location below the warehouse, so Trino and pyiceberg put tables side by side."""
    warehouse = catalog.properties.get("warehouse", "").rstrip("/")
    create_schema(catalog, schema, {"location": f"{warehouse}/{schema}"} if warehouse else {})


def create_schema(catalog: Catalog, schema: str, properties: dict[str, str]) -> None:
    """Creates a schema with these properties; one that is there, or that somebody else makes at the same moment, stays as it is."""
    try:
        catalog.create_namespace(schema, properties)
    except NamespaceAlreadyExistsError:
        return
    except IntegrityError:  # pyiceberg looks whether a jdbc catalog has it, and then inserts
        if schema not in schemas_of(catalog):
            raise


def ensure_table(
    catalog: Catalog,
    table: TableRef,
    schema: pa.Schema | Schema,
    *,
    partition_spec: PartitionSpec = UNPARTITIONED_PARTITION_SPEC,
    properties: Mapping[str, str] | None = None,
) -> Table:
    """The table, created (schema included) when it is missing; one that exists is returned as it is, whatever its columns.

    Every new table gets a folder of its own with a random suffix, as Trino's do: a table that takes the name of a renamed or
    dropped one must never share files with it, since Trino's DROP TABLE removes the folder.
    """
    try:
        return catalog.load_table(table.identifier)
    except NoSuchTableError:
        ensure_schema(catalog, table.schema)
    location = f"{location_of(catalog, table.schema)}/{table.table}-{secrets.token_hex(16)}"
    try:
        return catalog.create_table(table.identifier, schema, location, partition_spec, properties={**TABLE_PROPERTIES, **(properties or {})})
    except TableAlreadyExistsError:  # somebody else was faster
        return catalog.load_table(table.identifier)


@contextmanager
def turn(catalog: Catalog, table: tuple[str, ...], longest: float) -> Iterator[None]:
    """One writer of a table at a time, where the catalog is PostgreSQL; elsewhere, or after ``longest`` seconds of waiting, nothing happens.

    This is courtesy, not safety: commits are compared and swapped anyway and Trino takes no turns. But writers that conflict again
    and again on a busy table do all their work in vain, and a queue lets each of them through. A writer that dies leaves the queue with its connection.
    """
    if not isinstance(catalog, SqlCatalog) or catalog.engine.dialect.name != "postgresql":
        yield
        return
    with catalog.engine.connect() as connection:
        with suppress(OperationalError):  # waited long enough
            connection.execute(text("SELECT set_config('lock_timeout', :longest, true)"), {"longest": f"{max(1, round(longest * 1000))}ms"})
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": ".".join((catalog.name, *table))})
        try:
            yield
        finally:
            with suppress(SQLAlchemyError):  # the server ends sessions that stay idle in a transaction; the queue is then open again anyway
                connection.rollback()


def schemas_of(catalog: Catalog) -> list[str]:
    """The names of all schemas, sorted."""
    return sorted(".".join(namespace) for namespace in catalog.list_namespaces())


def location_of(catalog: Catalog, schema: str) -> str:
    """A schema's folder, without a slash at its end: its own, or the one of its name below the warehouse. Raises ``NoSuchNamespaceError``."""
    location = catalog.load_namespace_properties(schema).get("location") or f"{catalog.properties['warehouse'].rstrip('/')}/{schema}"
    return location.rstrip("/")
