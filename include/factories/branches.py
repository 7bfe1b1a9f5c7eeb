"""``branches``: clones of closed and forgotten pull requests go, by the day and when CI says that one was closed."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from include.config.branches import BranchesUnit
from include.config.environments import EnvironmentSettings
from include.config.services import local_service
from include.config.vocabulary import Profile
from include.lake.clones.names import OWN_LAYERS
from include.pods.job import JobSpec
from include.pods.secrets import GITHUB_SECRETS, LAKE_SECRETS
from include.pods.tasks import job_task
from include.policies import LAKE_POOL, cron, dag_settings

EVENTS = ("", "opened", "closed")
TRIAGE = (
    "`sweep` failed and the log speaks of GitHub: it was away, or the token is refused. Nothing was dropped; the next run does what is left.",
    "`sweep` failed and the log names a table that lies in or around a clone's folder: nothing of that clone was removed. Move the table, or "
    "unregister it when it is a mistake, then clear the task. The other clones were swept.",
    "CI starts a run for one pull request by Airflow's REST API: `POST /api/v2/dags/branches/dagRuns` with "
    '`{"logical_date": null, "conf": {"pr": 1523, "event": "closed"}}`.',
)


def build_branches_dag(unit: BranchesUnit, environment: EnvironmentSettings) -> DAG:
    """One task: the sweep, or with parameters one pull request's event."""
    arguments = (
        *("--api", local_service(unit.api[environment.name]), "--repository", unit.repository, "--idle-days", str(unit.idle_days)),
        *("--event", "{{ params.event }}", "--pr", "{{ params.pr }}"),
    )
    params = {
        "pr": Param(0, type="integer", minimum=0, description="the pull request of an event; 0 for the sweep over all"),
        "event": Param("", type="string", enum=list(EVENTS), description="what happened to it; empty for the sweep over all"),
    }
    spec = JobSpec("branches-sweep", arguments, domain="lakehouse", profile=Profile.S, secrets=(*LAKE_SECRETS, *GITHUB_SECRETS))
    settings = dag_settings(environment, "branches", unit.owner, unit.tier, OWN_LAYERS, description=unit.description, triage=TRIAGE)
    with DAG(unit.id, schedule=cron(environment, unit.cron), **settings, params=params) as dag:
        job_task(spec, environment, task_id="sweep", pool=LAKE_POOL)
    return dag
