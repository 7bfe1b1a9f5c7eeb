"""The parts of the local platform put together: which programs, in which order, at which addresses."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, TextIO

import psycopg

from include.config.environments import EnvironmentSettings, LakeConnection, current_environment, lake_connection
from include.config.errors import ConfigError, Problem
from include.config.pools import pools_of
from include.config.vocabulary import Environment
from include.local.airbyte import Airbyte
from include.local.airflow import Airflow
from include.local.engine import CATALOG_DATABASE, USER, Engine, run_statement
from include.local.github import GitHub
from include.local.mongodb import Mongodb
from include.local.openedx import OpenEdx
from include.local.paths import Paths, write_private
from include.local.ports import Ports
from include.local.postgres import Address, Postgres
from include.local.processes import Processes
from include.local.programs import Service, ServiceError, identity_of
from include.local.signals import signals_as_exit, uninterrupted

Part = Literal["lake", "services", "openedx", "forum", "airflow"]
ALL: tuple[Part, ...] = ("lake", "services", "openedx", "forum", "airflow")  # what `make up` starts
LANE: tuple[Part, ...] = ("lake", "services", "airflow")
FILE_IO = "include.lake.storage.LakeFileIO"


class Platform:
    """One local platform: starts and stops its programs and knows where they answer.

    ``parts`` beside PostgreSQL, which is always there: ``lake`` (Trino), ``services`` and ``openedx`` (stand-ins for services that
    cannot run locally: Airbyte and GitHub; Open edX and MIT Learn), ``forum`` (a MongoDB), ``airflow``. With ``TRINO_HOST`` in the environment no
    Trino is started: that one is used, and pyiceberg's settings are the caller's.
    """

    def __init__(self, paths: Paths | None = None, parts: Sequence[Part] = ALL, *, out: TextIO = sys.stderr) -> None:
        self.paths, self.parts, self._out = paths or Paths(), tuple(parts), out
        self.settings = _local_settings()
        self.paths.prepare()
        self.processes = Processes(self.paths.records, self.paths.logs, self.paths.identity)
        self._postgres = Postgres(self.paths)
        self._engine = Engine(self.paths, self.settings)
        self._external = self._external_trino()
        self._airbyte = Airbyte(self.paths)
        self._github = GitHub(self.paths)
        self._openedx = OpenEdx(self.paths)
        self._airflow = Airflow(self.paths)
        self._mongodb = Mongodb(self.paths)

    # --- addresses -------------------------------------------------------------------------------

    @property
    def trino(self) -> LakeConnection:
        """Where Trino answers."""
        return self._external or LakeConnection(host="127.0.0.1", port=self._engine.port, user=USER, catalog=self.settings.lake.catalog, http_scheme="http")

    @property
    def postgres(self) -> Address:
        """Where PostgreSQL answers."""
        return self._postgres.address

    @property
    def postgres_dsn(self) -> str:
        """URL of PostgreSQL's maintenance database, password included."""
        return self.postgres.dsn()

    @property
    def airflow_url(self) -> str:
        """Airflow's UI and, under ``/api/v2``, its REST API."""
        return self._airflow.url

    @property
    def airflow_login(self) -> tuple[str, str]:
        """User and password of Airflow's UI."""
        return self._airflow.login

    @property
    def airbyte_url(self) -> str:
        """Airbyte's public API, with ``/api/public/v1``."""
        return self._airbyte.url

    @property
    def github_url(self) -> str:
        """GitHub's API, and under ``/_pulls`` its pull requests."""
        return self._github.url

    @property
    def mongodb_url(self) -> str:
        """The MongoDB in which the forum lies."""
        return self._mongodb.url

    @property
    def landing(self) -> str:
        """The landing zone, as a URL."""
        return self._openedx.landing

    @property
    def learn_url(self) -> str:
        """MIT Learn's webhook receiver."""
        return self._openedx.learn.url

    @property
    def airbyte_login(self) -> tuple[str, str]:
        """Client id and secret of the one application that Airbyte's API knows."""
        return self._airbyte.client_id, self._airbyte.client_secret

    def lake_environment(self) -> dict[str, str]:
        """Variables for clients of the lake: Trino's address, and pyiceberg's catalog unless Trino is somebody else's."""
        trino = self.trino
        found = {
            "TRINO_HOST": trino.host,
            "TRINO_PORT": str(trino.port),
            "TRINO_USER": trino.user,
            "TRINO_CATALOG": trino.catalog,
            "TRINO_HTTP_SCHEME": trino.http_scheme,
            "PYTHONPATH": str(self.paths.root),  # pyiceberg imports the file access class by its name
        }
        if self._external:
            return found
        prefix = f"PYICEBERG_CATALOG__{self.settings.lake.catalog.upper()}__"
        variables = {prefix + name.replace(".", "__").replace("-", "_").upper(): value for name, value in self.catalog_properties().items()}
        # the variables carry the catalog's name with dashes for underscores; the file under PYICEBERG_HOME has it as it is
        return {**found, **variables, "PYICEBERG_HOME": str(self.paths.state)}

    def environment(self) -> dict[str, str]:
        """Variables for child processes: the lake, Airflow's settings where Airflow is a part, and the password for ``postgresql://`` URLs without one."""
        found = self._common_environment()
        if "airflow" in self.parts:
            found |= self._airflow.environment(self.postgres, self._airbyte if "services" in self.parts else None)
        if "services" in self.parts:
            found |= self._github.environment()
        if "openedx" in self.parts:
            found |= self._openedx.environment(self.postgres)
        if "forum" in self.parts:
            found["OL_MONGODB_URL"] = self._mongodb.url
        return found

    def _common_environment(self) -> dict[str, str]:
        return {
            **(self.lake_environment() if "lake" in self.parts else {"PYTHONPATH": str(self.paths.root)}),
            "OL_ENVIRONMENT": self.settings.name.value,
            "OL_WORK_ROOT": str(self.paths.state / "work"),
            "PGPASSWORD": self.postgres.password,
            "DO_NOT_TRACK": "1",  # dbt and Cosmos would report their use
        }

    # --- start -----------------------------------------------------------------------------------

    def start(self, *, attached: bool = False) -> dict[str, float]:
        """Start what does not run yet and wait until all answers; seconds from the beginning until each answered.

        ``attached``: the programs end with this process. Raises ``ServiceError``, after ending what this call had started.
        """
        with self._locked():
            if owner := self.processes.owner():
                raise ServiceError(f"the platform in {self.paths.state} belongs to process {owner}, which runs in the foreground; wait for it or stop it first")
            self.processes.end_leftovers()
            before = {record.name for record in self.processes.records() if record.alive}
            try:
                return self._start(attached=attached)
            except BaseException:
                with uninterrupted():
                    self.processes.stop({record.name for record in self.processes.records()} - before)
                raise

    def _start(self, *, attached: bool) -> dict[str, float]:
        begin = time.monotonic()
        postgres = self._postgres.service(running=self._runs("postgres"))
        self.processes.start(postgres, attached=attached)
        seconds = self.processes.wait([postgres])
        self._postgres.create_databases(CATALOG_DATABASE, *self._airbyte.databases, *self._openedx.databases, *self._airflow.databases)
        self._choose_ports()
        services: list[Service] = []
        if "lake" in self.parts and not self._external:
            self._create_catalog()
            self._write_pyiceberg_file()
            services.append(self._engine.service(self.postgres))
        if "services" in self.parts:
            services.append(self._airbyte.service(self.postgres, self._common_environment()))
            services.append(self._github.service(self._common_environment()))
        if "openedx" in self.parts:
            services += self._openedx.services(self.postgres, self._common_environment())
        if "forum" in self.parts:
            services.append(self._mongodb.service())
        if "airflow" in self.parts:
            environment = self.environment()
            migration = self._airflow.migration(self.postgres, environment)
            if migration:
                self._start_all([*services, migration], attached)
                self.processes.finish(migration)
                self._airflow.migrated(self.postgres)
            services += self._airflow.services(environment, self.processes.began)
        self._start_all(services, attached)
        base = time.monotonic() - begin
        seconds |= {name: base + passed for name, passed in self.processes.wait(services).items()}
        self._check_lake()
        if "airflow" in self.parts:
            self._airflow.create_pools(pools_of(self.settings))
        return seconds

    def _start_all(self, services: Sequence[Service], attached: bool) -> None:
        for service in services:
            self.processes.start(service, attached=attached)

    def _choose_ports(self) -> None:
        ports = Ports(self.paths.state / "ports.json")
        programs = {
            "lake": {"trino": "trino"},
            "services": {"airbyte": "airbyte", "github": "github"},
            "openedx": {program: program for program in self._openedx.programs},
            "forum": {"mongodb": "mongodb"},
            "airflow": {"airflow": "airflow-api-server"},
        }
        for part in self.parts:
            for port, program in programs[part].items():
                if not self._runs(program):
                    ports.choose(port)

    def _runs(self, name: str) -> bool:
        return self.processes.running(name) is not None

    def _create_catalog(self) -> None:
        """The catalog's tables, before Trino asks for them; importing pyiceberg costs a second, so only when they are missing."""
        with psycopg.connect(self.postgres.dsn(CATALOG_DATABASE)) as connection:
            if connection.execute("SELECT to_regclass('iceberg_tables'), to_regclass('iceberg_namespace_properties')").fetchone() != (None, None):
                return
        from include.lake.catalog import create_catalog_tables

        create_catalog_tables(self.postgres.dsn(CATALOG_DATABASE))

    def _check_lake(self) -> None:
        if "lake" not in self.parts:
            return
        if self._external is None:
            self._engine.create_schemas()
            return
        try:
            run_statement(self._external.port, "SELECT 1", host=self._external.host, scheme=self._external.http_scheme)
        except OSError as error:
            raise ServiceError(f"TRINO_HOST={self._external.host} TRINO_PORT={self._external.port}: no Trino answers there: {error}") from error

    # --- stop ------------------------------------------------------------------------------------

    def stop(self, *, only_own: bool = False, keep: Sequence[str] = ()) -> list[str]:
        """Stop everything, or only what this process started attached and is not to be kept; the names of what was stopped."""
        with uninterrupted():
            if not only_own:
                self._stop_owner()
            with self._locked():
                mine = [record.name for record in self.processes.records() if record.owner_pid == os.getpid() and record.name not in keep]
                return self.processes.stop(mine if only_own else None)

    def _stop_owner(self) -> None:
        """Let a platform in the foreground stop itself first."""
        owner = self.processes.owner()
        if owner is None:
            return
        known = identity_of(owner)
        os.kill(owner, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while identity_of(owner) == known and time.monotonic() < deadline:
            time.sleep(0.1)

    def clean(self) -> None:
        """Stop everything and delete the platform's data. The downloads in the cache stay."""
        self.stop()
        self._postgres.remove()
        shutil.rmtree(self.paths.state)

    def check(self) -> None:
        """Raise ``ServiceError``, with the end of its log, when one of the programs has ended by itself."""
        self.processes.check()

    # --- inside ----------------------------------------------------------------------------------

    def _external_trino(self) -> LakeConnection | None:
        try:
            found = lake_connection()
        except ConfigError:  # no TRINO_HOST
            return None
        with contextlib.suppress(ServiceError):
            if (found.host, found.port) == ("127.0.0.1", self._engine.port):  # our own, exported by `make lake`
                return None
        return found

    def catalog_properties(self) -> dict[str, str]:
        """pyiceberg's settings of the lake; none when Trino is somebody else's, they are then the caller's."""
        if self._external:
            return {}
        return {
            "type": "sql",
            "uri": self.postgres.dsn(CATALOG_DATABASE, driver="psycopg2"),
            "warehouse": self.settings.lake.warehouse,
            "py-io-impl": FILE_IO,
            "local.root": str(self.paths.lake),
            "init_catalog_tables": "false",
        }

    def _write_pyiceberg_file(self) -> None:
        lines = "".join(f"    {name}: {value}\n" for name, value in self.catalog_properties().items())
        write_private(self.paths.state / ".pyiceberg.yaml", f"catalog:\n  {self.settings.lake.catalog}:\n{lines}")

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """One start or stop at a time. The system frees the lock when its holder dies."""
        with (self.paths.state / "lock").open("a", encoding="utf-8") as handle:
            os.set_inheritable(handle.fileno(), False)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._out.write("waiting for another start or stop of this platform\n")
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield


def _local_settings() -> EnvironmentSettings:
    settings = current_environment()
    if settings.name is not Environment.LOCAL:
        raise ConfigError((Problem("environment variables", "OL_ENVIRONMENT", settings.name.value, "local, for the platform on a laptop"),))
    return settings


def lane_parts(paths: Paths | None = None) -> tuple[Part, ...]:
    """What the main lane needs; everything, where everything runs already: other parts would mean other settings, and Airflow would start again."""
    return ALL if Platform(paths, ()).processes.running("openedx") else LANE


@contextlib.contextmanager
def running_platform(paths: Paths | None = None, parts: Sequence[Part] = ALL, *, out: TextIO = sys.stderr) -> Iterator[Platform]:
    """A running platform for the length of a ``with`` block: addresses, ``environment()`` for child processes, ``check()``.

    What ran before goes on running; what the block started ends with it, also on Ctrl-C, SIGTERM, and when this process is killed.
    """
    platform = Platform(paths, parts, out=out)
    with signals_as_exit():
        platform.start(attached=True)
        try:
            yield platform
        finally:
            platform.stop(only_own=True)


def folder_size(path: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
