"""From a job's result to Airflow: exit codes to exceptions, tables to asset events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk import Asset
from airflow.sdk.exceptions import AirflowFailException

from include.contract import PERMANENT_EXIT, JobResult, TransientError
from include.lake.names import TableRef
from include.pods.secrets import without_secrets


class JobError(TransientError):
    """A job ended without a result for a reason that another try may mend."""


def raise_for_exit(code: int, what: str, reason: str) -> None:
    """Nothing for exit 0; ``AirflowFailException`` for a permanent failure, so that no retry is spent on it; else :class:`JobError`."""
    if code == PERMANENT_EXIT:
        raise AirflowFailException(f"{what} failed for good: {reason}")
    if code != 0:
        raise JobError(f"{what} ended with exit code {code}: {reason}")


def publish_results(context: Any, outlets: list[Any], publish_from: tuple[str, ...], result: JobResult) -> None:
    """For the task that is running: publishes its job's result together with those of earlier tasks, and keeps the outlets that were written."""
    ti = context["ti"]
    earlier = [JobResult.from_json(ti.xcom_pull(task_ids=task_id)) for task_id in publish_from]
    ti.task.outlets = publish(outlets, context["outlet_events"], [*earlier, result], {"task": ti.log_url})


def publish(outlets: list[Any], outlet_events: Any, results: list[JobResult], links: Mapping[str, str]) -> list[Any]:
    """Fills the extras of the events of all tables in ``results`` and returns the outlets to keep: those the job really wrote.

    Airflow emits an event for every outlet of a task that succeeds. A build that wrote 38 of 40 tables must emit 38, so the
    operator puts what is returned here in place of its own list, in the process that runs it; the DAG's lineage stays whole.

    :param links: addresses that belong to all of them, beside those that each result brings for its own tables.
    """
    tables = {name: (table, result.links) for result in results for name, table in result.tables.items()}
    kept: list[Any] = []
    for outlet in outlets:
        if not isinstance(outlet, Asset):
            kept.append(outlet)
            continue
        found = tables.get(str(TableRef.from_uri(outlet.uri)))
        if found is None:
            continue
        table, own_links = found
        extra = {"rows": table.rows, "bytes": table.bytes, "snapshot_id": table.snapshot_id, "seconds": table.seconds, "run_key": table.run_key}
        known = {key: value for key, value in extra.items() if value is not None}
        outlet_events[outlet].extra = without_secrets({**known, **table.extra, "links": {**own_links, **links}})
        kept.append(outlet)
    return kept
