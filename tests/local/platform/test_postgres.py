"""PostgreSQL from the wheel: for root too, from folders only root may enter, on ports that others took, after kill -9."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from include.local import postgres as module
from include.local.paths import Paths
from include.local.platform import Platform
from include.local.postgres import Postgres
from include.local.programs import ServiceError


@pytest.fixture
def paths(tmp_path: Path) -> Iterator[Paths]:
    hidden = tmp_path / "home"
    hidden.mkdir(mode=0o700)  # no other user can enter
    paths = Paths(state=hidden / "repository" / ".platform")
    yield paths
    if paths.state.exists():
        Platform(paths, ()).clean()


def _started(paths: Paths) -> Platform:
    platform = Platform(paths, ())
    platform.start(attached=True)
    return platform


def _query(platform: Platform, statement: str) -> object:
    with psycopg.connect(platform.postgres_dsn) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchone() if cursor.description else None


def test_runs_from_a_folder_that_only_its_owner_can_enter(paths: Paths) -> None:
    platform = _started(paths)
    assert _query(platform, "SHOW idle_in_transaction_session_timeout") == ("1min",)
    record = platform.processes.running("postgres")
    assert record is not None
    assert psutil.Process(record.pid).uids().real != 0, "PostgreSQL refuses to run as root"
    with psycopg.connect(platform.postgres_dsn) as connection:
        address = connection.info.hostaddr
    assert address == "127.0.0.1"
    listening = {item.laddr.ip for item in psutil.Process(record.pid).net_connections() if item.status == psutil.CONN_LISTEN}
    assert listening == {"127.0.0.1"}


def test_nobody_gets_in_without_the_password(paths: Paths) -> None:
    platform = _started(paths)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(platform.postgres.dsn(password=False), connect_timeout=5)
    assert (paths.state / "secrets" / "postgres").stat().st_mode & 0o077 == 0


def test_data_and_port_outlive_a_stop_and_a_kill(paths: Paths) -> None:
    platform = _started(paths)
    port = platform.postgres.port
    _query(platform, "CREATE TABLE kept AS SELECT 1 AS a")
    platform.stop()
    platform = _started(paths)
    assert platform.postgres.port == port
    record = platform.processes.running("postgres")
    assert record is not None
    os.kill(record.pid, signal.SIGKILL)
    while record.alive:
        pass
    with pytest.raises(ServiceError, match="postgres ended"):
        platform.check()
    platform = _started(paths)
    assert _query(platform, "SELECT a FROM kept") == (1,)


def test_a_taken_port_is_left_to_who_has_it(paths: Paths) -> None:
    platform = _started(paths)
    port = platform.postgres.port
    platform.stop()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections may still keep the port waiting
        other.bind(("127.0.0.1", port))
        other.listen()
        platform = _started(paths)
        assert platform.postgres.port != port
        assert _query(platform, "SELECT 1") == (1,)


def test_a_half_made_data_folder_is_made_again(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    paths.prepare()
    server = Postgres(paths)

    def killed(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            server._initialise(server._binaries())
    assert _query(_started(paths), "SELECT 1") == (1,)


def test_clean_removes_everything(paths: Paths) -> None:
    platform = _started(paths)
    data = Path(str(_query(platform, "SHOW data_directory")[0]))  # type: ignore[index]
    assert data.is_dir()
    platform.clean()
    assert not data.exists()
    assert not paths.state.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's data lies outside the platform's folder")
def test_data_of_a_deleted_platform_is_removed(paths: Paths, tmp_path: Path) -> None:
    platform = _started(paths)
    data = Path(str(_query(platform, "SHOW data_directory")[0]))  # type: ignore[index]
    platform.stop()
    (paths.state / "secrets" / "identity").unlink()  # as after `git clean`
    other = _started(Paths(state=tmp_path / "other"))
    assert not data.exists()
    other.clean()


@pytest.mark.skipif(os.geteuid() != 0, reason="the shared folder is used by root alone")
def test_a_shared_folder_of_somebody_else_is_refused(paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planted = tmp_path / "planted"
    planted.mkdir()
    os.chown(planted, 65534, 65534)
    monkeypatch.setattr(module, "SHARED", planted)
    with pytest.raises(ServiceError, match="owned by user 65534 with mode 755; allowed: owned by the present user"):
        _started(paths)
