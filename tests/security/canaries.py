"""Thirty secrets that nobody needs, each with a word inside that occurs nowhere else, and the search for them.

A canary is pushed out as ``[name=value]``. Where something took it out again, ``[name=`` is left: so a text tells both what was tried and
what came through. ``[control=…]`` is no secret to anybody and must come through: it shows that the search would have found one that did.
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from functools import cached_property

from include.redaction import forms

# What each looks like: with what URLs, SQL, JSON and shells escape, over several lines, in another system's shape.
SHAPES = {
    # Airflow's connections
    "db_password": "{core}",
    "special_password": "p@{core}/w:r%d+?#&=é",
    "sql_password": 'it\'s {core} "quoted" \\ and ; more',
    "extra_token": "ghp_{core}",
    "nested_secret": "{core}-client-secret",
    "private_key": "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq{core}hkiG9w0B\nAQEFAASC{core}BKcwggSjAgEA\n-----END PRIVATE KEY-----\n",
    "uri_password": "u/{core}@x",
    "json_password": "{core}{{}}",
    "webhook_token": "T000/B000/{core}",
    # the secrets backend
    "backend_password": "{core}'s",
    "backend_extra": "sk-{core}",
    "backend_variable": "{core}==",
    "backend_leaf": "leaf {core}",
    # Airflow's variables
    "variable_api_key": "{core}~",
    "variable_json": "{core}/json",
    # environment variables
    "trino_password": "{core}%",
    "aws_secret_key": "{core}/abc+def",
    "aws_session_token": "FwoGZXIvYXdzE{core}==",
    "catalog_password": "c@{core}",
    "airbyte_secret": "{core}",
    "fernet_key": "",  # made below: Fernet has rules of its own
    "jwt_secret": "{core}" * 5,
    "api_secret": "{core}" * 3,
    "sentry_dsn": "https://{core}@sentry.test/1",
    "report_url_password": "{core}?",
    "kafka_conn": "kafka://svc:{core}@k:9092",
    "forum_uri_password": "{core}!",
    "signing_key": "{core}-AAAA-BBBB",
    # for dbt, and for what is never run
    "dbt_password": "{core}",
    "pod_argument": "--{core}",
}
CONNECTION_KINDS = ("db_password", "special_password", "sql_password", "extra_token", "nested_secret", "private_key", "webhook_token", "pod_argument")
OF_CONNECTIONS = (*CONNECTION_KINDS, "uri_password", "json_password", "backend_password", "backend_extra", "backend_variable", "backend_leaf")
OF_VARIABLES = ("variable_api_key", "variable_json")
OF_ENVIRONMENT = {
    "trino_password": "DBT_ENV_SECRET_TRINO_PASSWORD",
    "aws_secret_key": "AWS_SECRET_ACCESS_KEY",
    "aws_session_token": "AWS_SESSION_TOKEN",
    "airbyte_secret": "AIRBYTE_CLIENT_SECRET",
    "fernet_key": "AIRFLOW__CORE__FERNET_KEY",
    "jwt_secret": "AIRFLOW__API_AUTH__JWT_SECRET",
    "api_secret": "AIRFLOW__API__SECRET_KEY",
    "sentry_dsn": "SENTRY_DSN",
    "kafka_conn": "KAFKA_CONN",
    "dbt_password": "DBT_EXTRA_PASSWORD",
    "signing_key": "WEBHOOK_SIGNING_KEY",
}
IN_URLS = {"forum_uri_password": "FORUM_MONGODB_URI", "report_url_password": "REPORTS_URL", "catalog_password": "PYICEBERG_CATALOG__CANARY__URI"}


@dataclass(frozen=True)
class Canary:
    """One secret; ``core`` is the word that gives it away."""

    name: str
    core: str
    value: str

    @cached_property
    def traces(self) -> tuple[str, ...]:
        """The word, and what base64 makes of it wherever it begins."""
        return tuple({form for form in forms(self.core) if len(form) >= 10})


def made() -> dict[str, Canary]:
    """New ones, by name."""
    found = {}
    for name, shape in SHAPES.items():
        core = f"cq{secrets.token_hex(7)}"
        value = shape.format(core=core)
        if name == "fernet_key":
            value = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
            core = value[4:24]
        found[name] = Canary(name, core, value)
    return found


def escaped(canaries: dict[str, Canary], text: str) -> set[str]:
    """The names of the canaries that a text gives away."""
    return {name for name, canary in canaries.items() if any(trace in text for trace in canary.traces)}


def tried(text: str) -> set[str]:
    """The names of those that were pushed to where the text is from."""
    return {name for name in SHAPES if f"[{name}=" in text}
