"""Waits until the database has the tables of this image's Airflow: ``python migrated.py 300`` exits with 1 after so many seconds without them.

The same question as ``airflow db check-migrations``, asked of the database directly: every pod waits before it starts, and that command imports all of
Airflow for it, five seconds of processor time each. What is waited for is noted when the image is built: ``python migrated.py --note``.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import psycopg2
from psycopg2 import sql

NOTED = Path("/opt/airflow/migrations.json")


def main(seconds: float) -> int:
    """The exit code; what is missing goes to stdout."""
    wanted = {table: set(heads) for table, heads in json.loads(NOTED.read_text(encoding="utf-8")).items()}
    deadline = time.monotonic() + seconds
    while True:
        try:
            missing = {table: heads for table, heads in wanted.items() if revisions(table) != heads}
        except psycopg2.Error as error:
            print(f"waiting: {str(error).strip()}", flush=True)
        else:
            if not missing:
                return 0
            print(f"waiting for {missing}", flush=True)
        if time.monotonic() > deadline:
            return 1
        time.sleep(1)


def revisions(table: str) -> set[str]:
    """The revisions that a table of Alembic names. Raises ``psycopg2.Error`` while there is none."""
    address = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"].replace("postgresql+psycopg2://", "postgresql://")
    connection = psycopg2.connect(address, connect_timeout=10)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql.SQL("SELECT version_num FROM {}").format(sql.Identifier(table)))
            return {row[0] for row in cursor.fetchall()}
    finally:
        connection.close()


def note() -> None:
    """Writes down the newest revisions of Airflow's tables, and of those of its managers of users."""
    import airflow
    import airflow.providers.fab
    from alembic.script import ScriptDirectory

    packages = {"alembic_version": airflow, "alembic_version_fab": airflow.providers.fab}
    folders = {table: Path(package.__file__).parent / "migrations" for table, package in packages.items()}
    NOTED.write_text(json.dumps({table: ScriptDirectory(str(folder)).get_heads() for table, folder in folders.items()}), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "--note":
        note()
    else:
        sys.exit(main(float(sys.argv[1])))
