"""``openedx__<deployment>__…``: sweep over course runs, one run per changed course, tracking logs by day, the forum.

=================== ==================================================================== ==========================================
``…__sweep``        which course runs were published again?                              by the unit's cadence
``…__course``       export, parse and load one course run; tell MIT Learn                one partition for each changed course run
``…__tracking_logs`` normalise the log files of one day                                  one partition a day; ``airflow backfill create``
``…__forum``        the forum's collections from the newest dump                         by the unit's cadence
=================== ==================================================================== ==========================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import pendulum
from airflow.sdk import DAG, Asset, CronPartitionTimetable, Param, PartitionedAssetTimetable

from include.config.environments import EnvironmentSettings
from include.config.openedx import OpenedxUnit, Site
from include.config.services import local_service
from include.config.vocabulary import Layer, Profile
from include.lake.assets import asset_of
from include.lake.names import table_in
from include.operators.openedx import CourseExport, KnownCourses, RememberSweep, ReportChangedCourses
from include.pods.job import JobSpec
from include.pods.secrets import LAKE_SECRETS, OUTBOX_SECRETS, SecretRef
from include.pods.tasks import job_task
from include.policies import LAKE_POOL, START_DATE, cron, default_args, failure_alerts, notes, tags

DOMAIN = "openedx"
OBSERVATIONS = "sweep__observations"
LOGS = "tracking_logs"
COURSE = "{{ dag_run.partition_key or params.course }}"
"""A run of a partition has its key; one that somebody starts without, and ``airflow dags test``, says it in the parameters."""
ACTIVE_COURSES, ASKING_LMS = 64, 16
"""Runs of course runs at a time: most of them wait for a slot of Studio's, which are few. And those that ask the LMS for a course's structure."""
STRUCTURE = ("api__course_structure", "api__course_blocks")
COURSE_XML = tuple(f"course_xml__{name}" for name in ("metadata", "video", "blocks", "policies", "signatories", "static_assets"))
FORUM = ("contents", "users", "subscriptions")
SWEEP_TRIAGE = (
    "`sweep` failed: the log says what the LMS answered. Nothing is lost: the next sweep goes on from the last one that was dealt with.",
    "The log says `cut short`: the deployment was slow; the rest comes first in the next sweep. If that happens every time, raise `sweep.budget_seconds`.",
)
COURSE_TRIAGE = (
    "`export` failed: the log has Studio's word for it. A retry joins an export that still runs; a cleared task begins a new one.",
    "`load` failed for good: the archive is refused, with member and offset; nothing of it was loaded. Members that cannot be read are in the quarantine.",
    "`tell` is green when MIT Learn is to be told; whether it was is `learn_webhooks`'s business.",
)
LOGS_TRIAGE = (
    "`normalise` failed for good: the log names the file and the offset; broken lines alone never fail it, they are in the quarantine.",
    "The log says `is loaded, but not all log files that came late`: the run's own day is in the table; the days that it names are as they were before.",
    "Late files are taken in by the next daily run that looks back so far. For an older day, clear its run: it is written again when its files have changed.",
    "To write days again with the same files: `airflow backfill create --dag-id … --from-date … --to-date … --reprocess-behavior completed`.",
)
FORUM_TRIAGE = (
    "`load` failed: the log names collection, file and offset. Documents that cannot be read are in the quarantine, the others are loaded.",
    "No dump is found: whoever dumps the forum is late, or the unit's `forum` prefix is not where dumps arrive.",
)


@dataclass(frozen=True)
class Deployment:
    """A unit in an environment: what all of its DAGs are made from."""

    unit: OpenedxUnit
    environment: EnvironmentSettings

    @property
    def site(self) -> Site:
        """Its addresses, those of the local platform's services filled in."""
        site = self.unit.sites[self.environment.name]
        return site.model_copy(update={name: local_service(address) for name, address in site if isinstance(address, str)})

    @property
    def secrets(self) -> tuple[SecretRef, ...]:
        """What a job needs that speaks to the deployment's API and writes to the lake."""
        return (
            *LAKE_SECRETS,
            SecretRef("OPENEDX_CLIENT_ID", self.unit.secret, "client-id", confidential=False),
            SecretRef("OPENEDX_CLIENT_SECRET", self.unit.secret, "client-secret"),
        )

    @property
    def forum_secrets(self) -> tuple[SecretRef, ...]:
        """What the dump of a forum's server needs."""
        return (
            SecretRef("FORUM_MONGODB_USERNAME", self.unit.secret, "mongodb-username", confidential=False),
            SecretRef("FORUM_MONGODB_PASSWORD", self.unit.secret, "mongodb-password"),
        )

    def lake_secrets(self, place: str) -> tuple[SecretRef, ...]:
        """What a job needs that writes to the lake what it reads at ``place``: of Google's store the deployment has its own credentials."""
        return (*LAKE_SECRETS, SecretRef("GCS_CREDENTIALS", self.unit.secret, "gcs-credentials")) if place.startswith("gs://") else LAKE_SECRETS

    def asset(self, name: str) -> Asset:
        """The asset of one of its raw tables."""
        return asset_of(self.environment, table_in(self.environment, Layer.RAW, self.unit.table(name)))

    def dag(self, part: str, description: str, schedule: Any, triage: tuple[str, ...], **dag: Any) -> DAG:
        """An empty DAG with what all of them have in common."""
        unit = self.unit
        settings = {"start_date": START_DATE, "max_active_runs": 1, **dag}
        return DAG(
            unit.dag_id(part),
            description=description,
            doc_md=notes(f"{description}\n\n{unit.description}", triage),
            schedule=schedule,
            catchup=False,
            auto_register=False,  # DAG files name their DAGs
            default_args=default_args(self.environment, unit.owner, unit.tier),
            on_failure_callback=failure_alerts(self.environment),
            tags=tags("openedx", unit.owner, unit.tier, (Layer.RAW,)),
            **settings,
        )


def build_sweep_dag(here: Deployment) -> DAG:
    """Known → sweep → report → remember. Changed course runs become partitions of the observations table."""
    unit, sweep, asset = here.unit, here.unit.sweep, here.asset(OBSERVATIONS)
    arguments = (
        *("--deployment", unit.id, "--lms", here.site.lms, "--authorization", unit.token_type),
        *("--state", f"{here.environment.work}/openedx-sweep", "--known", "{{ ti.xcom_pull('known') }}"),
        *("--budget-seconds", str(sweep.budget_seconds), "--max-requests", str(sweep.max_requests)),
        *("--max-changed", str(here.site.max_changed or sweep.max_changed), "--concurrency", str(sweep.concurrency), "--run-key", "{{ run_id }}"),
    )
    spec = JobSpec("openedx-sweep", arguments, domain=DOMAIN, profile=Profile.S, secrets=here.secrets)
    description = "Looks through all course runs for those that were published again."
    with here.dag("sweep", description, cron(here.environment, sweep.cadence.cron), SWEEP_TRIAGE) as dag:
        known = KnownCourses(task_id="known", asset=asset)
        swept = job_task(spec, here.environment, task_id="sweep")
        report = ReportChangedCourses(task_id="report", asset=asset, sweep_task_id="sweep")
        remember = RememberSweep(task_id="remember", asset=asset, sweep_task_id="sweep", trigger_rule="none_failed")
        known >> swept >> report >> remember
    return dag


def build_tracking_logs_dag(here: Deployment) -> DAG:
    """One day's log files into the day's partition of the table; days before it whose files have changed since, into theirs."""
    unit, site, logs = here.unit, here.site, here.unit.tracking_logs
    first = logs.first_day
    # runs of a backfill, and those that somebody starts, are for their own day: the days before have runs of their own, perhaps at this moment
    look_back = f"{{{{ {logs.look_back_days} if dag_run.run_type == 'scheduled' else 0 }}}}"
    arguments = (
        *("--deployment", unit.id, "--day", "{{ dag_run.partition_key or params.day }}", "--source", site.tracking_logs, "--landing", site.landing),
        *(("--day-folder", logs.day_folder) if logs.day_folder else ()),
        *("--look-back-days", look_back, "--first-day", str(first), "--run-key", "{{ run_id }}"),
    )
    spec = JobSpec("tracking-logs", arguments, domain=DOMAIN, profile=Profile.M, secrets=here.lake_secrets(site.tracking_logs), long=True)
    schedule = CronPartitionTimetable(logs.cron, timezone="UTC", run_offset=-1, key_format="%Y-%m-%d")
    start = pendulum.datetime(first.year, first.month, first.day, tz="UTC")
    day = Param("", type="string", description="the day, when the run has no partition: 2026-11-20")
    # the timetable names partitions also where nothing shall run by itself: there its schedule ends where it begins
    end = None if here.environment.schedules else start
    description = "Normalises the tracking logs of one day without loss."
    with here.dag(LOGS, description, schedule, LOGS_TRIAGE, start_date=start, end_date=end, max_active_runs=4, params={"day": day}) as dag:
        job_task(spec, here.environment, task_id="normalise", pool=LAKE_POOL, outlets=[here.asset(LOGS)])
    return dag


def build_course_dag(here: Deployment) -> DAG:
    """One course run: its structure from the LMS, its archive from Studio, and what both hold as rows; then MIT Learn is told."""
    unit, environment, site = here.unit, here.environment, here.site
    course = ("--deployment", unit.id, "--course", COURSE)
    run_key = ("--run-key", "{{ run_id }}")
    api = ("--lms", site.lms, "--authorization", unit.token_type)
    export = (*course, *api, "--studio", site.studio, "--state", f"{environment.work}/openedx-exports", "--landing", site.landing, *run_key)
    archive = "{{ ti.xcom_pull('export')['archive'] }}"
    load = (
        *(*course, "--archive", archive, "--landing", site.landing),
        *("--published-version", "{{ ti.xcom_pull('export')['published_version'] }}"),
        *("--retrieved-at", "{{ ti.xcom_pull('export')['retrieved_at'] }}", *run_key),
    )
    key = f"{{{{ ti.xcom_pull('export')['archive'].removeprefix('{site.landing}/') }}}}"
    tell = ("--course-id", COURSE, "--content-path", key, "--source", unit.id, *run_key)

    def job(name: str, arguments: tuple[str, ...], profile: Profile = Profile.S) -> JobSpec:
        return JobSpec(name, arguments, domain=DOMAIN, profile=profile, secrets=here.secrets)

    poll = 20.0 if environment.schedules else 8.0  # a laptop's Studio needs seconds
    schedule = PartitionedAssetTimetable(assets=here.asset(OBSERVATIONS))
    params = {"course": Param("", type="string", description="the course run, when the run has no partition: course-v1:MITxT+6.00x+1T2026")}
    description = "Exports, parses and loads one course run that was published again."
    with here.dag("course", description, schedule, COURSE_TRIAGE, max_active_runs=ACTIVE_COURSES, params=params) as dag:
        exported = CourseExport(
            task_id="export",
            start=job("course-export", ("--mode", "start", *export)),
            finish=job("course-export", ("--mode", "run", *export)),
            environment=environment,
            studio={"connection_id": f"openedx_{unit.id}", "lms": site.lms, "token_type": unit.token_type, "poll_seconds": poll},
            pool=unit.export_pool,
        )
        structure = job_task(
            job("course-structure", (*course, *api, "--landing", site.landing, *run_key)),
            environment,
            task_id="structure",
            max_active_tis_per_dag=ASKING_LMS,
            outlets=[here.asset(name) for name in STRUCTURE],
        )
        loaded = job_task(job("course-load", load, Profile.M), environment, task_id="load", pool=LAKE_POOL, outlets=[here.asset(name) for name in COURSE_XML])
        exported >> loaded
        if unit.tells_learn:
            told = job_task(JobSpec("webhook-enqueue", tell, domain=DOMAIN, profile=Profile.XS, secrets=OUTBOX_SECRETS), environment, task_id="tell")
            [loaded, structure] >> told
    return dag


def build_forum_dag(here: Deployment) -> DAG:
    """The forum's collections, from the newest dump; of a server that may be read, the dump is made first."""
    unit, site = here.unit, here.site
    server, _, database = (site.forum or "").rpartition("/")
    live = server.startswith("mongodb")
    common = ("--deployment", unit.id, "--database", database, "--landing", site.landing)
    source = "{{ macros.json.loads(ti.xcom_pull('dump'))['facts']['dump'] }}" if live else server
    arguments = (*common, "--source", source, "--run-key", "{{ run_id }}")
    load = JobSpec("forum-load", arguments, domain=DOMAIN, profile=Profile.M, secrets=here.lake_secrets(server), long=True)
    schedule = cron(here.environment, unit.forum_cadence.cron)
    with here.dag("forum", "Loads the forum's collections from the newest dump.", schedule, FORUM_TRIAGE) as dag:
        loaded = job_task(load, here.environment, task_id="load", pool=LAKE_POOL, outlets=[here.asset(f"mongodb__forum__{name}") for name in FORUM])
        if live:
            dump = JobSpec("forum-dump", (*common, "--server", server), domain=DOMAIN, profile=Profile.S, secrets=here.forum_secrets, long=True)
            job_task(dump, here.environment, task_id="dump") >> loaded
    return dag


DAGS: Mapping[str, Callable[[Deployment], DAG]] = {
    "sweep": build_sweep_dag,
    "course": build_course_dag,
    LOGS: build_tracking_logs_dag,
    "forum": build_forum_dag,
}


def build_openedx_dags(unit: OpenedxUnit, environment: EnvironmentSettings) -> dict[str, Callable[[], DAG]]:
    """What makes each of the deployment's DAGs, by DAG id."""
    here = Deployment(unit, environment)
    return {unit.dag_id(part): partial(build, here) for part, build in DAGS.items() if part != "forum" or here.site.forum}
