"""The LMS's documents: the course list, a run's outline with its published version, its detail and its structure."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
from yarl import URL

from include.contract import TransientError
from include.jobs.openedx.api.client import Client
from include.jobs.openedx.api.keys import in_path

log = logging.getLogger(__name__)
COURSES = "/api/courses/v1/courses/"
LISTINGS = 2


class _Course(msgspec.Struct):
    id: str


class _Pagination(msgspec.Struct):
    next: str | None
    count: int
    num_pages: int


class _CoursePage(msgspec.Struct):
    results: list[_Course]
    pagination: _Pagination


class _Outline(msgspec.Struct):
    course_key: str
    published_version: str
    published_at: str | None = None


@dataclass(frozen=True)
class CourseList:
    """The ids that the course list shows, in its order, each once. ``complete``: as many as the server says there are."""

    ids: tuple[str, ...]
    complete: bool
    pages: int


@dataclass(frozen=True)
class Outline:
    """What a sweep reads of an outline: the version of the run's content that learners see, and since when (UTC, where the server says)."""

    published_version: str
    published_at: datetime | None


class Lms:
    """The documents of one LMS. All methods raise ``PermanentError`` (``NotFoundError`` among them), ``TransientError`` and ``BudgetSpentError``."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def courses(self) -> CourseList:
        """All course runs that this application's user may see.

        Pages are asked for by their numbers, at once. A run that is added or removed meanwhile shifts them, which shows in the number of ids; the list is
        then read a second time, and called incomplete when it still does not add up.
        """
        for _ in range(LISTINGS):
            found = await self._list_once()
            if found.complete:
                break
            log.warning("the course list changed while it was read: %d ids on %d pages", len(found.ids), found.pages)
        return found

    async def _list_once(self) -> CourseList:
        first = await self._page({})
        parameter, second = _page_parameter(first.pagination.next)
        numbers = range(second, first.pagination.num_pages + 1) if parameter else range(0)
        pages = [first, *await asyncio.gather(*(self._page({parameter: str(number)}) for number in numbers))]
        ids = tuple(dict.fromkeys(course.id for page in pages for course in page.results))
        return CourseList(ids, all(page.pagination.count == len(ids) for page in pages), len(pages))

    async def _page(self, params: dict[str, str]) -> _CoursePage:
        page: _CoursePage = (await self.client.get(COURSES, params)).decode(_CoursePage)
        return page

    async def outline(self, course_id: str) -> Outline:
        """The published version of a run. ``NotFoundError`` for one that has no outline."""
        answer = await self.client.get(f"/api/learning_sequences/v1/course_outline/{in_path(course_id)}")
        found: _Outline = answer.decode(_Outline)
        if found.course_key != course_id or not found.published_version:
            what = f"course_key {found.course_key!r} and published_version {found.published_version!r}"
            raise TransientError(f"{answer.url}: found {what}; allowed: the outline of {course_id} with its version")
        return Outline(found.published_version, _moment(found.published_at, answer.url))

    async def detail(self, course_id: str) -> dict[str, Any] | None:
        """A run's entry of the course list with its overview; nothing when it is gone."""
        answer = await self.client.get(f"{COURSES}{in_path(course_id)}/", allowed=(200, 404))
        return None if answer.status == 404 else answer.decode(dict[str, Any])

    async def structure(self, course_id: str) -> bytes | None:
        """All blocks of a run by their ids, as JSON text; nothing when it is gone. Raises ``TransientError`` for anything but an object of objects."""
        answer = await self.client.get(f"/api/course-structure/v0/{in_path(course_id)}/", allowed=(200, 404))
        if answer.status == 404:
            return None
        answer.decode(dict[str, dict[str, msgspec.Raw]])
        return answer.body


def _page_parameter(link: str | None) -> tuple[str, int]:
    """Name and value of the page number in a link to the next page. Only the link's query counts: behind a proxy its host is often another one.

    Raises ``TransientError`` for a link without page number.
    """
    if link is None:
        return "", 0
    page = parse_qs(urlsplit(link).query).get("page", [""])[0]
    if not page.isdecimal():
        raise TransientError(f"course list: found a next page at {link[:300]!r}; allowed: a link with a page number")
    return "page", int(page)


def _moment(text: str | None, url: URL) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise TransientError(f"{url}: published_at: found {text!r}; allowed: a date and time as ISO 8601") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
