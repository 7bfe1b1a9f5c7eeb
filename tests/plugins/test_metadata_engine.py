"""Airflow's connection to its database outlives the database's own restart."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import airflow_local_settings
import pytest
from airflow_local_settings import create_metadata_engine
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from include.local.paths import Paths
from include.local.platform import Platform, running_platform

POOL: dict[str, Any] = {"pool_size": 1, "max_overflow": 0, "pool_pre_ping": True}


@pytest.fixture
def own_postgres(tmp_path: Path) -> Any:
    with running_platform(Paths(state=tmp_path / "state"), ()) as platform:
        yield platform


def test_a_database_that_starts_again_is_waited_for(own_postgres: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = create_metadata_engine(own_postgres.postgres.dsn("postgres", driver="psycopg2"), engine_args=POOL, connect_args={})
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    own_postgres.stop()
    away = threading.Event()
    monkeypatch.setattr(airflow_local_settings.log, "warning", lambda *_: away.set())
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(lambda: engine.connect().execute(text("SELECT 2")).scalar())
        assert away.wait(30)
        own_postgres.start(attached=True)
        assert answer.result(60) == 2
    engine.dispose()


def test_a_peer_that_is_gone_without_a_word_is_noticed(postgres: Platform) -> None:
    """The settings are the connection's own, and a deployment's come before them. Another database has no such settings."""
    dsn = postgres.postgres.dsn("postgres", driver="psycopg2")
    for given, keepalive in (({}, "10"), ({"keepalives_idle": 33}, "33")):
        engine = create_metadata_engine(dsn, engine_args=POOL, connect_args=given)
        with engine.connect() as connection:
            found = connection.connection.dbapi_connection.get_dsn_parameters()
        assert (found["keepalives_idle"], found["tcp_user_timeout"], found["connect_timeout"]) == (keepalive, "20000", "10")
        engine.dispose()
    with create_metadata_engine("sqlite://", engine_args={}, connect_args={}).connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1


def test_a_refused_login_is_told_at_once(postgres: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airflow_local_settings.time, "sleep", lambda _: pytest.fail("it waits"))
    engine = create_metadata_engine(postgres.postgres.dsn("nobody_made_this", driver="psycopg2"), engine_args=POOL, connect_args={})
    with pytest.raises(OperationalError, match="does not exist"), engine.connect():
        pass


def test_a_database_that_stays_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airflow_local_settings, "PATIENCE", 1.0)
    engine = create_metadata_engine("postgresql+psycopg2://user@127.0.0.1:1/none", engine_args=POOL, connect_args={})
    with pytest.raises(OperationalError, match="Connection refused"), engine.connect():
        pass


def test_airflow_takes_it_for_its_own() -> None:
    from airflow import settings

    assert settings.create_metadata_engine is create_metadata_engine
