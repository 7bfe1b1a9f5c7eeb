"""What Airflow's masker learns beyond its connections, and that jobs and Airflow agree about it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import airflow  # noqa: F401 - first, as in every process of Airflow: its settings name secret_masking
import pytest
import secret_masking
from airflow.sdk._shared.secrets_masker import SecretsMasker
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.execution_time.task_runner import TaskRunnerMarker
from secret_masking import MaskedXCom, confidential, forms, masked

from include import redaction
from include.config import confidential as of_jobs
from include.config.files import ROOT

SECRET = "Zq8-p@ss/w:rd"


@pytest.fixture(autouse=True)
def masker(monkeypatch: pytest.MonkeyPatch) -> SecretsMasker:
    """A masker of the test's own, which knows one secret."""
    found = SecretsMasker()
    found.secret_mask_adapter = forms  # type: ignore[assignment]
    found.add_mask(SECRET)
    found.add_mask("12345678")
    monkeypatch.setattr("airflow.sdk._shared.secrets_masker.secrets_masker._secrets_masker", lambda: found)
    monkeypatch.setattr("airflow.sdk.log._secrets_masker", lambda: found)
    return found


@pytest.mark.parametrize("secret", ["plain-and-long", "p@ss/w:rd %+\"'\\ ü", "two\nlines that are long enough to tell\n", "abcde", "x" * 500])
def test_jobs_and_airflow_know_the_same_forms(secret: str) -> None:
    assert list(forms(secret)) == list(redaction.forms(secret))


def test_jobs_and_airflow_know_the_same_names() -> None:
    environ = {
        "DB_PASSWORD": "a1",
        "AIRFLOW_CONN_X": '{"password": "b1", "extra": {"note": "no", "api_key": ["c1"]}}',
        "PYICEBERG_CATALOG__L__URI": "postgresql://u:d1%40@h/",
        "AWS_ACCESS_KEY_ID": "e1",
        "TOKEN_URL": "https://h",
        "PLAIN": "f1",
    }
    assert confidential(environ) == of_jobs.confidential(environ)
    assert {"a1", "b1", "c1", "d1@"} <= set(confidential(environ))
    assert secret_masking._SECRET.pattern == of_jobs._SECRET.pattern
    assert secret_masking._BESIDE.pattern == of_jobs._BESIDE.pattern
    assert secret_masking._WORDS == of_jobs._WORDS


@pytest.mark.parametrize("begin", [secret_masking.on_task_instance_running, lambda: secret_masking.on_starting(TaskRunnerMarker())])
def test_a_tasks_environment_is_registered(begin: Callable[[], None], masker: SecretsMasker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_PASSWORD", "Zq8-of-the-environment")
    begin()
    assert masker.redact("Zq8-of-the-environment") == "***"


COMPONENT = """
import json, logging, sys
import structlog
from airflow import settings
from airflow._shared.logging import configure_logging
from airflow.models.errors import ParseImportError
from airflow.sdk.log import mask_secret
from sqlalchemy import create_engine, insert, text, update
import secret_masking

class Job:
    job_type = "SchedulerJob"

configure_logging(json_output=sys.argv[1] == "json", cache_logger_on_first_use=True)
early = structlog.get_logger("early").bind(a=1)
for _ in range(2):
    secret_masking.on_starting(Job())
mask_secret("Zq8-told-later")
for log in (early, structlog.get_logger("late"), logging.getLogger("airflow.stdlib")):
    try:
        raise ValueError("no Zq8-of-the-environment")
    except ValueError:
        log.exception("control Zq8-told-later")
engine = create_engine("sqlite://")
ParseImportError.__table__.create(engine)
with engine.begin() as connection:
    connection.execute(insert(ParseImportError).values(filename="a", stacktrace="raised Zq8-told-later"))
    connection.execute(insert(ParseImportError).values(filename="b", stacktrace=None))
    connection.execute(update(ParseImportError).where(ParseImportError.filename == "b").values(stacktrace="again Zq8-of-the-environment"))
    rows = connection.execute(text("SELECT stacktrace FROM import_error ORDER BY filename")).scalars().all()
print(json.dumps(rows))
"""


API_SERVER = """
import logging, sys
import structlog
from airflow import plugins_manager
from airflow.sdk.log import mask_secret

if "early" in sys.argv:
    plugins_manager.get_fastapi_plugins()
    logging.getLogger("uvicorn.error").warning("unmasked Zq8-of-the-environment")
else:
    import airflow.api_fastapi.app
    plugins_manager.get_fastapi_plugins()
    mask_secret("Zq8-told-later")
    for log in (structlog.get_logger("late"), logging.getLogger("uvicorn.error")):
        try:
            raise ValueError("no Zq8-of-the-environment")
        except ValueError:
            log.exception("control Zq8-told-later")
"""


def told_by(script: str, folder: Path, *arguments: str) -> str:
    """What a process of Airflow prints that has a secret in its environment."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "plugins"), "SOME_PASSWORD": "Zq8-of-the-environment", "AIRFLOW_HOME": str(folder)}
    environ |= {
        "AIRFLOW_CONFIG": str(ROOT / "airflow.cfg"),
        "AIRFLOW__LOGGING__JSON_LOGS": str(arguments[0] == "json"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(ROOT / "plugins"),
    }
    done = subprocess.run([sys.executable, "-c", script, *arguments], cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize("written", ["json", "console"])
def test_a_component_keeps_secrets_out_of_its_own_log_and_of_import_errors(written: str, tmp_path: Path) -> None:
    told = told_by(COMPONENT, tmp_path, written)
    assert told.count("control ***") == 3, told
    assert told.count("no ***") >= 3, told
    assert '["raised ***", "again ***"]' in told
    assert "Zq8" not in told


@pytest.mark.parametrize("written", ["json", "console"])
def test_the_api_server_keeps_secrets_out_of_its_own_log(written: str, tmp_path: Path) -> None:
    told = told_by(API_SERVER, tmp_path, written)
    assert told.count("control ***") == 2, told
    assert told.count("no ***") >= 2, told
    assert "Zq8" not in told


def test_another_process_that_loads_plugins_writes_as_before(tmp_path: Path) -> None:
    """A command of Airflow's own prints what its user asked for."""
    assert "unmasked Zq8-of-the-environment" in told_by(API_SERVER, tmp_path, "json", "early")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (f"x{SECRET}y", "x***y"),
        ({"rows": 12345678, "of": ["12345678", {SECRET: "Zq8-p%40ss%2Fw%3Ard"}]}, {"rows": 12345678, "of": ["***", {"***": "***"}]}),
        ({"token": "not registered, so it stays"}, {"token": "not registered, so it stays"}),
        (None, None),
        (True, True),
        (3.5, 3.5),
    ],
)
def test_an_xcom_holds_no_registered_secret(value: Any, expected: Any) -> None:
    assert masked(value) == expected
    assert MaskedXCom.serialize_value(value) == BaseXCom.serialize_value(expected)


def test_what_holds_none_is_the_same_object() -> None:
    for value in ({"a": [1, ("b",)]}, datetime.now(UTC), {1, 2}, ("a", 1)):
        assert masked(value) is value
