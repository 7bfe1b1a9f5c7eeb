"""What can be read of a run afterwards: every page of the API and the UI, the metadata database, logs and files, each as one text."""

from __future__ import annotations

import importlib.resources
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psycopg
import yaml
from psycopg import sql

from include.local.platform import Platform

DAGS = ("canary", "canary_broken")
RUN = "whole-run"
ABSENT = ("asset_alias_id", "backfill_id", "key")
"""Parameters of routes to what a run does not make; the answer is 404."""
LEFT_OUT = frozenset({"/api/v2/auth/login", "/api/v2/auth/logout", "/ui/calendar/{dag_id}"})
"""The first two show nothing, and the second would take the token back; the third, which counts runs by day, fails in Airflow 3.3.2 for runs without a date."""
UI_ROUTES = importlib.resources.files("airflow.api_fastapi.core_api.openapi") / "_private_ui.yaml"
"""The server does not describe those that only the UI asks."""
PAGES = ("/", "/dags/canary", "/connections", "/dags/canary/runs/whole-run/tasks/connections")
REQUIRED = {"dag_id": "canary", "interval": "1", "start_date": "2020-01-01T00:00:00Z", "partition_key": "p"}
ALWAYS = {"limit": "100", "full_content": "true"}
# which sink a route's answers belong to; the first that matches
SINKS = {
    "ui": "^/ui/",
    "api_logs": "/logs/",
    "api_xcom": "/xcomEntries",
    "api_rendered": "/taskInstances",
    "api_connections": "^/api/v2/connections",
    "api_variables": "^/api/v2/variables",
    "api_assets": "/assets|upstreamAssetEvents",
    "api_dag_sources": "^/api/v2/dagSources",
    "api_config": "^/api/v2/config",
    "api_import_errors": "^/api/v2/importErrors",
    "api_event_logs": "^/api/v2/eventLogs",
    "api_others": "",
}


class Reader:
    """Reads everything that one API server shows to an administrator."""

    def __init__(self, platform: Platform) -> None:
        user, password = platform.airflow_login
        self.http = httpx.Client(base_url=platform.airflow_url, timeout=60)
        token = self.http.post("/auth/token", json={"username": user, "password": password}).json()["access_token"]
        self.http.headers["Authorization"] = f"Bearer {token}"

    def sinks(self) -> dict[str, str]:
        """Each sink's text: all answers to all GET routes of Airflow's own descriptions, with all parameters that the run has."""
        known = self.known()
        with ThreadPoolExecutor(3) as pool:
            answers = list(pool.map(self.answer, self.requests(known)))
        found: dict[str, list[str]] = defaultdict(list)
        for route, text in answers:
            found[next(sink for sink, pattern in SINKS.items() if re.search(pattern, route))].append(text)
        html = [self.http.get(page, headers={"Accept": "text/html"}) for page in PAGES]
        assert all(page.status_code == 200 and "<html" in page.text for page in html), html
        return {sink: "\n".join(texts) for sink, texts in found.items()} | {"html": "\n".join(page.text for page in html)}

    def get(self, path: str) -> Any:
        answer = self.http.get(f"/api/v2/{path}", params={"limit": 100})
        assert answer.status_code == 200, f"{path}: {answer.status_code} {answer.text[:500]}"
        return answer.json()

    def known(self) -> dict[str, list[str]]:
        """Every value that a parameter in a route's path can have."""
        tasks = {task["task_id"] for dag in DAGS for task in self.get(f"dags/{dag}/tasks")["tasks"]}
        entries = [entry for dag in DAGS for entry in self.get(f"dags/{dag}/dagRuns/{RUN}/taskInstances/~/xcomEntries")["xcom_entries"]]
        found: dict[str, Iterable[Any]] = {
            "dag_id": DAGS,
            "dag_run_id": [RUN],
            "run_id": [RUN],
            "task_id": tasks,
            "map_index": [-1],
            "try_number": [1],
            "task_try_number": [1],
            "version_number": [1],
            "xcom_key": {entry["key"] for entry in entries},
            "connection_id": [one["connection_id"] for one in self.get("connections")["connections"]],
            "variable_key": [one["key"] for one in self.get("variables")["variables"]],
            "pool_name": [one["name"] for one in self.get("pools")["pools"]],
            "asset_id": [one["id"] for one in self.get("assets")["assets"]],
            "event_log_id": [one["event_log_id"] for one in self.get("eventLogs")["event_logs"]],
            "import_error_id": [one["import_error_id"] for one in self.get("importErrors")["import_errors"]],
            "section": ("core", "api", "api_auth", "database", "secrets"),
            "option": ("fernet_key", "secret_key", "jwt_secret", "sql_alchemy_conn", "backend_kwargs", "instance_name"),
            **{name: [1] for name in ABSENT},
        }
        assert all(found.values()), {name: values for name, values in found.items() if not values}
        return {name: sorted({str(value) for value in values}) for name, values in found.items()}

    def requests(self, known: dict[str, list[str]]) -> Iterator[tuple[str, str, dict[str, str]]]:
        """Route, path and query of everything that can be asked."""
        routes = self.http.get("/openapi.json").json()["paths"] | yaml.safe_load(UI_ROUTES.read_text(encoding="utf-8"))["paths"]
        for route, methods in sorted(routes.items()):
            if "get" not in methods or route in LEFT_OUT:
                continue
            names = re.findall(r"\{(\w+)(?::\w+)?\}", route)
            assert set(names) <= known.keys(), f"{route}: a parameter of nothing that is known here"
            query = [parameter for parameter in methods["get"].get("parameters", []) if parameter["in"] == "query"]
            asked = {one["name"]: REQUIRED[one["name"]] for one in query if one.get("required")}
            asked |= {one["name"]: ALWAYS[one["name"]] for one in query if one["name"] in ALWAYS}
            for values in itertools.product(*(known[name] for name in names)):
                path = route
                for name, value in zip(names, values, strict=True):
                    path = re.sub(rf"\{{{name}(?::\w+)?\}}", value, path)
                yield route, path, asked

    def answer(self, request: tuple[str, str, dict[str, str]]) -> tuple[str, str]:
        """The route, and everything that came back."""
        route, path, query = request
        answer = self.http.get(path, params=query, headers={"Accept": "application/json"})
        assert answer.status_code < 500, f"{path}: {answer.status_code} {answer.text[:1000]}"
        if "application/json" not in answer.headers.get("content-type", ""):
            return route, f"{path} {answer.status_code} {answer.text}"
        # twice: as it was sent, and without the escapes of JSON
        return route, f"{path} {answer.status_code} {answer.text} {json.dumps(answer.json(), ensure_ascii=False)}"


def database(platform: Platform, tables: set[str] | None = None) -> str:
    """The metadata database as text: whatever a page may ever show comes from here."""
    with psycopg.connect(platform.postgres.dsn("airflow")) as connection:
        names = [name for (name,) in connection.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY 1")]
        wanted = [name for name in names if tables is None or name in tables]
        assert wanted
        rows = ((name, row) for name in wanted for row in connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name))))
        return "\n".join(f"{name} {row!r}" for name, row in rows)


def files(folder: Path, *patterns: str) -> str:
    """All files below a folder whose names fit, as one text."""
    found = sorted({path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()})
    assert found, f"{folder}: no {' or '.join(patterns)}"
    return "\n".join(f"{path}\n{path.read_text(encoding='utf-8', errors='replace')}" for path in found)
