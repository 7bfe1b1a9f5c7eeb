"""``learn_webhooks``: MIT Learn is told of what lies in the outbox, each course's news in order."""

from __future__ import annotations

from airflow.sdk import DAG

from include.config.environments import EnvironmentSettings
from include.config.openedx import LearnWebhooksUnit
from include.config.vocabulary import Layer, Profile
from include.lake.assets import asset_of
from include.lake.names import table_in
from include.pods.job import JobSpec
from include.pods.secrets import LAKE_SECRETS, LEARN_SECRETS, OUTBOX_SECRETS
from include.pods.tasks import job_task
from include.policies import LAKE_POOL, cron, dag_settings

OUTBOX = "raw__openedx__learn__webhook_outbox"
TRIAGE = (
    "`deliver` failed: MIT Learn is away or refuses the signature; events wait in the outbox and nothing is lost.",
    "`dead_letters` is red: events that MIT Learn refused for good or too often. List them with the job `webhook-dead-letters`, mend, and replay "
    "with `webhook-replay`; see docs/howto.",
)


def build_learn_webhooks_dag(unit: LearnWebhooksUnit, environment: EnvironmentSettings) -> DAG:
    """Deliver → mirror, and a task that is red as long as there are dead letters."""
    settings = dag_settings(environment, "learn_webhooks", unit.owner, unit.tier, (Layer.RAW,), description=unit.description, triage=TRIAGE)
    with DAG(unit.id, schedule=cron(environment, unit.cron), **settings) as dag:
        deliver = job_task(JobSpec("webhook-deliver", (), domain="openedx", profile=Profile.S, secrets=LEARN_SECRETS), environment, task_id="deliver")
        dead = JobSpec("webhook-dead-letters", ("--fail-when-any",), domain="openedx", profile=Profile.XS, secrets=OUTBOX_SECRETS)
        mirror = JobSpec("webhook-mirror", ("--run-key", "{{ run_id }}"), domain="openedx", profile=Profile.S, secrets=(*LAKE_SECRETS, *OUTBOX_SECRETS))
        outbox = asset_of(environment, table_in(environment, Layer.RAW, OUTBOX))
        deliver >> [
            job_task(mirror, environment, task_id="mirror", pool=LAKE_POOL, outlets=[outbox]),
            job_task(dead, environment, task_id="dead_letters"),
        ]
    return dag
