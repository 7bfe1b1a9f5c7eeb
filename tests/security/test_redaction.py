"""What a job's environment gave it in confidence does not come out of it again: not printed, logged, raised or returned."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from include import redaction
from include.config.confidential import confidential, is_secret_name
from include.config.files import ROOT
from include.contract import JobResult, TableResult
from include.redaction import RedactingStream, redact, redact_json, redacted, register

SECRET = "p@ss/w:rd %+\"quoted\" 'and' \\more ünïcode"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0B\nAQEFAASCBKcwggSjAgEAAoIB\n-----END PRIVATE KEY-----\n"
LINES = ("MIIEvQIBADANBgkqhkiG9w0B", "AQEFAASCBKcwggSjAgEAAoIB")


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", ())
    register([SECRET, KEY, "12345678", "abc"])


@pytest.mark.parametrize(
    "written",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        json.dumps({"a": [json.dumps({"b": "x" + SECRET})]}, ensure_ascii=False).replace("\\\\", "\\").replace('\\"', '"'),
        json.dumps({"a": [json.dumps({"b": "x" + SECRET})]}),
        json.dumps(repr(["x" + SECRET])),
        repr(SECRET),
        repr([f"CREATE CATALOG c WITH (password = '{SECRET.replace(chr(39), chr(39) * 2)}')"]),
        repr([json.dumps([SECRET])]),
        f"CREATE CATALOG c WITH (password = '{SECRET.replace(chr(39), chr(39) * 2)}')",
        base64.b64encode(SECRET.encode()).decode(),
        base64.b64encode(f"user:{SECRET}".encode()).decode(),
        base64.b64encode(f"admin:{SECRET}!".encode()).decode(),
        base64.urlsafe_b64encode(f"u:{SECRET}:".encode()).decode(),
        KEY,
        json.dumps(KEY),
        repr(KEY),
        *LINES,
    ],
)
def test_no_form_of_a_secret_survives(written: str) -> None:
    found = redact(f"before {written} after")
    assert found.startswith("before ")
    assert found.endswith(" after")
    assert "***" in found
    for part in (SECRET, "w:rd", "quoted", "more", *LINES):
        assert part not in found


def test_short_values_are_left_alone_and_long_ones_do_not_leave_their_ends() -> None:
    register(["hunter2", "hunter2-and-more"])
    assert redact("abc hunter2-and-more hunter2") == "abc *** ***"


def test_numbers_stay_numbers() -> None:
    assert redacted({"rows": 12345678, "text": "of 12345678", "12345678": [1, ("12345678",)]}) == {"rows": 12345678, "text": "of ***", "***": [1, ("***",)]}
    assert json.loads(redact_json(b'{"rows": 12345678, "message": "12345678"}')) == {"rows": 12345678, "message": "***"}
    untouched = b'{"a":   1}'
    assert redact_json(untouched) is untouched


def test_a_result_is_redacted() -> None:
    result = JobResult(tables={"a.b.c": TableResult(rows=12345678, extra={"from": SECRET})}, facts={"url": f"https://u:{quote(SECRET)}@h/"}, links={"x": KEY})
    text = result.to_json()
    assert JobResult.from_json(text).tables["a.b.c"].rows == 12345678
    assert text.count("***") == 3


def test_a_stream_holds_half_lines_back() -> None:
    out = io.StringIO()
    stream = RedactingStream(out)
    stream.write("token 1234")
    stream.flush()
    assert out.getvalue() == ""
    stream.write("5678\nnext 1234")
    assert out.getvalue() == "token ***\n"
    stream.write("5678")
    stream.finish()
    assert out.getvalue() == "token ***\nnext ***"


# --- which variables are secrets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("DBT_ENV_SECRET_TRINO_PASSWORD", "hunter2", {"hunter2"}),
        ("AWS_SECRET_ACCESS_KEY", " hunter2\n", {" hunter2\n", "hunter2"}),
        ("AWS_ACCESS_KEY_ID", "AKIA0123", set()),
        ("AIRFLOW_CONN_X", "http://u:p%40ss@h/", {"http://u:p%40ss@h/", "p%40ss", "p@ss"}),
        ("AIRFLOW_CONN_Y", '{"login": "me", "password": "pw123", "extra": "{\\"api_key\\": \\"k123\\"}"}', {"pw123", "k123"}),
        ("PYICEBERG_CATALOG__L__URI", "postgresql+psycopg2://iceberg:pw123@h:5432/i", {"pw123"}),
        ("AIRFLOW__CORE__FERNET_KEY", "abcdef", {"abcdef"}),
        ("AIRFLOW__SECRETS__BACKEND", "platform_secrets.PlatformSecrets", set()),
        ("TOKENIZERS_PARALLELISM", "false", set()),
        ("TRINO_HOST", "trino.local", set()),
        ("INNOCENT", "hunter2", set()),
        ("WEBHOOK_HMAC", "hunter2", {"hunter2"}),
    ],
)
def test_secrets_are_known_by_their_names_and_by_what_they_are(name: str, value: str, expected: set[str]) -> None:
    assert expected <= set(confidential({name: value})) <= expected | {value}
    if not expected:
        assert confidential({name: value}) == ()


def test_names() -> None:
    assert [name for name in ("DB_PASSWORD", "api_key", "SENTRY_DSN", "keyboard", "monkey", "TOKEN_URL") if is_secret_name(name)] == [
        "DB_PASSWORD",
        "api_key",
        "SENTRY_DSN",
    ]


# --- a whole job --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["printed", "logged", "raised", "permanent", "returned", "by_a_library"])
def test_a_job_gives_nothing_away(what: str, tmp_path: Path) -> None:
    environ = {**os.environ, "LEAKY_PASSWORD": SECRET, "LEAKY_PRIVATE_KEY": KEY, "LEAKY_URL": f"trino://ol:{quote('s3cr€t/', safe='')}@host/"}
    command = [sys.executable, "-m", "tests.security.leaky", "--what", what, "--result", str(tmp_path / "return.json")]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    result = (tmp_path / "return.json").read_text(encoding="utf-8") if (tmp_path / "return.json").exists() else ""
    told = done.stdout + done.stderr + result
    assert "reached the end" in told or "Error" in told or "failure" in told, told
    assert "***" in told
    for part in ("p@ss", "w:rd", "quoted", "s3cr", *LINES, quote("s3cr€t/", safe="")):
        assert part not in told, told
