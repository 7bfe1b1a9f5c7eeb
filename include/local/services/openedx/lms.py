"""The LMS's APIs: who am I, the course list and its entries, outlines with their published versions, course structures."""

from __future__ import annotations

import math
import re
from collections import OrderedDict
from typing import Any
from urllib.parse import quote, urlencode

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from include.local.data.openedx_runs import CourseRun
from include.local.services.openedx import problems
from include.local.services.openedx.content import outline_of
from include.local.services.openedx.store import Deployment

USERNAME = "data_platform"
MAX_PAGE = 100
KEPT = 10_000
_COURSE_KEY = re.compile(r"course-v1:[^/+]+\+[^/+]+\+[^/+]+\Z")


class Lms:
    """The handlers for one deployment. ``links`` begins the links between pages (default: the address that was asked)."""

    def __init__(self, deployment: Deployment, links: str = "") -> None:
        self._deployment, self._links = deployment, links.rstrip("/")
        self._outlines: OrderedDict[tuple[str, int], bytes] = OrderedDict()

    async def me(self, request: Request) -> Response:
        """200 with the service account's name."""
        return JSONResponse({"username": USERNAME})

    async def courses(self, request: Request) -> Response:
        """200 with a page of courses; 400 without ``username`` or ``page_size``, 404 for another user and behind the last page."""
        await self._deployment.follow()
        query = request.query_params
        self._check_user(query.get("username"))
        size = min(MAX_PAGE, _number(query.get("page_size"), "page_size"))
        page = _number(query.get("page", "1"), "page")
        runs = self._deployment.listed()
        pages = max(1, math.ceil(len(runs) / size))
        if page > pages:
            raise problems.not_found("Invalid page.")
        results = [course_body(run) for run in runs[(page - 1) * size : page * size]]
        pagination = {
            "next": self._link(request, page + 1) if page < pages else None,
            "previous": self._link(request, page - 1) if page > 1 else None,
            "count": len(runs),
            "num_pages": pages,
        }
        return Response(orjson.dumps({"results": results, "pagination": pagination}), media_type="application/json")

    async def course(self, request: Request) -> Response:
        """200 with one course, 404 when it is gone."""
        if "username" in request.query_params:
            self._check_user(request.query_params["username"])
        run = await self._run(request)
        return JSONResponse({**course_body(run), "overview": f"<p>{run.title}</p>"})

    async def outline(self, request: Request) -> Response:
        """200 with the outline, 400 for an old-style course key, 404 for a run without outline or that is gone."""
        if not _COURSE_KEY.match(request.path_params["course_id"]):
            raise problems.Problem(400, {"detail": "Deprecated CourseKeys (Org/Course/Run) are not supported."})
        run = await self._run(request)
        if not self._deployment.has_outline(run.id):
            raise problems.not_found()
        return Response(self._outline(run), media_type="application/json")

    async def structure(self, request: Request) -> Response:
        """200 with all blocks of a course by their ids, 404 when it is gone."""
        run = await self._run(request)
        return Response(orjson.dumps(self._deployment.content.structure_of(run)), media_type="application/json")

    def _outline(self, run: CourseRun) -> bytes:
        """Built once for a published version: 3,500 of them are asked for in a row."""
        key = (run.id, run.revision)
        if key not in self._outlines:
            self._outlines[key] = orjson.dumps(outline_of(run, self._deployment.content.structure_of(run), USERNAME))
            if len(self._outlines) > KEPT:
                self._outlines.popitem(last=False)
        return self._outlines[key]

    async def _run(self, request: Request) -> CourseRun:
        await self._deployment.follow()
        run = self._deployment.run(request.path_params["course_id"])
        if run is None:
            raise problems.not_found("Course not found.")
        return run

    def _check_user(self, username: str | None) -> None:
        if not username:
            raise problems.bad_fields(username="A username is required for authenticated access.")
        if username != USERNAME:
            raise problems.not_found()

    def _link(self, request: Request, page: int) -> str:
        start = self._links or f"{request.url.scheme}://{request.url.netloc}"
        kept = [(key, value) for key, value in request.query_params.multi_items() if key != "page"]
        return f"{start}{request.url.path}?{urlencode([('page', page), *kept])}"


def course_body(run: CourseRun) -> dict[str, Any]:
    """A run as the course list shows it."""
    organization, number, _ = run.parts
    return {
        "blocks_url": f"/api/courses/v2/blocks/?course_id={quote(run.id, safe='')}",
        "effort": None,
        "end": _iso(run.end),
        "enrollment_start": _iso(run.enrollment_start),
        "enrollment_end": _iso(run.enrollment_end),
        "id": run.id,
        "media": {"course_image": {"uri": f"/asset-v1:{run.id.removeprefix('course-v1:')}+type@asset+block@image.jpg"}},
        "name": run.title,
        "number": number,
        "org": organization,
        "short_description": None,
        "start": _iso(run.start),
        "start_display": f"{run.start:%B %d, %Y}" if run.start else None,
        "start_type": "timestamp" if run.start else "empty",
        "pacing": "self" if run.self_paced else "instructor",
        "mobile_available": False,
        "hidden": False,
        "invitation_only": False,
        "course_id": run.id,
    }


def _iso(moment: Any) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")


def _number(text: str | None, name: str) -> int:
    if text is None:
        raise problems.bad_fields(**{name: "This field is required."})
    if not re.fullmatch(r"[1-9][0-9]{0,8}", text):
        raise problems.bad_fields(**{name: f"found {text!r}; allowed: a whole number of 1 or more"})
    return int(text)
