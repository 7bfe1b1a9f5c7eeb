"""``warehouse``: one task runs dbt, the others stand for its models and turn green or red with them as they are built.

Models with a tag that names a DAG (``warehouse_engagement``) are built by that one, their staging models included, and by no other.

``granularity: model`` lets Cosmos render a task per model from the manifest, with the project's own dependencies; ``area`` makes one
task per subject area. A run with ``{"select": "model+"}`` builds any selection; tasks outside it are skipped. With ``min_date`` and ``max_date``
the facts of events in it write all of these days again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow.sdk import DAG, AssetAll, AssetOrTimeSchedule, BaseOperator, CronTriggerTimetable, Param, TaskGroup

from include.config.environments import EnvironmentSettings
from include.config.units import WarehouseUnit
from include.config.vocabulary import Granularity, Layer, Profile, WarehouseAfter
from include.lake.assets import AnyTable, asset_of
from include.lake.manifest import MANIFEST, PROJECT, Model, Warehouse
from include.lake.names import table_in
from include.operators.dbt import DbtModels, progress_url
from include.pods.job import JobSpec
from include.pods.tasks import job_task
from include.policies import LAKE_POOL, dag_settings

BUILD = "build"
STAGING = "config.schema:staging"
DAY = r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$"
RANGE = ("--min-date", "{{ params.min_date }}", "--max-date", "{{ params.max_date }}")
TRIAGE = (
    "A model's task is red: its log names the failing model or test and the first error; clear it to build that model again.",
    "`build` is red: dbt could not run or the lake stayed away; clear it, and the run goes on where it stopped.",
    'To build any selection, trigger the DAG with `{"select": "dim_user+"}` (dbt\'s own selectors); to write days of events again, with `min_date` and '
    "`max_date` as well.",
)


def build_warehouse_dag(unit: WarehouseUnit, environment: EnvironmentSettings, warehouse: Warehouse) -> DAG:
    """The DAG of the dbt project, or of the part of it whose models name this DAG. Outlets are all tables it builds.

    Without models of its own it builds all that name no DAG, but staging, which each connection's DAG builds.
    """
    models = warehouse.built_by(unit.id)
    part = _Part.of(unit, warehouse)
    progress = progress_url(environment, unit.id)
    layers = [layer for layer in Layer if layer in {model.layer for model in models}]
    settings = dag_settings(environment, "warehouse", unit.owner, unit.tier, layers, description=unit.description, triage=TRIAGE)
    params = {
        "select": Param("", type="string", description=f"dbt selectors, separated by blanks; empty builds everything {part.described}"),
        "min_date": Param("", type="string", pattern=DAY, description="with max_date: facts of events write all of these days again; 2026-03-01"),
        "max_date": Param("", type="string", pattern=DAY, description="the last of these days; 2026-03-31"),
    }
    with DAG(unit.id, schedule=_schedule(unit, environment, warehouse), **settings, params=params) as dag:
        job_task(
            _build_job(environment, unit.id, part, progress),
            environment,
            task_id=BUILD,
            pool=LAKE_POOL,
            outlets=[asset_of(environment, model.table(environment)) for model in models],
        )
        tasks = _Tasks(environment, unit.id, progress, warehouse)
        if environment.granularity is Granularity.MODEL:
            render_models(dag, tasks, part)
        else:
            for area in sorted({model.area for model in models}):
                tasks.of_area(area, [model for model in models if model.area == area])
    return dag


@dataclass(frozen=True)
class _Part:
    """The part of the project that a DAG builds, as selectors that dbt and Cosmos both know, and in words.

    ``others`` are what other DAGs build: the job leaves that out by itself when nothing is selected, Cosmos must be told.
    """

    select: tuple[str, ...]
    exclude: tuple[str, ...]
    others: tuple[str, ...]
    described: str

    @classmethod
    def of(cls, unit: WarehouseUnit, warehouse: Warehouse) -> _Part:
        if unit.id in warehouse.own_dags:
            return cls((f"tag:{unit.id}",), (), (), f"tagged {unit.id}")
        return cls((), (STAGING,), tuple(f"tag:{dag_id}" for dag_id in warehouse.own_dags), "but staging")


def _schedule(unit: WarehouseUnit, environment: EnvironmentSettings, warehouse: Warehouse) -> Any:
    """On news of the tables that it reads, and by the backstop cron where the environment has schedules.

    These are the staging tables that the other layers read, or of a part with staging models of its own the raw tables. That part runs by itself only
    where there are schedules: on a laptop every course run would start it. Airflow (3.3) queues no unpartitioned DAG on news of a partition: the logs of a
    day and single course runs are taken along by the next run, which the backstop starts.
    """
    if unit.id in warehouse.own_dags:
        sources = sorted({warehouse.sources[parent] for model in warehouse.built_by(unit.id) for parent in model.upstream if parent in warehouse.sources})
        raw = AnyTable(*(asset_of(environment, table_in(environment, Layer.RAW, name)) for name in sources))
        return AssetOrTimeSchedule(timetable=CronTriggerTimetable(unit.backstop, timezone="UTC"), assets=raw) if environment.schedules else None
    read = {parent for model in warehouse.built_by_warehouse() for parent in model.upstream}
    staging = [model for model in warehouse.models if model.layer is Layer.STAGING and model.unique_id in read]
    news: Any = _any_of(environment, staging)
    if environment.warehouse_after is WarehouseAfter.EVERY_CONNECTION and staging:
        folders = sorted({model.folder for model in staging})  # one for each connection
        news = AssetAll(*(_any_of(environment, [model for model in staging if model.folder == folder]) for folder in folders))
    return AssetOrTimeSchedule(timetable=CronTriggerTimetable(unit.backstop, timezone="UTC"), assets=news) if environment.schedules else news


def _any_of(environment: EnvironmentSettings, models: Sequence[Model]) -> AnyTable:
    return AnyTable(*(asset_of(environment, model.table(environment)) for model in models))


def _build_job(environment: EnvironmentSettings, dag_id: str, part: _Part, progress: str) -> JobSpec:
    everything = f"params.select or '{' '.join(part.select)}'" if part.select else "params.select"
    arguments = (
        *("--select", f"{{{{ {everything} }}}}"),
        *RANGE,
        *("--exclude", f"{{{{ '' if params.select else '{' '.join(part.exclude)}' }}}}" if part.exclude else ""),
        *("--progress", progress),
        *("--run-key", "{{ run_id }}"),
        *("--artifacts", f"{environment.work}/dbt-artifacts/runs/{dag_id}/{{{{ run_id }}}}"),
    )
    return JobSpec("dbt-build", arguments, domain="dbt", profile=Profile.M, image="dbt", long=True)


class _Tasks:
    """Makes the waiting tasks."""

    def __init__(self, environment: EnvironmentSettings, dag_id: str, progress: str, warehouse: Warehouse) -> None:
        self.environment = environment
        self.dag_id = dag_id
        self.progress = progress
        self.warehouse = warehouse

    def of_model(self, model: Model, **task: Any) -> BaseOperator:
        return self._make([model], doc_md=f"`{model.name}`: {model.materialized} in layer {model.layer.value}, {len(model.tests)} tests", **task)

    def of_area(self, area: str, models: list[Model]) -> BaseOperator:
        return self._make(models, task_id=area, doc_md="\n".join(f"- `{model.name}`" for model in models))

    def _make(self, models: list[Model], **task: Any) -> BaseOperator:
        names = " ".join(model.name for model in models)
        # A rebuild has a document of its own: the run's own one must go on telling what the build did.
        own = f"{self.environment.work}/progress/{self.dag_id}/{{{{ run_id }}}}/{{{{ ti.task_id }}}}-{{{{ ti.try_number }}}}.json"
        rebuild = JobSpec(
            "dbt-build",
            ("--select", names, *RANGE, "--progress", own, "--run-key", "{{ run_id }}-{{ ti.task_id }}-{{ ti.try_number }}"),
            domain="dbt",
            profile=Profile.M,
            image="dbt",
        )
        return DbtModels(
            models=tuple(model.unique_id for model in models),
            progress=self.progress,
            build_task_id=BUILD,
            rebuild=rebuild,
            environment=self.environment,
            trigger_rule="none_failed",  # a selection may leave out what a selected model reads
            **task,
        )


def render_models(dag: DAG, tasks: _Tasks, part: _Part) -> TaskGroup:
    """Lets Cosmos render the DAG's part of the project: a task per model, with the dependencies of the manifest."""
    from cosmos import DbtTaskGroup, ExecutionConfig, ExecutionMode, LoadMode, ProfileConfig, ProjectConfig, RenderConfig
    from cosmos.constants import DbtResourceType, TestBehavior

    def convert(*, task_id: str, task_group: TaskGroup, node: Any, dag: DAG, **_: Any) -> BaseOperator:
        return tasks.of_model(tasks.warehouse.by_id[node.unique_id], task_id=task_id.removesuffix("_run"), task_group=task_group, dag=dag)

    group: TaskGroup = DbtTaskGroup(
        group_id="models",
        dag=dag,
        project_config=ProjectConfig(manifest_path=MANIFEST, project_name="open_learning", install_dbt_deps=False),
        profile_config=ProfileConfig(profile_name="open_learning", target_name=tasks.environment.name.value, profiles_yml_filepath=PROJECT / "profiles.yml"),
        render_config=RenderConfig(
            load_method=LoadMode.DBT_MANIFEST,
            test_behavior=TestBehavior.NONE,  # the build runs the tests, and a model's task answers for them
            emit_datasets=False,  # the build emits the events
            select=list(part.select),
            exclude=[*part.exclude, *part.others],
            node_converters={DbtResourceType.MODEL: convert},
        ),
        # Cosmos checks the mode although every node is converted; this one needs no dbt where it renders.
        execution_config=ExecutionConfig(execution_mode=ExecutionMode.KUBERNETES, dbt_project_path=PROJECT),
        operator_args={},
    )
    # Cosmos selects through a set: without this the tasks' order, and with it the serialised DAG, would depend on Python's hash seed.
    unordered: Any
    for unordered in (dag.task_dict, group.children):
        ordered = sorted(unordered.items())
        unordered.clear()
        unordered.update(ordered)
    return group
