"""Studio's export API, as the plugin ``ol-openedx-course-export`` answers it, and the bucket that it uploads to."""

from __future__ import annotations

import json
from email.utils import format_datetime
from typing import Any
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from include.local.services.openedx import problems
from include.local.services.openedx.exports import ExportPlan
from include.local.services.openedx.store import Deployment


class Studio:
    """The handlers for one deployment."""

    def __init__(self, deployment: Deployment) -> None:
        self._deployment = deployment

    async def start(self, request: Request) -> Response:
        """200 with a task and an address for every course; 400 with the same shape when one could not be queued, or with an error of the API."""
        courses = _courses(await request.body())
        plan: ExportPlan | None = request.scope.get("export_plan")
        if plan is not None and plan.reject is not None:
            raise problems.of_developer(400, plan.reject, "internal_error")
        answer: dict[str, dict[str, str]] = {"upload_urls": {}, "upload_task_ids": {}, "failed_uploads": {}}
        for number, course_id in enumerate(courses):
            if plan is not None and plan.refuse is not None and number == len(courses) - 1:  # of several, the others are accepted
                answer["failed_uploads"][course_id] = plan.refuse
                continue
            task = self._deployment.exports.start(course_id, plan)
            answer["upload_urls"][course_id] = self._address(request, course_id)
            answer["upload_task_ids"][course_id] = task.id
        return JSONResponse(answer, status_code=400 if answer["failed_uploads"] else 200)

    async def state(self, request: Request) -> Response:
        """200 with a task's state, 404 for a course or a task that is not there, 500 without ``task_id``: the plugin does not expect that."""
        course_id = request.path_params["course_id"]
        await self._deployment.follow()
        if self._deployment.run(course_id) is None:
            raise problems.of_developer(404, f"The provided course key cannot be parsed or found: {course_id}", "course_does_not_exist")
        if "task_id" not in request.query_params:
            raise problems.of_developer(500, "'task_id'", "internal_error")
        state = self._deployment.exports.state(course_id, request.query_params["task_id"])
        if state is None:
            raise problems.not_found("Task not found")
        return JSONResponse({"state": state})

    async def download(self, request: Request) -> Response:
        """The newest archive of a course. Like S3: no other authorization than its own, and a plus sign in an address means a blank."""
        if "Authorization" in request.headers:
            return _refusal(400, "InvalidArgument", "Unsupported Authorization Type")
        raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
        name = unquote(raw.decode("latin-1").rpartition("/")[2].replace("+", " ")).removesuffix(".tar.gz")
        self._deployment.exports.settle()
        archive = self._deployment.exports.bucket.get(name)
        if archive is None:
            return _refusal(404, "NoSuchKey", "The specified key does not exist.")
        headers = {"ETag": f'"{archive.etag}"', "Last-Modified": format_datetime(archive.modified, usegmt=True)}
        return Response(archive.data, media_type="application/x-tar", headers=headers)

    def _address(self, request: Request, course_id: str) -> str:
        return f"{request.url.scheme}://{request.url.netloc}/{self._deployment.name}/bucket/{quote(course_id, safe=':+')}.tar.gz"


def _courses(body: bytes) -> list[str]:
    try:
        found: Any = json.loads(body)
    except ValueError as error:
        raise problems.Problem(400, {"detail": f"JSON parse error - {error}"}) from error
    courses = found.get("courses", []) if isinstance(found, dict) else []
    if not courses:
        raise problems.of_developer(400, "No course Id was provided", "internal_error")
    if not isinstance(courses, list) or not all(isinstance(one, str) for one in courses):
        raise problems.of_developer(400, f"courses: found {courses!r}; allowed: a list of course ids", "internal_error")
    return courses


def _refusal(status: int, code: str, message: str) -> Response:
    return Response(f"<Error><Code>{code}</Code><Message>{message}</Message></Error>", status_code=status, media_type="application/xml")
