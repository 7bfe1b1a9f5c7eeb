"""What Airflow asks its owner: whose identity a task runs with and from which image, and how to reach the metadata database.

Airflow imports this module by its name. A worker's pod gets the service account of the task's code location, which may read the secrets
of that location and no other's. The location is that of the bundle the task is loaded from, and this hook has the last word: nothing in
a DAG file can choose another identity.

Airflow's own components end when they find nobody to connect to, and the tasks of LocalExecutor with the scheduler; here they wait a minute for
a PgBouncer or a PostgreSQL that starts again.
"""

from __future__ import annotations

import json
import logging
import random
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Engine

__all__ = ["create_metadata_engine", "pod_mutation_hook"]
log = logging.getLogger(__name__)
PATIENCE = 60.0  # seconds
LIBPQ = {"connect_timeout": 10, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 20_000}
"""A PgBouncer whose pod or node went without a word is known to be gone after some twenty seconds; the system's own limits are hours. Seconds; milliseconds."""
PAUSE = (0.2, 1.0)  # seconds; drawn, so that not all that wait come at once
FOR_GOOD = ("authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry")  # what no waiting mends, in PostgreSQL's words
WORKER = "kubernetes_executor"  # the label of pods that run tasks; pods of jobs come by here too, and are left as they are
LOCATIONS = "AIRFLOW__SECRETS__BACKEND_KWARG__LOCATIONS"


def create_metadata_engine(sql_alchemy_conn: str, *, engine_args: dict[str, Any], connect_args: dict[str, Any]) -> Engine:
    """As Airflow's own, but a database that is away is waited for (see :func:`connect_patiently`). A statement that it dies under fails as ever."""
    from sqlalchemy import create_engine, event, make_url

    if make_url(sql_alchemy_conn).get_backend_name() == "postgresql":
        connect_args = {**LIBPQ, **connect_args}
    engine = create_engine(sql_alchemy_conn, connect_args=connect_args, **engine_args)
    event.listen(engine, "do_connect", connect_patiently)
    return engine


def connect_patiently(dialect: Any, _record: Any, arguments: list[Any], settings: dict[str, Any]) -> Any:
    """A new connection. Raises the driver's ``OperationalError`` for a refused login at once, and for a database that stays away after :data:`PATIENCE`."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return dialect.connect(*arguments, **settings)
        except dialect.loaded_dbapi.OperationalError as error:
            if any(words in str(error) for words in FOR_GOOD) or time.monotonic() > deadline:
                raise
            log.warning("the metadata database is away: %s", str(error).strip())
            time.sleep(random.uniform(*PAUSE))  # noqa: S311 - a pause


def pod_mutation_hook(pod: Any) -> None:
    """Makes a worker's pod one of its location: service account, secrets, and the image where the location has one of its own."""
    if WORKER not in (pod.metadata.labels or {}):
        return
    base = next(container for container in pod.spec.containers if container.name == "base")
    location = _location(base.args or [])
    worker = _workers().get(location)
    if worker is None:
        return
    pod.metadata.labels["ol/location"] = location
    pod.spec.service_account_name = worker["service_account"]
    base.image = worker.get("image") or base.image
    from kubernetes.client import models as k8s

    base.env = [variable for variable in base.env or [] if variable.name != LOCATIONS]
    base.env.append(k8s.V1EnvVar(name=LOCATIONS, value=f"{location},shared"))


def _location(arguments: list[str]) -> str:
    """The bundle of the task, from the workload that the executor puts on the command line."""
    workload = json.loads(arguments[arguments.index("--json-string") + 1])
    return str(workload["bundle_info"]["name"])


def _workers() -> dict[str, dict[str, str]]:
    """What the configuration of bundles says about their workers, by the bundle's name; nothing of bundles that have no identity of their own."""
    from airflow.configuration import conf

    bundles: Any = conf.getjson("dag_processor", "dag_bundle_config_list")
    return {bundle["name"]: bundle["kwargs"] for bundle in bundles if bundle["kwargs"].get("service_account")}
