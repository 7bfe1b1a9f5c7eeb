"""What all DAGs have in common: owners, retries by cause, pools, tags, notes for whoever is called at night."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

from include.config.environments import EnvironmentSettings
from include.config.vocabulary import Environment, Layer, Owner, Tier

START_DATE = pendulum.datetime(2026, 1, 1, tz="UTC")
LAKE_POOL = "lake_writers"
"""Jobs that write tables; the pool's size is set per environment, so that maintenance can be let in."""

_PAUSE, _RESTART = timedelta(minutes=1), timedelta(seconds=30)
_BEFORE_SOMEBODY = timedelta(seconds=10)
"""On a laptop somebody waits, and whatever is restarted there is small."""


def retry_by_cause(restart: timedelta) -> ExceptionRetryPolicy:
    """No second try for what is permanent; one for what passes, after the time that a service needs to restart."""
    return ExceptionRetryPolicy(
        rules=[
            RetryRule(exception="include.config.errors.ConfigError", action=RetryAction.FAIL, reason="configuration does not mend itself"),
            RetryRule(exception="include.contract.PermanentError", action=RetryAction.FAIL, reason="another try would meet the same"),
            RetryRule(
                exception="include.contract.TransientError",
                action=RetryAction.RETRY,
                retry_delay=restart,
                reason="a service restarts or a commit lost a race",
            ),
        ]
    )


def default_args(environment: EnvironmentSettings, owner: Owner, tier: Tier) -> dict[str, Any]:
    """The arguments of every task: its owner, three retries with growing pauses, decided by cause."""
    pause, restart = (_BEFORE_SOMEBODY, _BEFORE_SOMEBODY) if environment.name is Environment.LOCAL else (_PAUSE, _RESTART)
    return {
        "owner": owner.value,
        "retries": 3,
        "retry_delay": pause,
        "retry_exponential_backoff": 2.0,
        "max_retry_delay": timedelta(minutes=15),
        "retry_policy": retry_by_cause(restart),
        "priority_weight": {Tier.ONE: 10, Tier.TWO: 5, Tier.THREE: 1}[tier],
    }


def tags(kind: str, owner: Owner, tier: Tier, layers: Iterable[Layer]) -> list[str]:
    """Tags from the vocabulary, sorted: ``kind:…``, ``owner:…``, ``tier:…`` and one ``layer:…`` for each layer written."""
    return sorted({f"kind:{kind}", f"owner:{owner.value}", f"tier:{tier.value}", *(f"layer:{layer.value}" for layer in layers)})


def notes(description: str, triage: Iterable[str]) -> str:
    """``doc_md`` of a DAG: what it is, and what to do when it fails."""
    steps = "\n".join(f"- {step}" for step in triage)
    return f"{description}\n\n### Triage notes\n{steps}\n"


def dag_settings(
    environment: EnvironmentSettings, kind: str, owner: Owner, tier: Tier, layers: Iterable[Layer], *, description: str, triage: Iterable[str]
) -> dict[str, Any]:
    """What the DAGs of most kinds have in common, as arguments of ``DAG``: one run at a time, nothing caught up, alerts, notes and tags."""
    return {
        "description": description,
        "doc_md": notes(description, triage),
        "start_date": START_DATE,
        "catchup": False,
        "auto_register": False,  # DAG files name their DAGs
        "max_active_runs": 1,  # two runs over the same tables at a time would only race each other
        "default_args": default_args(environment, owner, tier),
        "on_failure_callback": failure_alerts(environment),
        "tags": tags(kind, owner, tier, layers),
    }


def cron(environment: EnvironmentSettings, expression: str) -> str | None:
    """A schedule where the environment has schedules; ``None`` where runs are started by hand or by assets."""
    return expression if environment.schedules else None


def failure_alerts(environment: EnvironmentSettings) -> list[Any]:
    """What a failed run of a DAG sends: one message with run, reason and link to the environment's channel; nothing where there is no channel."""
    if environment.alerts.slack_channel is None:
        return []
    from airflow.providers.slack.notifications.slack import SlackNotifier

    text = (
        f":red_circle: *{{{{ dag.dag_id }}}}* failed in {environment.name.value}\n"
        "run `{{ run_id }}`{% if reason is defined and reason %} ({{ reason }}){% endif %}\n"
        "{{ conf.get('api', 'base_url') }}/dags/{{ dag.dag_id }}/runs/{{ run_id }}"
    )
    return [SlackNotifier(slack_conn_id="slack", channel=environment.alerts.slack_channel, text=text)]
