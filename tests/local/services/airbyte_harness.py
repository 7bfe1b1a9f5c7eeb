"""The service on a real socket, its source databases, and looks into the lake."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import uvicorn
import yaml
from psycopg import sql
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from include.config.environments import ROOT
from include.config.units import AirbyteUnit
from include.local.platform import Platform
from include.local.services.airbyte.api import Api
from include.local.services.airbyte.connections import Connection
from include.local.services.airbyte.destination import METADATA_COLUMNS, Destination
from include.local.services.airbyte.store import ACTIVE, Store
from include.local.services.airbyte.worker import Worker
from include.local.services.serving import configuration
from include.local.services.tokens import Tokens
from tests.ports import free_port

SCHEMA = "ol_warehouse_local_raw"
STATE = "airbyte_tests"  # the platform's own service has the database airbyte
CATALOG = "ol_data_lake_local"
CLIENT = ("client", "secret")
TOKEN_SECONDS = 86_400  # longer than any module takes: its tests ask for a token once
ENDED = ("succeeded", "failed", "cancelled")
TABLES = """
DROP SCHEMA public CASCADE;
CREATE SCHEMA public;
CREATE TABLE people (
    id bigint PRIMARY KEY, email text, name varchar(80), balance numeric, active boolean, born date, seen timestamptz, noted timestamp,
    extra jsonb, score double precision, tags text[], updated_on timestamptz);
CREATE TABLE pairs (a integer, b text, value text, updated_on timestamptz, PRIMARY KEY (a, b));
CREATE TABLE loose (id integer, value text, updated_on timestamptz);
CREATE TABLE events (id bigint, kind text, happened_on timestamptz);
CREATE TABLE lookups (code text PRIMARY KEY, label text);
CREATE TABLE readings (id integer, value text);
INSERT INTO people
    SELECT g, 'P' || g || '@example.org', 'Näme ' || g, g / 3.0, g % 2 = 0, date '1970-01-01' + g, timestamptz '2026-01-01' + g * interval '1 s',
    timestamp '2026-01-01 00:00:00.123456' + g * interval '1 s', jsonb_build_object('n', g), g / 7.0, ARRAY['x', 'y' || g],
    timestamptz '2026-01-01' + g * interval '1 min' FROM generate_series(1, 300) g;
INSERT INTO pairs SELECT g % 7, 'b' || g, 'v' || g, timestamptz '2026-01-01' + g * interval '1 min' FROM generate_series(1, 100) g;
INSERT INTO loose SELECT g, 'old', timestamptz '2026-01-01' FROM generate_series(1, 20) g;
INSERT INTO loose SELECT g, 'new', timestamptz '2026-01-02' FROM generate_series(1, 10) g;
INSERT INTO events SELECT g, 'kind ' || g % 3, timestamptz '2026-01-01' + g * interval '1 min' FROM generate_series(1, 200) g;
INSERT INTO lookups SELECT 'c' || g, 'label ' || g FROM generate_series(1, 30) g;
INSERT INTO readings SELECT g, 'r' || g FROM generate_series(1, 10) g;
"""
STREAMS: list[dict[str, Any]] = [
    {"name": "people", "sync_mode": "incremental_deduped_history", "cursor": "updated_on", "primary_key": ["id"], "columns": ["id", "email", "updated_on"]},
    {"name": "pairs", "sync_mode": "incremental_deduped_history", "cursor": "updated_on", "primary_key": ["a", "b"], "columns": ["a", "b", "updated_on"]},
    {"name": "loose", "sync_mode": "incremental_deduped_history", "cursor": "updated_on", "primary_key": ["id"], "columns": ["id", "updated_on"]},
    {"name": "events", "sync_mode": "incremental_append", "cursor": "happened_on", "columns": ["id", "happened_on"]},
    {"name": "lookups", "sync_mode": "full_refresh_overwrite", "primary_key": ["code"], "columns": ["code", "label"]},
    {"name": "readings", "sync_mode": "full_refresh_append", "columns": ["id", "value"]},
]
ROWS = 300 + 100 + 20 + 200 + 30 + 10
_numbers = itertools.count(1)


def unit_document(local_id: str, prefix: str, streams: list[dict[str, Any]]) -> dict[str, Any]:
    """A unit file's content."""
    return {
        "owner": "data-platform",
        "tier": 3,
        "cadence": "daily",
        "description": "A shop",
        "dbt_staging": "stg__shop__",
        "connection": {"name": "shop → s3 data lake", "ids": {"local": local_id}},
        "table_prefix": prefix,
        "streams": streams,
    }


def wait_until(condition: Any, seconds: float = 120.0, what: str = "condition") -> Any:
    """The first truthy answer of ``condition``."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {seconds} s")


class Client:
    """The public API by plain HTTP, where a test needs the exact answer."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.api = f"{root}/api/public/v1"
        self.http = httpx.Client(base_url=self.api, timeout=15)

    def authorize(self, login: tuple[str, str] = CLIENT) -> Client:
        form = {"grant_type": "client_credentials", "client_id": login[0], "client_secret": login[1]}
        self.http.headers["Authorization"] = f"Bearer {self.http.post('/applications/token', data=form).json()['access_token']}"
        return self

    def submit(self, connection_id: str, job_type: str = "sync") -> httpx.Response:
        return self.http.post("/jobs", json={"connectionId": connection_id, "jobType": job_type})

    def job(self, job_id: int) -> dict[str, Any]:
        return dict(self.http.get(f"/jobs/{job_id}").raise_for_status().json())

    def jobs(self) -> list[dict[str, Any]]:
        """The newest hundred."""
        return list(self.http.get("/jobs", params={"limit": 100, "orderBy": "createdAt|DESC"}).raise_for_status().json()["data"])

    def wait(self, job_id: int, *statuses: str, seconds: float = 300) -> dict[str, Any]:
        wanted = statuses or ENDED
        return dict(wait_until(lambda: (job := self.job(job_id))["status"] in wanted and job, seconds, f"job {job_id} in {wanted}"))

    def sync(self, connection_id: str, job_type: str = "sync") -> dict[str, Any]:
        return self.wait(self.submit(connection_id, job_type).raise_for_status().json()["jobId"])

    def faults(self, *rules: dict[str, Any]) -> httpx.Response:
        return self.http.post(f"{self.root}/_faults", json=list(rules))

    def clear(self) -> None:
        self.http.delete(f"{self.root}/_faults")
        self.http.delete(f"{self.root}/_requests")

    def requests(self) -> list[dict[str, Any]]:
        return list(self.http.get(f"{self.root}/_requests").json())


@dataclass
class Service:
    """The service in this process, on a real socket."""

    store: Store
    worker: Worker
    connections: dict[str, Connection]
    catalog: Catalog
    client: Client
    platform: Platform
    shops: list[Shop] = field(default_factory=list)
    free_databases: list[str] = field(default_factory=list)

    @classmethod
    @contextlib.contextmanager
    def running(cls, platform: Platform, catalog: Catalog, *, state: str) -> Iterator[Service]:
        dsn = platform.postgres.dsn
        store = Store(dsn(state))
        connections: dict[str, Connection] = {}
        worker = Worker(store, connections, Destination(catalog), dsn())
        port = free_port()
        tokens = Tokens(*CLIENT, seconds=TOKEN_SECONDS)
        application = Api(store, worker, connections, tokens, f"http://localhost:{port}").application()
        server = uvicorn.Server(configuration(application, port, http="h11"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        wait_until(lambda: server.started, what="server")
        worker.start()
        try:
            yield cls(store, worker, connections, catalog, Client(f"http://127.0.0.1:{port}").authorize(), platform)
        finally:
            server.should_exit = True
            thread.join(5)
            worker.stop(5)
            store.close()

    def shop(self) -> Shop:
        """A new connection with freshly filled source tables, in a database that no other connection uses at present."""
        name = self.free_databases.pop() if self.free_databases else f"shop_{next(_numbers)}"
        with psycopg.connect(self.platform.postgres_dsn, autocommit=True) as connection:
            if connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        identifier = str(uuid.uuid4())
        shop = Shop(self, name, identifier, f"raw__shop_{next(_numbers)}__")
        unit = AirbyteUnit.model_validate({"id": name, **unit_document(identifier, shop.prefix, STREAMS)})
        self.connections[identifier] = Connection(identifier, unit, SCHEMA)
        shop.execute(TABLES)
        self.shops.append(shop)
        return shop

    def settle(self) -> None:
        """Ends what a test has left running and frees its databases."""
        self.client.clear()
        while self.shops:
            shop = self.shops.pop()
            for job in self.store.list_jobs([("connection_id = %s", shop.id), ("status = ANY(%s)", list(ACTIVE))], "job_id", 10, 0):
                self.worker.cancel(job.job_id, patience=10)
            self.free_databases.append(shop.name)


@dataclass
class Shop:
    """One connection: its source database and its raw tables."""

    service: Service
    name: str
    id: str
    prefix: str

    def execute(self, statement: str) -> None:
        with psycopg.connect(self.service.platform.postgres.dsn(self.name)) as connection:
            connection.execute(statement.encode())

    def source(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.service.platform.postgres.dsn(self.name), options="-c timezone=UTC") as connection:
            return connection.execute(query.encode()).fetchall()

    def table(self, stream: str) -> Table | None:
        try:
            return self.service.catalog.load_table((SCHEMA, f"{self.prefix}{stream}"))
        except NoSuchTableError:
            return None

    def lake(self, stream: str, *columns: str) -> list[tuple[Any, ...]]:
        """Rows that a reader of main sees, sorted by their text; without Airbyte's own columns unless asked for."""
        table = self.table(stream)
        assert table is not None, f"no table of {stream}"
        found = table.scan().to_arrow()
        names = list(columns) or [name for name in found.column_names if name not in METADATA_COLUMNS]
        return sorted(zip(*(found.column(name).to_pylist() for name in names), strict=True), key=str)

    def sync(self, job_type: str = "sync") -> dict[str, Any]:
        return self.service.client.sync(self.id, job_type)


class Process:
    """The service as a program of its own, for signals."""

    def __init__(self, platform: Platform, units: Path, log: Path, *, state: str) -> None:
        self.port = free_port()
        self._arguments = (
            *("--port", str(self.port)),
            *("--state-dsn", platform.postgres.dsn(state, password=False)),
            *("--source-dsn", platform.postgres.dsn(password=False)),
            *("--units", str(units)),
        )
        variable = f"PYICEBERG_CATALOG__{CATALOG.upper()}__"
        self._environment = {
            **os.environ,
            "PGPASSWORD": platform.postgres.password,
            "AIRBYTE_CLIENT_ID": CLIENT[0],
            "AIRBYTE_CLIENT_SECRET": CLIENT[1],
            f"{variable}URI": platform.postgres.dsn("iceberg", driver="psycopg2"),
            f"{variable}LOCAL__ROOT": str(platform.paths.lake),
        }
        self.log = log
        self.child: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> Client:
        with self.log.open("ab") as log:
            command = [sys.executable, "-m", "include.local.services.airbyte", *self._arguments]
            self.child = subprocess.Popen(command, cwd=ROOT, env=self._environment, stdout=log, stderr=log)
        client = Client(f"http://127.0.0.1:{self.port}")
        if wait:
            wait_until(lambda: self._answers(client), 300, f"service, see {self.log.read_text()[-2000:]}")
        return client

    def _answers(self, client: Client) -> bool:
        assert self.child is not None
        assert self.child.poll() is None, self.log.read_text()[-4000:]
        with contextlib.suppress(httpx.TransportError):
            client.authorize()
            return True
        return False

    def kill(self) -> None:
        if self.child is not None and self.child.poll() is None:
            self.child.kill()
            self.child.wait()


def write_unit(folder: Path, name: str, document: dict[str, Any]) -> Path:
    """A directory of unit files with one unit; the directory."""
    (folder / "airbyte").mkdir()
    (folder / "airbyte" / f"{name}.yml").write_text(yaml.safe_dump(document), encoding="utf-8")
    return folder
