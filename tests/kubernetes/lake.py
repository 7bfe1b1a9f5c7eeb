"""The lake of a test session: everything that the platform's local environment names in the catalog of ``TRINO_CATALOG``."""

from __future__ import annotations

import trino.dbapi

from include.config.environments import current_environment
from tests.kubernetes.addresses import Trino


def forget_the_lake(address: Trino) -> None:
    """Drops the schemas of earlier sessions, or their rows would be in this one's totals."""
    prefix = current_environment().lake.schema_prefix
    with trino.dbapi.connect(host=address.host, port=address.port, user=address.user, catalog=address.catalog) as connection:
        cursor = connection.cursor()
        cursor.execute("SHOW SCHEMAS")
        for (schema,) in cursor.fetchall():
            if schema.startswith(f"{prefix}_"):
                cursor.execute(f'DROP SCHEMA "{schema}" CASCADE')
                cursor.fetchall()
