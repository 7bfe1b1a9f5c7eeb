"""A small client of Airflow's REST API (v2), with what the demo and the tests need of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import httpx

from include.config.pools import Pool

TERMINAL = frozenset({"success", "failed"})
PAGE = 100


class AirflowApiError(Exception):
    """Airflow refused a request, or did not answer it."""


@dataclass(frozen=True)
class Run:
    """One DAG run; ``seconds`` from its start to its end, or to now."""

    dag_id: str
    run_id: str
    state: str
    run_type: str
    seconds: float


@dataclass(frozen=True)
class Task:
    """One task instance of a run."""

    task_id: str
    state: str
    try_number: int
    seconds: float


class AirflowApi:
    """Speaks to one API server; logs in on first use. Raises ``AirflowApiError``."""

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._login = {"username": user, "password": password}
        self._http = httpx.Client(base_url=url, timeout=120.0)
        self._token = ""

    def call(self, method: str, path: str, *, json: Any = None, allow: tuple[int, ...] = (), **params: Any) -> Any:
        """One request below ``/api/v2``; its JSON answer, or ``None`` for a status in ``allow``."""
        if not self._token:
            self._token = self._log_in()
        for attempt in (1, 2, 3):
            last = attempt == 3 or method not in ("GET", "PATCH")
            try:
                answer = self._http.request(method, f"/api/v2{path}", json=json, params=params, headers={"Authorization": f"Bearer {self._token}"})
            except httpx.HTTPError as error:
                if last:
                    raise AirflowApiError(f"{method} {path}: {type(error).__name__} {error}") from error
            else:
                if last or answer.status_code < 500:
                    break
            time.sleep(attempt)
        if answer.status_code in allow:
            return None
        if answer.status_code >= 400:
            raise AirflowApiError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json() if answer.content else {}

    def _log_in(self) -> str:
        try:
            answer = self._http.post("/auth/token", json=self._login)
        except httpx.HTTPError as error:
            raise AirflowApiError(f"login at {self.url}: {type(error).__name__} {error}") from error
        if answer.status_code != 201:
            raise AirflowApiError(f"login at {self.url}: {answer.status_code} {answer.text[:200]}")
        return str(answer.json()["access_token"])

    def wait_for_dags(self, dag_ids: set[str], seconds: float) -> None:
        """Waits until the DAG processor has taken in all of these."""
        deadline = time.monotonic() + seconds
        while missing := dag_ids - {dag["dag_id"] for dag in self.call("GET", "/dags", limit=PAGE)["dags"]}:
            errors = self.call("GET", "/importErrors")["import_errors"]
            if errors:
                raise AirflowApiError(f"{errors[0]['filename']}: {errors[0]['stack_trace'].strip().splitlines()[-1]}")
            if time.monotonic() > deadline:
                raise AirflowApiError(f"after {seconds:.0f} s Airflow does not know {', '.join(sorted(missing))}")
            time.sleep(0.3)

    def unpause(self, dag_id: str) -> None:
        """Lets a DAG run."""
        self.call("PATCH", f"/dags/{dag_id}", json={"is_paused": False})

    def ensure_pool(self, pool: Pool) -> None:
        """Makes a pool, or gives an existing one its size."""
        body = {"slots": pool.slots, "description": pool.description, "include_deferred": pool.include_deferred}
        if self.call("POST", "/pools", json={"name": pool.name, **body}, allow=(409,)) is None:
            self.call("PATCH", f"/pools/{pool.name}", json={"pool": pool.name, **body}, update_mask="slots")

    def trigger(self, dag_id: str, conf: dict[str, Any] | None = None, *, partition_key: str | None = None) -> str:
        """Starts a run without a logical date, of a partition where one is named; its id."""
        body = {"logical_date": None, "conf": conf or {}, **({"partition_key": partition_key} if partition_key else {})}
        return str(self.call("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def runs(self) -> list[Run]:
        """The newest runs of all DAGs, newest first."""
        found = self.call("GET", "/dags/~/dagRuns", limit=PAGE, order_by="-id")["dag_runs"]
        return [Run(run["dag_id"], run["dag_run_id"], run["state"], run["run_type"], run["duration"] or 0.0) for run in found]

    def tasks(self, dag_id: str, run_id: str) -> list[Task]:
        """All task instances of a run, in the order they started."""
        found: list[dict[str, Any]] = []
        while True:
            page = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances", limit=PAGE, offset=len(found), order_by="start_date")
            found += page["task_instances"]
            if len(found) >= page["total_entries"] or not page["task_instances"]:
                return [Task(item["task_id"], item["state"] or "none", item["try_number"], item["duration"] or 0.0) for item in found]

    def queued_asset_events(self, dag_id: str) -> int:
        """How many assets have told this DAG of news that no run has taken up."""
        answer = self.call("GET", f"/dags/{dag_id}/assets/queuedEvents", allow=(404,))
        return int(answer["total_entries"]) if answer else 0

    def forget_asset_events(self, dag_id: str) -> None:
        """Drops the news that no run of this DAG has taken up."""
        self.call("DELETE", f"/dags/{dag_id}/assets/queuedEvents", allow=(404,))

    def log_lines(self, dag_id: str, run_id: str, task: Task) -> list[dict[str, Any]]:
        """The log of a task's last try, as structured lines."""
        answer = self.call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task.task_id}/logs/{task.try_number}", full_content="true", allow=(404,))
        return [line for line in (answer or {}).get("content", []) if isinstance(line, dict)]
