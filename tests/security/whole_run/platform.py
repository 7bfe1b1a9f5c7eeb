"""A real Airflow over a copy of the repository with the canaries' code, on a PostgreSQL of its own and the session's Trino."""

from __future__ import annotations

import base64
import io
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmarks.repository import copy_code
from include.local.paths import Paths, write_private
from include.local.platform import Platform
from tests.dbt.project import command
from tests.security.canaries import IN_URLS, OF_ENVIRONMENT, Canary
from tests.security.secret_servers import ADMIN, AwsServer
from tests.variables import variables

CODE = Path(__file__).parent / "code"
CONTROL = "zq-control-that-is-no-secret"
TABLE = "ol_data_lake_local.ol_warehouse_local_intermediate.int__canary__leak"
MODEL = """select cast('[dbt_password={{ env_var("DBT_EXTRA_PASSWORD") }}] [control={{ env_var("CANARY_CONTROL") }}]' as integer) as a\n"""
PLAIN = ("db_password", "special_password", "sql_password", "webhook_token", "pod_argument", "uri_password", "json_password")
"""Canaries that are the password of a connection called after them."""
FROM_VARIABLES = frozenset({"uri_password", "json_password"})
ENVIRONMENT = {**OF_ENVIRONMENT, **IN_URLS}
OF_PLATFORM = {"jwt_secret": "jwt", "api_secret": "api"}
"""Secrets that a platform makes for itself, and what it calls them; the Fernet key is one more."""


class AsInImage(Platform):
    """A platform whose Airflow has the plugins on its path from the beginning: it asks for its secrets backend before it looks for plugins."""

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "PYTHONPATH": f"{self.paths.root}:{self.paths.root / 'plugins'}"}


def environment(canaries: dict[str, Canary], aws: AwsServer, folder: Path) -> dict[str, str]:
    """What everything is started with beside the platform's own settings: Airflow, its tasks, their jobs."""
    value = {name: canary.value for name, canary in canaries.items()}
    plan = {"control": CONTROL, "table": TABLE, "folder": str(folder), "connections": PLAIN, "environment": ENVIRONMENT}
    return {variable: value[name] for name, variable in OF_ENVIRONMENT.items()} | {
        "AIRBYTE_CLIENT_ID": "client",
        "FORUM_MONGODB_URI": f"mongodb://forum:{quote(value['forum_uri_password'], safe='')}@mongo.test/forum",
        "REPORTS_URL": f"https://reports:{quote(value['report_url_password'], safe='')}@reports.test/",
        "PYICEBERG_CATALOG__CANARY__URI": f"postgresql+psycopg2://iceberg:{quote(value['catalog_password'], safe='')}@db.test/iceberg",
        "AIRFLOW_CONN_CANARY_URI_PASSWORD": f"postgresql://user:{quote(value['uri_password'], safe='')}@db.test/x",
        "AIRFLOW_CONN_CANARY_JSON_PASSWORD": json.dumps({"conn_type": "http", "host": "h", "password": value["json_password"]}),
        "AIRFLOW__SECRETS__BACKEND": "platform_secrets.PlatformSecrets",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"source": "aws", "root": aws.root, "endpoint_url": aws.url, "region_name": "us-east-1"}),
        "AIRFLOW__SECRETS__BACKEND_KWARG__LOCATIONS": "platform,shared",
        "AIRFLOW__API__EXPOSE_CONFIG": "non-sensitive-only",  # nothing of it is shown by default
        "AIRFLOW__API__INSTANCE_NAME": CONTROL,
        "AWS_ACCESS_KEY_ID": ADMIN,
        "AWS_EC2_METADATA_DISABLED": "true",
        "CANARY_CONTROL": CONTROL,
        "CANARY_PLAN": json.dumps(plan),
        "OL_IMAGE_TAG": "t1",
    }


def fill_backend(canaries: dict[str, Canary], aws: AwsServer) -> None:
    """What only the secrets backend knows."""
    value = {name: canary.value for name, canary in canaries.items()}
    backend = {"conn_type": "http", "host": "h", "password": value["backend_password"], "extra": {"api_key": value["backend_extra"]}}
    aws.put("platform", "connections", "canary_backend", json.dumps(backend))
    aws.put("shared", "variables", "innocent", value["backend_variable"])
    aws.put("shared", "variables", "innocent_json", json.dumps({"colour": value["backend_leaf"]}))


def to_be_stored(canaries: dict[str, Canary]) -> list[tuple[str, dict[str, Any]]]:
    """Connections and variables for the metadata database, as requests to the REST API: path and body."""
    value = {name: canary.value for name, canary in canaries.items()}
    extras = {"token": value["extra_token"], "auth": {"client_secret": value["nested_secret"]}, "keyfile_dict": {"private_key": value["private_key"]}}
    common = {"description": CONTROL, "host": "db.test"}
    connections: list[dict[str, Any]] = [
        {**common, "connection_id": f"canary_{name}", "conn_type": "postgres", "login": "user", "password": value[name]}
        for name in PLAIN
        if name not in FROM_VARIABLES
    ]
    connections.append({**common, "connection_id": "canary_extras", "conn_type": "http", "extra": json.dumps(extras)})
    in_variables = {"canary_api_key": value["variable_api_key"], "canary_json": json.dumps({"password": value["variable_json"]})}
    return [("/connections", connection) for connection in connections] + [
        ("/variables", {"key": key, "value": text, "description": CONTROL}) for key, text in in_variables.items()
    ]


def repository(folder: Path) -> Path:
    """A copy with the canaries' code over it, and a dbt project of one model that shows a secret in its error."""
    code = copy_code(folder, {})
    shutil.copytree(CODE, code, dirs_exist_ok=True)
    entry = code / "include" / "jobs" / "__main__.py"
    entry.write_text(entry.read_text(encoding="utf-8").replace("JOBS = {", 'JOBS = {\n    "canary": "include.jobs.canary",'), encoding="utf-8")
    project = code / "include" / "dbt" / "open_learning"
    for part in ("models", "tests/singular"):
        shutil.rmtree(project / part)
    (project / "models" / "intermediate").mkdir(parents=True)
    (project / "models" / "intermediate" / "int__canary__leak.sql").write_text(MODEL, encoding="utf-8")
    return code


def parse(project: Path) -> None:
    """dbt's manifest of the copy."""
    done = subprocess.run(command(project / "target", "parse", project=project, profiles=project), capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def keep(paths: Paths, canaries: dict[str, Canary]) -> None:
    """Makes canaries the secrets that a platform would invent for its Airflow."""
    folder = paths.state / "secrets"
    folder.mkdir(mode=0o700, parents=True)
    for canary, name in OF_PLATFORM.items():
        write_private(folder / name, canaries[canary].value)
    write_private(folder / "fernet", base64.urlsafe_b64decode(canaries["fernet_key"].value).hex())


@contextmanager
def running(canaries: dict[str, Canary], aws: AwsServer, folder: Path) -> Iterator[Platform]:
    """The platform for the length of a block. The variables with the canaries are those of its processes, not of this one's tests."""
    code = repository(folder / "code")
    paths = Paths(root=code, state=folder / "state")
    keep(paths, canaries)
    with variables(environment(canaries, aws, folder)):
        parse(code / "include" / "dbt" / "open_learning")
        platform = AsInImage(paths, ("lake", "airflow"), out=io.StringIO())
        try:
            platform.start(attached=True)
        except BaseException:
            platform.clean()
            raise
    try:
        yield platform
        platform.check()
    finally:
        platform.clean()
