"""Requests to Open edX's APIs, against a service that misbehaves: tokens, repetitions, pauses, budgets."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from include.contract import PermanentError, TransientError
from include.jobs.openedx.api import client as client_module
from include.jobs.openedx.api.client import Client, NotFoundError
from include.jobs.openedx.api.lms import Lms
from include.jobs.openedx.api.retries import Budget, BudgetSpentError, Patience, asked_pause
from include.jobs.openedx.api.studio import Studio
from include.jobs.openedx.api.tokens import Application
from tests.jobs.openedx.sweep.listener import listener
from tests.openedx_service import CLIENT, EXPORTS, OUTLINES, QUICK, Service, running

RUNS = 230
pytestmark = pytest.mark.usefixtures("clean")


def outlines(service: Service, *courses: str, **options: Any) -> list[str]:
    """The published versions of some runs, asked for at once."""

    async def asked(client: Client) -> list[str]:
        return [found.published_version for found in await asyncio.gather(*(Lms(client).outline(course) for course in courses))]

    return service.ask(asked, **options)


# --- tokens and parameters -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JWT", "Bearer"])
def test_one_token_and_one_name_serve_all_requests(service: Service, kind: str) -> None:
    async def asked() -> None:
        async with Client(service.lms, service.application(token_type=kind)) as client:
            await asyncio.gather(*(Lms(client).outline(course) for course in service.ids[:40]))

    asyncio.run(asked())
    assert len(service.requests("access_token")) == 1
    assert len(service.requests("/me")) == 1
    queries = {one["query"] for one in service.requests("course_outline")}
    assert queries == {"username=data_platform&page_size=100"}


def test_other_apis_get_no_parameters_of_the_lms(service: Service) -> None:
    """system.md §3.5: only where the token comes from the API itself does a request carry ``username`` and ``page_size``."""
    course = service.ids[0]
    task = service.ask(lambda client: Studio(client).start(course), service.studio).task_id
    service.ask(lambda client: Studio(client).state(course, task), service.studio)
    assert [one["query"] for one in service.requests("/export/") if one["method"] == "GET"] == [f"task_id={task}"]
    assert service.requests("/me") == []


def test_expired_tokens_are_replaced_once_for_all(service: Service) -> None:
    async def asked() -> list[str]:
        async with service.client() as client:
            await Lms(client).outline(service.ids[0])
            await asyncio.to_thread(service.http.delete, "/_tokens")
            return [found.published_version for found in await asyncio.gather(*(Lms(client).outline(course) for course in service.ids[:30]))]

    assert asyncio.run(asked()) == [service.version(course) for course in service.ids[:30]]
    assert len(service.requests("access_token")) == 2
    refused = [one["path"] for one in service.requests("course_outline") if one["status"] == 401]
    assert 1 <= len(refused) == len(set(refused)), "no run was asked for with the old token twice"


def test_tokens_are_replaced_before_they_end() -> None:
    with running(3, token_seconds=31) as service:

        async def asked() -> None:
            async with service.client() as client:
                await Lms(client).outline(service.ids[0])
                await asyncio.sleep(1.1)
                before = len(service.requests("access_token"))
                await Lms(client).outline(service.ids[1])
                assert len(service.requests("access_token")) == before + 1

        asyncio.run(asked())
        assert not any(one["status"] == 401 for one in service.requests())


def test_a_token_that_is_refused_twice_is_nobodys_passing_trouble(service: Service) -> None:
    service.faults({"match": {"path": OUTLINES}, "count": None, "status": 401})
    with pytest.raises(PermanentError, match=r"HTTP 401 .*are the client id and secret right"):
        outlines(service, service.ids[0])
    assert len(service.requests("course_outline")) == 2


@pytest.mark.parametrize("wrong", [{"client_secret": "wrong"}, {"client_id": "somebody"}])
def test_wrong_credentials_are_permanent(service: Service, wrong: dict[str, str]) -> None:
    async def asked() -> None:
        async with Client(service.lms, service.application(**wrong), patience=QUICK) as client:
            await Lms(client).outline(service.ids[0])

    with pytest.raises(PermanentError, match=r"access_token: HTTP 401 .*invalid_client"):
        asyncio.run(asked())
    assert len(service.requests("access_token")) == 1


def test_the_token_endpoint_is_asked_patiently_and_not_for_ever(service: Service) -> None:
    rule = {"match": {"path": "*/access_token"}}
    service.faults({**rule, "status": 503}, {**rule, "half_body": True}, {**rule, "status": 429, "retry_after": 0})
    assert outlines(service, service.ids[0]) == [service.version(service.ids[0])]
    service.faults({**rule, "count": None, "status": 503})
    with pytest.raises(TransientError, match="no token after 4 attempts: HTTP 503"):
        outlines(service, service.ids[0])


def test_a_secret_is_never_shown(service: Service) -> None:
    assert CLIENT[1] not in repr(service.application())
    with pytest.raises(PermanentError, match=r"token type: found 'mac'; allowed: JWT, Bearer"):
        Application("http://x/oauth2/access_token", "a", "b", "mac")


# --- failures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 502}, {"status": 503}, {"half_body": True}, {"drop_answer": True}], ids=str)
def test_passing_trouble_passes(service: Service, fault: dict[str, Any]) -> None:
    course = service.ids[0]
    service.faults({"match": {"path": OUTLINES}, "count": 3, **fault})
    assert outlines(service, course) == [service.version(course)]
    assert len(service.requests("course_outline")) == 4


@pytest.mark.parametrize("fault", [{"status": 500}, {"half_body": True}, {"drop_answer": True}], ids=str)
def test_trouble_that_stays_is_given_up(service: Service, fault: dict[str, Any]) -> None:
    service.faults({"match": {"path": OUTLINES}, "count": None, **fault})
    with pytest.raises(TransientError, match=r"GET /mitxonline/lms/api/learning_sequences.*given up after 4 attempts"):
        outlines(service, service.ids[0])
    # aiohttp itself opens a connection anew that broke between two requests, as far as it can tell
    assert len(service.requests("course_outline")) in ((4,) if "drop_answer" not in fault else range(4, 9))


@pytest.mark.parametrize(("status", "hint"), [(403, "the application may not do this"), (400, "HTTP 400"), (405, "HTTP 405")])
def test_refusals_are_permanent_and_asked_once(service: Service, status: int, hint: str) -> None:
    """system.md §3.2: a 405 was once tried 5,363 times."""
    service.faults({"match": {"path": OUTLINES}, "count": None, "status": status})
    with pytest.raises(PermanentError, match=hint):
        outlines(service, service.ids[0])
    assert len(service.requests("course_outline")) == 1


def test_what_is_not_there(service: Service) -> None:
    with pytest.raises(NotFoundError):
        outlines(service, "course-v1:No+such+run")
    assert service.ask(lambda client: Lms(client).detail("course-v1:No+such+run")) is None
    assert service.ask(lambda client: Lms(client).structure("course-v1:No+such+run")) is None
    found = service.ask(lambda client: Lms(client).detail(service.ids[0]))
    assert found is not None
    assert found["id"] == service.ids[0]


def test_an_answer_that_is_too_long_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "MOST_BYTES", 1 << 20)
    token = b'{"access_token": "t", "expires_in": 3600}'

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        return 200, {}, token if "access_token" in path else b" " * (9 << 20) if "long" in path else b'{"a": 1}' + b" " * ((1 << 20) - 8)

    async def asked(address: str, path: str) -> bytes:
        application = Application(f"{address}/oauth2/access_token", CLIENT, "secret", "JWT")
        async with Client(f"{address}/studio", application) as client:
            return (await client.get(path)).body

    with listener(answer) as (address, heard):
        assert len(asyncio.run(asked(address, "/just"))) == 1 << 20
        with pytest.raises(PermanentError, match="/studio/long: found more than 1,048,576 bytes; allowed"):
            asyncio.run(asked(address, "/long"))
    assert [path for path in heard if "long" in path] == ["/studio/long"]


def test_late_answers_are_asked_for_again(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (client_module.TOTAL_SECONDS, client_module.CONNECT_SECONDS) == (60, 10)
    monkeypatch.setattr(client_module, "TOTAL_SECONDS", 0.5)
    service.faults({"match": {"path": OUTLINES}, "count": 2, "delay": 30})
    begin = time.monotonic()
    assert outlines(service, service.ids[0]) == [service.version(service.ids[0])]
    assert 1.0 <= time.monotonic() - begin < 30


def test_after_a_429_all_requests_wait_as_long_as_asked(service: Service) -> None:
    service.faults({"match": {"path": OUTLINES}, "status": 429, "retry_after": 2})
    begin = time.monotonic()
    assert len(outlines(service, *service.ids[:20])) == 20
    assert time.monotonic() - begin >= 2
    asked = [datetime.fromisoformat(one["at"]) for one in service.requests("course_outline")]
    throttled = next(datetime.fromisoformat(one["at"]) for one in service.requests("course_outline") if one["status"] == 429)
    assert not [at for at in asked if timedelta(seconds=1.2) < at - throttled < timedelta(seconds=1.9)], "nobody but who had asked before"


def test_who_waits_for_a_connection_hears_of_a_429_too(service: Service) -> None:
    service.faults({"match": {"path": OUTLINES}, "status": 429, "retry_after": 2})
    assert len(outlines(service, *service.ids[:5], concurrency=1)) == 5
    first, *others = [datetime.fromisoformat(one["at"]) for one in service.requests("course_outline")]
    assert len(others) == 5
    assert [at - first for at in others if at - first < timedelta(seconds=1.9)] == []


def test_a_429_is_granted_three_times_and_not_any_wait(service: Service) -> None:
    rule = {"match": {"path": OUTLINES}, "count": None, "status": 429}
    service.faults({**rule, "retry_after": 0})
    with pytest.raises(TransientError, match="given up after 4 attempts: HTTP 429"):
        outlines(service, service.ids[0])
    service.clear()
    service.faults({**rule, "retry_after": 3600})
    with pytest.raises(TransientError, match="asked to wait 3600 s by a 429; at most 2 s are granted"):
        outlines(service, service.ids[0])


def test_retry_after_in_all_its_forms() -> None:
    assert asked_pause({"Retry-After": "7"}) == 7
    assert asked_pause({"Retry-After": "-1"}) == 0
    assert asked_pause({}) == 60
    assert asked_pause({"Retry-After": "soon"}) == 60
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < asked_pause({"Retry-After": soon}) <= 30


def test_pauses_grow_and_differ() -> None:
    patience = Patience(first=0.1, longest=1.0)
    for attempt, longest in ((1, 0.1), (2, 0.2), (3, 0.4), (9, 1.0)):
        pauses = {patience.pause(attempt) for _ in range(50)}
        assert all(longest / 2 <= pause <= longest for pause in pauses)
        assert len(pauses) > 40


@pytest.mark.parametrize(("allowed", "spent"), [((60, 5), "requests"), ((0.3, 1000), "deadline")], ids=["number of requests", "time"])
def test_no_request_is_made_beyond_the_budget(service: Service, allowed: tuple[float, int], spent: str) -> None:
    budget = Budget(*allowed)  # its clock runs from here
    service.faults({"match": {"path": OUTLINES}, "count": None, "status": 503})
    with pytest.raises(BudgetSpentError, match=spent):
        outlines(service, service.ids[0], budget=budget, patience=Patience(1000, first=0.01, longest=0.02))
    assert budget.made == len([one for one in service.requests() if "access_token" not in one["path"]])
    assert spent == "deadline" or budget.made == 5


def test_waiting_for_a_429_ends_with_the_budget(service: Service) -> None:
    service.faults({"match": {"path": OUTLINES}, "count": None, "status": 429, "retry_after": 60})
    begin = time.monotonic()
    with pytest.raises(BudgetSpentError):
        outlines(service, service.ids[0], budget=Budget(0.5, 1000), patience=Patience())
    assert time.monotonic() - begin < 30


def test_a_post_whose_answer_was_lost_is_not_repeated(service: Service) -> None:
    before = len(service.exports())
    for fault in ({"drop_answer": True}, {"half_body": True}, {"status": 502}):
        service.faults({"match": EXPORTS, **fault})
        with pytest.raises(TransientError, match="given up after 1 attempts"):
            service.ask(lambda client: Studio(client).start(service.ids[0]), service.studio)
    assert len(service.exports()) == before + 2, "once for each answer that was lost, none for the 502"


def test_a_post_that_certainly_did_nothing_is_repeated(service: Service) -> None:
    before = len(service.exports())
    service.faults({"match": EXPORTS, "status": 429, "retry_after": 0}, {"match": EXPORTS, "status": 401})
    assert service.ask(lambda client: Studio(client).start(service.ids[0]), service.studio).task_id
    assert len(service.exports()) == before + 1
