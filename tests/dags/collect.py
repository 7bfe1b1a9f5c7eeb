"""Parses DAG files as Airflow's DAG processor does and tells all about the DAGs: ``python -m tests.dags.collect REQUEST ANSWER``.

A program of its own, run as a child by :mod:`tests.dags.collected`: importing Airflow takes seconds, so one process answers for many
cases (environments, unit folders, extra DAG files), and hash seeds and blocked sockets are matters of a whole process.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow.dag_processing.dagbag import BundleDagBag
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import DAG, Asset, BaseOperator
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.dag_version_inflation_checker import check_dag_file_stability
from kubernetes.client import ApiClient

from tests.dags.guard import Guard

# Airflow's own imports and its providers' are made here, before anything is timed.
for name in ("cosmos", "airflow.providers.airbyte.hooks.airbyte", "airflow.triggers.base", "airflow.timetables.trigger", "fsspec"):
    importlib.import_module(name)

ROOT = Path(__file__).resolve().parents[2]
PLATFORM_VARIABLES = (
    "OL_ENVIRONMENT",
    "OL_CLUSTER",
    "OL_SCHEMA_SUFFIX",
    "OL_RUNTIME",
    "OL_GRANULARITY",
    "OL_WORK_ROOT",
    "OL_IMAGE_TAG",
    "OL_IMAGE_DIGESTS",
    "TRINO_CATALOG",
)
DAG_WANTED = "_AIRFLOW_PARSING_CONTEXT_DAG_ID"
FAST_ENOUGH = 2.0
ATTEMPTS = 3


def answer(case: dict[str, Any], guard: Guard) -> dict[str, Any]:
    """Parses the case's files.

    ``case``: ``environ`` (the platform's variables), ``files``, and optionally ``units`` (another unit folder), ``manifest`` (another
    file), ``wanted`` (the DAG of the task that is started), ``discover`` (find the files as Airflow does) and ``details``.
    """
    for variable in (*PLATFORM_VARIABLES, DAG_WANTED):
        os.environ.pop(variable, None)
    os.environ.update(case["environ"])
    if case.get("wanted"):
        os.environ[DAG_WANTED] = case["wanted"]
    files: dict[str, Any] = {}
    errors: dict[str, str] = {}
    dags: dict[str, DAG] = {}
    violations: list[str] = []
    for file in case["files"]:
        seconds: list[tuple[float, float]] = []
        while len(seconds) < ATTEMPTS and min(seconds, default=(FAST_ENOUGH, 0.0))[0] >= FAST_ENOUGH:
            _forget_include(case.get("units"), case.get("manifest"))
            with guard.watching() as found:
                started = time.process_time(), time.perf_counter()
                bag = BundleDagBag(dag_folder=file, bundle_path=ROOT, bundle_name="platform")
                seconds.append((time.process_time() - started[0], time.perf_counter() - started[1]))
            violations += found
        cpu, wall = (min(times) for times in zip(*seconds, strict=True))
        files[file] = {
            "cpu_seconds": cpu,
            "wall_seconds": wall,
            "dag_ids": sorted(bag.dags),
            "warnings": [str(w) for ws in bag.captured_warnings.values() for w in ws],
        }
        for dag_id in bag.dags.keys() & dags.keys():
            errors[dag_id] = f"built by {file} and by another file"
        errors.update(bag.import_errors)
        dags.update(bag.dags)
    told: dict[str, Any] = {"files": files, "errors": errors, "violations": violations}
    told["dags"] = {dag_id: describe(dag, case.get("details", False)) for dag_id, dag in sorted(dags.items())}
    if case.get("discover"):
        told["discovered"] = sorted(str(path) for path in discover())
    return told


def _forget_include(units: str | None, manifest: str | None) -> None:
    """Every parse starts as in a fresh process, so that caches make no file look faster than it is; ``units`` and ``manifest`` lie elsewhere if asked."""
    for module in [module for module in sys.modules if module == "include" or module.startswith("include.")]:
        del sys.modules[module]
    if units:
        importlib.import_module("include.config.files").UNITS = Path(units)  # type: ignore[attr-defined]
    if manifest:
        importlib.import_module("include.lake.manifest").load_warehouse.__defaults__ = (Path(manifest),)


def discover() -> list[Path]:
    """The files Airflow would parse in this repository."""
    bag = BundleDagBag(dag_folder=str(ROOT), bundle_path=ROOT, bundle_name="platform")
    return [ROOT / file for file in bag.file_last_changed]


def describe(dag: DAG, details: bool) -> dict[str, Any]:
    """A DAG as plain data: its serialised form, and with ``details`` what its live objects say."""
    told: dict[str, Any] = {"serialized": DagSerialization.to_dict(dag)}
    if not details:
        return told
    condition = getattr(dag.timetable, "asset_condition", None)
    told |= {
        "doc_md": dag.doc_md,
        "tags": sorted(dag.tags),
        "max_active_runs": dag.max_active_runs,
        "catchup": dag.catchup,
        "timetable": type(dag.timetable).__name__,
        "triggered_by": sorted(set(_uris_in(condition))) if condition is not None else [],
        "tasks": {task.task_id: describe_task(task) for task in dag.tasks},
        "pods": dict(_pods(dag)),
    }
    return told


def _uris_in(condition: Any) -> list[str]:
    parts = getattr(condition, "objects", None)
    return [condition.uri] if parts is None else [uri for part in parts for uri in _uris_in(part)]


def describe_task(task: Any) -> dict[str, Any]:
    """A task as plain data."""
    return {
        "operator": type(task).__name__,
        "owner": task.owner,
        "retries": task.retries,
        "retry_rules": [_resolved(rule.exception) for rule in getattr(task.retry_policy, "rules", [])],
        "pool": task.pool,
        "outlets": [asset_as_data(asset) for asset in task.outlets],
        "inlets": [asset_as_data(asset) for asset in task.inlets],
        "upstream": sorted(task.upstream_task_ids),
        "commands": list(getattr(getattr(task, "spec", None), "command", lambda _: [])("")),
        "models": list(getattr(task, "models", [])),
        "start_from_trigger": bool(task.start_from_trigger),
        "templates": sorted({text for text in _texts(vars(task), set()) if "{{" in text or "{%" in text}),
    }


def _resolved(exception: str) -> str:
    """The exception's path if it leads to one: Airflow only warns about a path that does not, and the rule never applies."""
    module, _, name = exception.rpartition(".")
    found = getattr(importlib.import_module(module), name)
    assert issubclass(found, BaseException), f"found {found!r}; allowed: exceptions"
    return f"{found.__module__}.{found.__name__}"


def asset_as_data(asset: Any) -> dict[str, str]:
    """Name, URI and group of an asset."""
    assert isinstance(asset, Asset), f"found {asset!r}; allowed: assets"
    return {"name": asset.name, "uri": asset.uri, "group": asset.group}


def _texts(value: Any, seen: set[int]) -> Iterator[str]:
    """All texts inside an object, but not those of Airflow's own DAG and task objects that it refers to."""
    if isinstance(value, str):
        yield value
    if isinstance(value, str | DAG | BaseOperator) or id(value) in seen:
        return
    seen.add(id(value))
    parts: Any = ()
    if isinstance(value, dict):
        parts = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        parts = value
    elif type(value).__module__.startswith("include.") or type(value).__name__ == "StartTriggerArgs":
        parts = [getattr(value, name) for name in getattr(value, "__dataclass_fields__", {})] or list(vars(value).values())
    for part in parts:
        yield from _texts(part, seen)


def _pods(dag: DAG) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pod of every task that runs as one, those of tasks that run several, and that of one cleared waiting task: they differ in nothing but names."""
    for task in dag.tasks:
        if isinstance(task, KubernetesPodOperator):
            yield task.task_id, pod_of(task)
        for name, spec in getattr(task, "jobs", {}).items():
            part = _job_task(task)(spec, task.environment, task_id=task.task_id)
            if isinstance(part, KubernetesPodOperator):
                yield f"{task.task_id}-{name}", pod_of(part)
    waiting = sorted((task for task in dag.tasks if hasattr(task, "rebuild")), key=lambda task: task.task_id)
    for task in waiting[:1]:
        rebuilding = _job_task(task)(task.rebuild, task.environment, task_id=task.task_id)
        if isinstance(rebuilding, KubernetesPodOperator):
            yield f"{task.task_id}-cleared", pod_of(rebuilding)


def _job_task(task: Any) -> Any:
    """The function as the task itself knows it: its module may have been forgotten since, and a new one knows another ``Runtime``."""
    return inspect.unwrap(type(task).execute).__globals__["job_task"]


def pod_of(task: KubernetesPodOperator) -> dict[str, Any]:
    """The pod that a task asks for, as the API server would get it, without what is random or says only which Airflow this is."""
    task.random_name_suffix = False
    pod = ApiClient().sanitize_for_serialization(task.build_pod_request_obj(dry_run=True))
    del pod["metadata"]["labels"]["airflow_version"]
    found: dict[str, Any] = json.loads(json.dumps(pod))
    return found


def main(request: Path, reply: Path) -> None:
    """Answers every case of the request."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    guard = Guard()
    cases = {name: answer(case, guard) for name, case in asked["cases"].items()}
    stability = {file: check_dag_file_stability(file).format_warnings() for file in asked.get("stability", [])}
    reply.write_text(json.dumps({"cases": cases, "stability": stability}), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
