"""Studio's export of a course: begin it, look at it. Each export puts its archive under the same address, in a bucket that is not Studio's."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from include.contract import PermanentError, TransientError
from include.jobs.openedx.api.client import Answer, Client
from include.jobs.openedx.api.keys import in_path

EXPORT = "/api/courses/v0/export/"
SUCCEEDED = "Succeeded"
FAILED = frozenset({"Failed", "Canceled"})


class _Started(msgspec.Struct):
    upload_urls: dict[str, str] = {}
    upload_task_ids: dict[str, str] = {}
    failed_uploads: dict[str, str] = {}
    developer_message: str = ""


class _State(msgspec.Struct):
    state: str


@dataclass(frozen=True)
class Export:
    """An export that Studio has accepted: its task, and the address at which the archive will lie."""

    task_id: str
    url: str


class Studio:
    """The export API of one Studio. Methods raise ``PermanentError`` and ``TransientError``."""

    def __init__(self, client: Client) -> None:
        self.client = client

    async def start(self, course_id: str) -> Export:
        """Begins an export, in one attempt.

        A 400 is a partial success when it has a task for the course. Raises ``TransientError`` when the task could not be queued, or when the answer
        was lost, and ``PermanentError`` for a request that Studio refuses.
        """
        in_path(course_id)
        answer = await self.client.post_once(EXPORT, {"courses": [course_id]}, allowed=(200, 400))
        found: _Started = answer.decode(_Started)
        if course_id in found.upload_task_ids and course_id in found.upload_urls:
            return Export(found.upload_task_ids[course_id], found.upload_urls[course_id])
        if course_id in found.failed_uploads:
            raise TransientError(f"{course_id}: Studio could not queue the export: {found.failed_uploads[course_id]}")
        raise self._refused(course_id, answer, found)

    async def state(self, course_id: str, task_id: str) -> str:
        """The state of a task, in Studio's words. ``NotFoundError`` when Studio does not know the task, or not the course."""
        answer = await self.client.get(f"{EXPORT}{in_path(course_id)}/", {"task_id": task_id})
        found: _State = answer.decode(_State)
        return found.state

    @staticmethod
    def _refused(course_id: str, answer: Answer, found: _Started) -> Exception:
        if answer.status == 400:
            reason = found.developer_message or answer.body[:300].decode("utf-8", "replace")
            return PermanentError(f"{course_id}: Studio refused the export: {reason}")
        return TransientError(f"{course_id}: found an answer without a task: {answer.body[:300]!r}; allowed: upload_task_ids and upload_urls")
