"""Secrets by reference: a job names a secret and a key, and the kubelet or the local platform puts the value into its environment.

The value itself never passes through Airflow: not through templates, XCom, the pod's specification or a log. Should one come this way
all the same, by a template that asks for a connection's password, it is stopped here: Airflow's own masker covers logs and rendered
fields, but neither what a job is started with nor the extras of asset events.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from include.config.confidential import is_secret_name


@dataclass(frozen=True, order=True)
class SecretRef:
    """Environment variable ``variable`` of the job comes from key ``key`` of the Kubernetes secret ``secret``.

    Where jobs are processes, the variable must be there when the platform starts. ``confidential`` is false for what lies beside a
    secret without being one, such as a user's name, which may be read in logs. Everything else must be called what it is, since it is
    by their names that processes know what to keep out of their logs. Raises ``ValueError``.
    """

    variable: str
    secret: str
    key: str
    confidential: bool = True

    def __post_init__(self) -> None:
        if self.confidential and not is_secret_name(self.variable) and not self.variable.endswith(("_URI", "_URL")):
            allowed = "a name that says secret, such as FORUM_PASSWORD, LEARN_TOKEN, EDX_CLIENT_SECRET, or …_URI for an address with a password"
            raise ValueError(f"variable of secret {self.secret}: found {self.variable!r}; allowed: {allowed}; or confidential=False for what may be read")


# The password's variable has the prefix that makes dbt keep its value out of logs and artifacts.
LAKE_SECRETS = (
    SecretRef("TRINO_USER", "lake-credentials", "trino-user", confidential=False),
    SecretRef("DBT_ENV_SECRET_TRINO_PASSWORD", "lake-credentials", "trino-password"),
)

# What the jobs of webhooks to MIT Learn read: see include.config.services.learn_settings and outbox_dsn.
OUTBOX_SECRETS = (SecretRef("WEBHOOK_OUTBOX_DSN", "learn-webhooks", "outbox"),)
LEARN_SECRETS = (
    SecretRef("MIT_LEARN_BASE_URL", "learn-webhooks", "base-url", confidential=False),
    SecretRef("MIT_LEARN_WEBHOOK_KEYS", "learn-webhooks", "keys"),
    *OUTBOX_SECRETS,
)

# What the sweep over clones asks GitHub with: see include.config.services.github_token.
GITHUB_SECRETS = (SecretRef("GITHUB_TOKEN", "github", "token"),)


def mask(secrets: Iterable[str]) -> None:
    """Tells Airflow's masker of values that come from elsewhere than its connections: it knows no others."""
    from airflow.sdk.log import mask_secret

    mask_secret(list(secrets))


def refuse_secrets(job: str, arguments: Iterable[str]) -> None:
    """Raises ``AirflowFailException`` when an argument holds a secret: command lines are read by everybody on the node and by the cluster's API."""
    from airflow.sdk._shared.secrets_masker import redact
    from airflow.sdk.exceptions import AirflowFailException

    for number, argument in enumerate(arguments, 1):
        if redact(argument) != argument:
            raise AirflowFailException(
                f"{job}: argument {number} holds a secret; allowed: names only. Give the job the secret by reference: JobSpec(secrets=(SecretRef(…),))"
            )


def without_secrets(value: Any) -> Any:
    """A copy of JSON-like data in which Airflow's masker has gone over every text; names do not matter here, and numbers stay numbers."""
    from airflow.sdk._shared.secrets_masker import redact

    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {without_secrets(key): without_secrets(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(without_secrets(item) for item in value)
    return value
