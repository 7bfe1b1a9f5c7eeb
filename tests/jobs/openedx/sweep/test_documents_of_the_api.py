"""What the client reads: the course list, outlines, exports, and the ids in all of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from include.contract import PermanentError, TransientError
from include.jobs.openedx.api.client import Client
from include.jobs.openedx.api.keys import checked, in_path, why_refused
from include.jobs.openedx.api.lms import Lms
from include.jobs.openedx.api.studio import Studio
from include.jobs.openedx.api.tokens import Application
from tests.openedx_service import CLIENT, EXPORTS, QUICK, Service, running

from .listener import listener

RUNS = 230
pytestmark = pytest.mark.usefixtures("clean")


# --- the course list -----------------------------------------------------------------------------


def test_the_whole_course_list(service: Service) -> None:
    found = service.ask(lambda client: Lms(client).courses())
    assert (list(found.ids), found.complete, found.pages) == (service.ids, True, 3)


def test_a_link_to_another_host_is_read_and_not_followed() -> None:
    """system.md §3.5: ``next`` links are parsed by their query alone."""
    with listener() as (elsewhere, heard), running(230, links=elsewhere) as service:
        found = service.ask(lambda client: Lms(client).courses())
        assert list(found.ids) == service.ids
        assert heard == []


def test_a_redirect_is_not_followed() -> None:
    with listener() as (elsewhere, heard), listener(lambda path: (302, {"Location": f"{elsewhere}/stolen"}, b"")) as (here, _):
        application = Application(f"{here}/token", *CLIENT)
        with pytest.raises(PermanentError, match="HTTP 302"):
            asyncio.run(_one_outline(here, application))
        assert heard == []


def test_a_list_that_changes_while_it_is_read_is_read_again(service: Service) -> None:
    """Pages are numbered, so a run that is removed between two of them hides another one."""

    class Removing(Lms):
        async def _page(self, params: dict[str, str]) -> Any:
            page = await super()._page(params)
            if not params and not removed:
                removed.append(service.ids[0])
                await asyncio.to_thread(service.change, remove=removed)
            return page

    removed: list[str] = []
    found = service.ask(lambda client: Removing(client).courses())
    assert found.complete
    assert list(found.ids) == service.ids
    assert len(service.requests("/courses/v1/courses/")) == 6


def test_answers_that_are_no_answers_are_asked_for_again_by_the_next_try() -> None:
    wrong: list[tuple[bytes, str]] = [
        (b"<html>maintenance</html>", "could not be read"),
        (b"[]", "could not be read"),
        (b'{"published_version": 7, "course_key": "x"}', "could not be read"),
        (b'{"published_version": "abc", "course_key": "course-v1:another+one+here"}', "allowed: the outline of course-v1:a\\+b\\+c"),
        (b'{"published_version": "", "course_key": "course-v1:a+b+c"}', "with its version"),
        (b'{"published_version": "abc", "course_key": "course-v1:a+b+c", "published_at": "yesterday"}', "published_at: found 'yesterday'"),
    ]
    for body, message in wrong:

        def answer(path: str, body: bytes = body) -> tuple[int, dict[str, str], bytes]:
            return 200, {}, body if "outline" in path else json.dumps({"access_token": "t", "expires_in": 60}).encode()

        with listener(answer) as (root, _), pytest.raises(TransientError, match=message):
            asyncio.run(_one_outline(root, Application(f"{root}/token", *CLIENT)))


async def _one_outline(root: str, application: Application) -> None:
    async with Client(root, application, patience=QUICK) as client:
        await Lms(client).outline("course-v1:a+b+c")


# --- Studio --------------------------------------------------------------------------------------


def test_a_partial_success_has_a_task(service: Service) -> None:
    """system.md §5.2: a 400 with ``upload_task_ids`` is a partial success."""
    course = service.ids[0]

    def answer(path: str) -> tuple[int, dict[str, str], bytes]:
        body = {"upload_urls": {course: "http://b/a"}, "upload_task_ids": {course: "t1"}, "failed_uploads": {"course-v1:an+other+run": "no"}}
        return 400 if "export" in path else 200, {}, json.dumps(body if "export" in path else {"access_token": "t", "expires_in": 60}).encode()

    async def asked(root: str) -> Any:
        async with Client(root, Application(f"{root}/token", *CLIENT), patience=QUICK) as client:
            return await Studio(client).start(course)

    with listener(answer) as (root, _):
        assert asyncio.run(asked(root)).task_id == "t1"


@pytest.mark.parametrize(
    ("plan", "error", "message"),
    [
        ({"refuse": "the queue is away"}, TransientError, "could not queue the export: the queue is away"),
        ({"reject": "bucket is not configured"}, PermanentError, "Studio refused the export: bucket is not configured"),
    ],
    ids=["not queued", "rejected"],
)
def test_exports_that_do_not_begin(service: Service, plan: dict[str, str], error: type[Exception], message: str) -> None:
    service.faults({"match": EXPORTS, "export": plan})
    with pytest.raises(error, match=message):
        service.ask(lambda client: Studio(client).start(service.ids[0]), service.studio)


# --- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["course-v1:MITxT+6.00x+1T2024", "course-v1:a+b+c", "course-v1:Ünï+6-2~x+r_1", f"course-v1:a+b+{'c' * 240}"])
def test_keys_that_are_taken(key: str) -> None:
    assert checked(key) == key
    assert "+" in in_path(key)


@pytest.mark.parametrize(
    "key",
    [
        *("", "MITx/6.00x/2013", "course-v1:a+b", "course-v1:a+b+c+d", "course-v1:a+b+../../c", "course-v1:a+b+c/d", "course-v1:a+b+c?x=1", "library-v1:a+b"),
        *(
            "course-v1:a+b+c\n",
            "course-v1:a+b+c d",
            "course-v1:a+b+c'",
            'course-v1:a+b+c"',
            "course-v1:a+b+%2e",
            "course-v1:a+b+c:d",
            f"course-v1:a+b+{'c' * 250}",
        ),
    ],
)
def test_keys_that_are_refused(key: str) -> None:
    reason = why_refused(key)
    assert reason is not None
    assert "allowed: course-v1:" in reason
    with pytest.raises(PermanentError):
        in_path(key)
