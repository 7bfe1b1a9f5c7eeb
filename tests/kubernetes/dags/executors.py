"""Airflow DAG with a task for each executor: both say what they find around themselves."""

from __future__ import annotations

import logging
import os
import platform
from typing import Any

from airflow.sdk import DAG, task

from include.policies import START_DATE

SECRET_NAMES = ("SQL_ALCHEMY", "FERNET", "JWT", "SECRET_KEY", "AIRFLOW_CONN", "PASSWORD")
LARGE = 70_000  # characters; more than the threshold of helm/airflow/base.yaml
NO_DATABASE = "airflow-db-not-allowed:///"  # what Airflow itself puts in the database's place for a task


def surroundings() -> dict[str, Any]:
    """This process's machine, whether it has no metadata database (an address would be masked), and which variables look like secrets."""
    from airflow.sdk.configuration import conf

    logging.getLogger(__name__).info("looking round")
    return {
        "host": platform.node(),
        "no_database": conf.get("database", "sql_alchemy_conn", fallback="") == NO_DATABASE,
        "variables": sorted(name for name, value in os.environ.items() if value != NO_DATABASE and any(word in name for word in SECRET_NAMES)),
        "api": conf.get("core", "execution_api_server_url", fallback=""),
    }


with DAG("two_executors", schedule=None, start_date=START_DATE, default_args={"retries": 0}, auto_register=False) as dag:

    @task(executor="KubernetesExecutor", multiple_outputs=False)
    def in_a_pod() -> dict[str, Any]:
        """Runs in a worker pod; what it returns is too large for the database."""
        return {**surroundings(), "ballast": "x" * LARGE}

    @task(executor="LocalExecutor", multiple_outputs=False)
    def in_the_scheduler(before: dict[str, Any]) -> dict[str, Any]:
        """Runs beside the scheduler."""
        return {**surroundings(), "received": len(before["ballast"])}

    in_the_scheduler(in_a_pod())
