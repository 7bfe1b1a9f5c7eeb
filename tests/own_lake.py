"""A lake of a test's own: an empty catalog in the session's PostgreSQL and an empty folder."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg import sql

from include.config.environments import current_environment
from include.lake.catalog import create_catalog_tables
from include.lake.rights import current_rights
from include.local.platform import Platform
from tests.variables import variables


def new_lake(postgres: Platform, folder: Path) -> dict[str, str]:
    """Makes one, with its files below a folder; the variables by which pyiceberg, and so every job, finds it."""
    database = f"lake_{secrets.token_hex(6)}"
    with psycopg.connect(postgres.postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    create_catalog_tables(postgres.postgres.dsn(database))
    prefix = f"PYICEBERG_CATALOG__{current_environment().lake.catalog.upper()}__"
    address = postgres.postgres.dsn(database, driver="psycopg2")
    return {f"{prefix}URI": address, f"{prefix}LOCAL__ROOT": str(folder), f"{prefix}WAREHOUSE": "local:///warehouse"}


@contextmanager
def process_in(environment: str, **others: str) -> Iterator[None]:
    """This process as one of another environment: its settings and its rights are those of the variables, for the length of a block."""
    try:
        with variables({"OL_ENVIRONMENT": environment, "OL_IMAGE_TAG": "2026.11.20-3f2a1c0", **others}):
            forget_environment()
            yield
    finally:
        forget_environment()


def forget_environment() -> None:
    """What was read from the variables once is read again."""
    current_environment.cache_clear()
    current_rights.cache_clear()
