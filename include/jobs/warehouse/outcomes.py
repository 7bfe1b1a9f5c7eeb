"""From dbt's results of single nodes to the state of whole models: a model is good when it is built and all its tests have passed."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from include.jobs.warehouse.progress import ModelState
from include.lake.manifest import Warehouse

TRANSIENT = re.compile(
    "|".join(
        (
            r"connection (refused|reset|aborted|timed out)",
            r"failed to establish a new connection",
            r"remote end closed connection",
            r"max retries exceeded",
            r"read timed out",
            r"http error 50[234]|error 50[234]",
            r"SERVER_(STARTING_UP|SHUTTING_DOWN)|NO_NODES_AVAILABLE|PAGE_TRANSPORT_(ERROR|TIMEOUT)|TOO_MANY_REQUESTS_FAILED|REMOTE_TASK_ERROR",
            r"ICEBERG_COMMIT_ERROR|ICEBERG_CATALOG_ERROR|TRANSACTION_CONFLICT|failed to commit",
        )
    ),
    re.IGNORECASE,
)
BUILT = frozenset({"success", "pass", "warn"})


def is_transient(message: str) -> bool:
    """Whether an error message speaks of a service that was away or a commit that lost a race."""
    return bool(TRANSIENT.search(message))


@dataclass(frozen=True)
class NodeResult:
    """dbt's result of one node: its status in dbt's words, seconds, rows written, message and, for a test, failing rows."""

    unique_id: str
    status: str
    seconds: float
    rows: int | None
    message: str
    failures: int | None


@dataclass
class Outcomes:
    """Collects node results of one run and judges models. ``expected`` are the unique ids dbt will run, tests included."""

    warehouse: Warehouse
    expected: frozenset[str]
    results: dict[str, NodeResult] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._model_of_test = {test: model.unique_id for model in self.warehouse.models for test in model.tests}

    def add(self, result: NodeResult) -> tuple[str, ModelState] | None:
        """Takes one result and returns the model it belongs to with its new state, if it belongs to one."""
        self.results[result.unique_id] = result
        model = self._model_of_test.get(result.unique_id, result.unique_id)
        return (model, self.judge(model)) if model in self.warehouse.by_id else None

    def judge(self, unique_id: str) -> ModelState:
        """A model's state, from its own result and those of its tests."""
        model = self.warehouse.by_id[unique_id]
        parts = [part for part in (unique_id, *model.tests) if part in self.expected]
        results = [self.results[part] for part in parts if part in self.results]
        own = self.results.get(unique_id)
        seconds = round(sum(result.seconds for result in results), 3)
        rows = own.rows if own else None
        bad = [result for result in results if result.status not in BUILT and result.status != "skipped"]
        message = "; ".join(f"{_name(result.unique_id)}: {result.message}" for result in bad)[:2000]
        failures = tuple(_name(result.unique_id) for result in bad if result.unique_id != unique_id)
        if any(is_transient(result.message) for result in bad):
            return ModelState("retrying", seconds, rows, message, failures)
        if bad:
            return ModelState("failed", seconds, rows, message, failures)
        if any(result.status == "skipped" for result in results):
            return ModelState("skipped", seconds, rows, own.message if own and own.message else "something it reads was not built")
        return ModelState("success" if len(results) == len(parts) else "running", seconds, rows)


def _name(unique_id: str) -> str:
    parts = unique_id.split(".")
    return parts[2] if len(parts) > 2 else unique_id
