"""Retries, and failure alerts: the message really leaves, over HTTP, with the run and the reason in it; and nowhere is an alert that goes to nobody."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from urllib.parse import parse_qs

import pytest
from airflow.sdk import DAG

from include.config.environments import read_environment
from include.config.vocabulary import Owner, Tier
from include.policies import default_args, failure_alerts
from tests.dags.collected import ENVIRONMENTS

RECEIVED: list[dict[str, str]] = []


class _Slack(BaseHTTPRequestHandler):
    """Slack's Web API, as far as posting a message goes."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        fields = json.loads(body) if self.headers["Content-Type"].startswith("application/json") else {k: v[0] for k, v in parse_qs(body).items()}
        RECEIVED.append({"path": self.path, **fields})
        answer = json.dumps({"ok": True, "channel": "C1", "ts": "1.0", "message": {}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Slack)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/api/"
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", json.dumps({"conn_type": "slack", "password": "xoxb-test", "extra": {"base_url": url}}))
    RECEIVED.clear()
    yield url
    server.shutdown()


def test_a_failed_run_is_told_to_the_channel(slack: str) -> None:
    environment = read_environment({"OL_ENVIRONMENT": "qa", "OL_IMAGE_TAG": "2026.11.20-3f2a1c0"})
    (notifier,) = failure_alerts(environment)
    address = SimpleNamespace(get=lambda section, key: "https://airflow.example.org")
    context = {"dag": DAG("warehouse", schedule=None), "run_id": "manual__1", "reason": "task_failure", "conf": address}
    notifier.context = context
    notifier.render_template_fields(context)
    notifier.notify(context)
    (message,) = RECEIVED
    assert message["path"] == "/api/chat.postMessage"
    assert message["channel"] == "#notifications-data-platform-qa"
    assert message["text"] == ":red_circle: *warehouse* failed in qa\nrun `manual__1` (task_failure)\nhttps://airflow.example.org/dags/warehouse/runs/manual__1"


@pytest.mark.parametrize("variables", [{}, {"OL_ENVIRONMENT": "branch", "OL_SCHEMA_SUFFIX": "pr_1", "OL_IMAGE_TAG": "x1"}])
def test_no_channel_no_alert(variables: dict[str, str]) -> None:
    assert failure_alerts(read_environment(variables)) == []


@pytest.mark.parametrize(("name", "seconds"), [("local", (10, 10)), ("production", (60, 30))])
def test_nobody_waits_for_long_on_a_laptop(name: str, seconds: tuple[int, int]) -> None:
    arguments = default_args(read_environment(ENVIRONMENTS[name]), Owner.DATA_PLATFORM, Tier.TWO)
    (restart,) = [rule.retry_delay for rule in arguments["retry_policy"].rules if rule.exception.endswith("TransientError")]
    assert (arguments["retry_delay"].total_seconds(), restart.total_seconds()) == seconds
    assert arguments["retries"] == 3
