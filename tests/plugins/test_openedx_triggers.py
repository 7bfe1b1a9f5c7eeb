"""The trigger that waits for an export: made and driven as the triggerer does it, against the local Open edX."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import openedx_triggers
import pytest
from airflow.models.trigger import Trigger
from airflow.sdk._shared.module_loading import import_string
from airflow.sdk._shared.secrets_masker import SecretsMasker
from openedx_triggers import ExportTrigger

from include.jobs.openedx.api.studio import EXPORT
from include.local.services.openedx.exports import ExportPlan
from tests.openedx_service import CLIENT, EXPORTS, Service, running
from tests.plugins.events import only_event
from tests.ports import free_port

CONNECTION = "openedx_mitxonline"
VARIABLE = f"AIRFLOW_CONN_{CONNECTION.upper()}"
QUESTIONS, TOKENS = {"method": "GET", "path": "*/export/*"}, {"path": "*/oauth2/access_token"}
POLL = 0.05
PATIENCE = 120.0  # seconds; of the test, with a machine that does other things, too
QUIET = 0.5


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running(60) as found:
        yield found


@pytest.fixture(autouse=True)
def masker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A masker of the test's own: what other tests have told this process's one is cut out of what the trigger says."""
    found = SecretsMasker()
    monkeypatch.setattr("airflow.sdk._shared.secrets_masker.secrets_masker._secrets_masker", lambda: found)


@pytest.fixture(autouse=True)
def _clean(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    service.clear()
    monkeypatch.setenv(VARIABLE, login())
    yield
    service.clear()
    service.change(restore=list(service.store._runs))


def login(client_id: str | None = CLIENT[0], secret: str | None = CLIENT[1]) -> str:
    """The connection, as Airflow reads it from its environment."""
    return json.dumps({"conn_type": "http", "login": client_id, "password": secret})


def begun(service: Service, **plan: Any) -> str:
    """The address at which Studio tells of an export that goes as planned."""
    course = next(name for name in service.ids if name not in {task["course"] for task in service.exports()})
    service.faults({"match": EXPORTS, "export": {"seconds": None, **plan}})
    with service.authorized() as http:
        task = service.start(http, course).json()["upload_task_ids"][course]
    service.http.delete("/_requests")
    return f"{service.studio}{EXPORT}{course}/?task_id={task}"


def finish(service: Service) -> None:
    """The newest export succeeds now."""
    service.store.exports.tasks[-1].plan = ExportPlan(states=(), seconds=0)


def trigger(service: Service, url: str, **changes: Any) -> ExportTrigger:
    """As the triggerer makes it: from the row that the deferral has left in Airflow's database."""
    arguments = {"connection_id": CONNECTION, "lms": service.lms, "token_type": "JWT", "url": url, "poll_seconds": POLL, **changes}
    row = Trigger.from_object(ExportTrigger(**arguments))
    made = import_string(row.classpath)(**row.kwargs)
    assert isinstance(made, ExportTrigger)
    return made


def event_of(waits: ExportTrigger, *steps: Callable[[], object]) -> Any:
    """The payload of the trigger's one event. Each step happens only after a while in which the trigger said nothing."""
    return only_event(waits, steps, quiet=QUIET, patience=PATIENCE).payload


def asked(service: Service, part: str = EXPORT) -> list[int]:
    """What was answered to each question, oldest first."""
    return [request["status"] for request in service.requests(part)]


@pytest.mark.parametrize("states", [[], ["Pending"], ["Pending", "In Progress"], ["In Progress", "Retrying", "Pending", "Retrying", "In Progress"]])
def test_waits_through_every_state_that_is_no_end(service: Service, states: list[str]) -> None:
    assert event_of(trigger(service, begun(service, states=states))) == {"state": "Succeeded"}
    assert asked(service) == [200] * (len(states) + 1), "one question for each state, and none after the end"
    assert len(asked(service, "access_token")) == 1


@pytest.mark.parametrize("end", ["Failed", "Canceled"])
def test_other_ends_are_told_in_studio_s_words(service: Service, end: str) -> None:
    assert event_of(trigger(service, begun(service, end=end))) == {"state": end}


def test_says_nothing_until_the_end(service: Service) -> None:
    waits = trigger(service, begun(service, end=None))
    assert event_of(waits, lambda: None, lambda: finish(service)) == {"state": "Succeeded"}
    assert len(asked(service)) > 3


def test_what_the_database_keeps_waits_for_the_same_export(service: Service) -> None:
    """Two exports: each trigger asks for its own, also after a triggerer has handed it to another one."""
    failed, succeeded = begun(service, end="Failed"), begun(service)
    first = ExportTrigger(CONNECTION, service.lms, "Bearer", failed, POLL, ends_at=2_000_000_000.5)
    again = trigger(service, **dict(first.serialize()[1]))
    assert again.serialize() == first.serialize()
    assert event_of(again) == {"state": "Failed"}
    assert event_of(trigger(service, succeeded)) == {"state": "Succeeded"}


def test_a_trigger_that_an_older_release_has_stored_goes_on(service: Service) -> None:
    stored: dict[str, Any] = {"connection_id": CONNECTION, "lms": service.lms, "token_type": "JWT", "url": begun(service), "poll_seconds": POLL}
    assert event_of(ExportTrigger(**stored)) == {"state": "Succeeded"}


# --- what is waited out --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JWT", "Bearer"])
def test_a_token_that_expires_in_the_midst_is_replaced(service: Service, kind: str) -> None:
    waits = trigger(service, begun(service, end=None), token_type=kind)
    expire = lambda: service.http.delete("/_tokens").raise_for_status()  # noqa: E731
    assert event_of(waits, expire, lambda: finish(service)) == {"state": "Succeeded"}
    assert asked(service).count(401) == 1
    assert asked(service)[0] == asked(service)[-1] == 200
    assert asked(service, "access_token") == [200, 200]


EFFECTS: list[dict[str, Any]] = [
    {"status": 429, "retry_after": 1},
    *({"status": status} for status in (500, 502, 503, 504)),
    {"delay": 2.5},
    {"half_body": True},
    {"drop_answer": True},
]


@pytest.mark.parametrize("effect", EFFECTS, ids=str)
@pytest.mark.parametrize("place", [QUESTIONS, TOKENS], ids=["question", "token"])
def test_what_passes_is_waited_out(service: Service, monkeypatch: pytest.MonkeyPatch, place: dict[str, str], effect: dict[str, Any]) -> None:
    monkeypatch.setattr(openedx_triggers, "TIMEOUT", aiohttp.ClientTimeout(total=1.0))
    url = begun(service)
    service.faults({"match": place, "count": 2, **effect})
    assert event_of(trigger(service, url)) == {"state": "Succeeded"}
    assert sum("fault" in request for request in service.requests()) == 2


def test_an_answer_that_is_no_state_is_waited_out(service: Service) -> None:
    """A page of somebody between us and Studio: 200, and no JSON."""
    waits = trigger(service, f"{service.root}/health")
    calls = len(service.exports())

    def mend() -> None:
        waits.url = begun(service)

    assert event_of(waits, mend) == {"state": "Succeeded"}
    assert len(service.exports()) == calls + 1


def test_a_studio_that_is_away_is_waited_for(service: Service) -> None:
    url = begun(service)
    waits = trigger(service, url.replace(service.root, f"http://127.0.0.1:{free_port()}"))

    def back() -> None:
        waits.url = url

    assert event_of(waits, back) == {"state": "Succeeded"}


# --- what is told --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 403, 405, 410, 422])
def test_a_refusal_that_no_waiting_changes_is_told(service: Service, status: int) -> None:
    url = begun(service)
    service.faults({"match": QUESTIONS, "status": status})
    assert event_of(trigger(service, url)) == {"state": f"HTTP {status}"}


def test_a_task_that_studio_does_not_know_is_told(service: Service) -> None:
    url = begun(service).rpartition("=")[0]
    assert event_of(trigger(service, f"{url}=00000000-0000-4000-8000-000000000000")) == {"state": "HTTP 404"}


def test_a_course_that_goes_away_in_the_midst_is_told(service: Service) -> None:
    waits = trigger(service, begun(service, end=None))
    course = service.exports()[-1]["course"]
    assert event_of(waits, lambda: service.change(remove=[course])) == {"state": "HTTP 404"}


def overdue(answer: str) -> dict[str, Any]:
    return {"error": f"the export did not end in time; Studio's last answer: {answer}", "permanent": False}


def test_the_end_of_the_time_is_told_with_the_last_answer(service: Service) -> None:
    ends_at = time.time() + 1.0
    event = event_of(trigger(service, begun(service, states=["Pending", "Retrying"], end=None), ends_at=ends_at))
    assert event == overdue("Retrying")
    assert time.time() >= ends_at


def test_the_end_of_the_time_is_told_when_nobody_answers(service: Service) -> None:
    url = begun(service)
    service.faults({"match": QUESTIONS, "count": None, "drop_answer": True})
    assert event_of(trigger(service, url, ends_at=time.time() + 0.5)) == overdue("none")
    service.http.delete("/_faults")
    service.faults({"match": QUESTIONS, "count": None, "status": 503})
    assert event_of(trigger(service, url, ends_at=time.time() + 0.5)) == overdue("HTTP 503")


def test_an_export_that_ended_while_nobody_asked_has_ended(service: Service) -> None:
    """The triggerer was away when the time was over."""
    assert event_of(trigger(service, begun(service, states=[]), ends_at=time.time() - 600)) == {"state": "Succeeded"}


# --- credentials ---------------------------------------------------------------------------------

WRONG = [
    (None, r"connection openedx_mitxonline: found none \(.*isn't defined\); allowed: one with our client id as its login and the client's secret"),
    (login(client_id=None), "connection openedx_mitxonline: found one without a login; allowed: "),
    (login(secret=None), "connection openedx_mitxonline: found one without a password; allowed: "),
    (login(secret="wrong"), r"connection openedx_mitxonline: http://.*/oauth2/access_token answered 401; check the client id and secret"),
]


def give(monkeypatch: pytest.MonkeyPatch, connection: str | None) -> None:
    if connection is None:
        monkeypatch.delenv(VARIABLE)
    else:
        monkeypatch.setenv(VARIABLE, connection)


@pytest.mark.parametrize(("connection", "error"), WRONG, ids=["none", "no login", "no password", "wrong"])
def test_credentials_that_stay_away_are_told(service: Service, monkeypatch: pytest.MonkeyPatch, connection: str | None, error: str) -> None:
    monkeypatch.setattr(openedx_triggers, "PATIENCE", 3 * POLL)
    give(monkeypatch, connection)
    event = event_of(trigger(service, begun(service)))
    assert event["permanent"]
    assert re.match(error, event["error"]), event["error"]
    assert CLIENT[1] not in event["error"]
    assert asked(service) == [], "nothing was asked without a token"


@pytest.mark.parametrize("connection", [connection for connection, _ in WRONG], ids=["none", "no login", "no password", "wrong"])
def test_credentials_that_are_away_for_a_while_fail_nothing(service: Service, monkeypatch: pytest.MonkeyPatch, connection: str | None) -> None:
    """A store of secrets that restarts, a secret that is replaced in one place before the other."""
    give(monkeypatch, connection)
    waits = trigger(service, begun(service))
    assert event_of(waits, lambda: None, lambda: monkeypatch.setenv(VARIABLE, login())) == {"state": "Succeeded"}
