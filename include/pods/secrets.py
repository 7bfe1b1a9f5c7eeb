"""Secrets by reference: a job names a secret and a key, and the kubelet or the local platform puts the value into its environment.

The value itself never passes through Airflow: not through templates, XCom, the pod's specification or a log.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class SecretRef:
    """Environment variable ``variable`` of the job comes from key ``key`` of the Kubernetes secret ``secret``."""

    variable: str
    secret: str
    key: str


# The password's variable has the prefix that makes dbt keep its value out of logs and artifacts.
LAKE_SECRETS = (
    SecretRef("TRINO_USER", "lake-credentials", "trino-user"),
    SecretRef("DBT_ENV_SECRET_TRINO_PASSWORD", "lake-credentials", "trino-password"),
)
# What the jobs of webhooks to MIT Learn read, see include.config.environments.learn_settings and outbox_dsn.
LEARN_SECRETS = (
    SecretRef("MIT_LEARN_BASE_URL", "learn-webhooks", "base-url"),
    SecretRef("MIT_LEARN_WEBHOOK_KEYS", "learn-webhooks", "keys"),
    SecretRef("WEBHOOK_OUTBOX_DSN", "learn-webhooks", "outbox"),
)
