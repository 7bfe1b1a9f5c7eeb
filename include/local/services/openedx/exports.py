"""Export tasks of one Studio, and the bucket in which their archives end up.

A task's state follows from the time since it began, or from how often it was asked for, so nothing runs in the background. The archive is put into the
bucket when the task is first seen to have succeeded, under the run's name alone: a later export of the run takes its place, as in the bucket of the real
plugin.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from include.local.data.openedx_runs import CourseRun

STATES = ("Pending", "In Progress", "Retrying", "Succeeded", "Failed", "Canceled")
SECONDS = 0.1


class ExportPlan(BaseModel):
    """How one export goes: ``states`` of ``seconds`` each, then ``end``; an end of ``null`` never comes.

    With ``seconds`` of ``null`` each of the ``states`` is the answer to one question, however slowly they are asked.
    ``refuse``: the task cannot be queued, the answer is a 400 whose ``failed_uploads`` give this reason. ``reject``: the request itself is refused,
    with a 400 that has no uploads at all.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    states: tuple[Literal["Pending", "In Progress", "Retrying"], ...] = ("Pending", "In Progress")
    seconds: Annotated[float, Field(ge=0)] | None = SECONDS
    end: Literal["Succeeded", "Failed", "Canceled"] | None = "Succeeded"
    refuse: str | None = None
    reject: str | None = None


@dataclass
class Task:
    """One export task."""

    id: str
    course_id: str
    plan: ExportPlan
    begun: float = field(default_factory=time.monotonic)
    settled: str | None = None
    asked: int = 0

    @property
    def state(self) -> str:
        """The state by the clock, or by the number of questions answered."""
        if self.settled is not None:
            return self.settled
        step = self._step  # once: the clock goes on
        if step < len(self.plan.states):
            return self.plan.states[step]
        return self.plan.end or (self.plan.states[-1] if self.plan.states else "In Progress")

    @property
    def ended(self) -> bool:
        """Whether the task has come to its end."""
        return self.state in ("Succeeded", "Failed", "Canceled")

    @property
    def _step(self) -> int:
        if self.plan.seconds is None:
            return self.asked
        return int((time.monotonic() - self.begun) / self.plan.seconds) if self.plan.seconds else len(self.plan.states)


@dataclass(frozen=True)
class Archive:
    """An object of the bucket."""

    data: bytes
    etag: str
    modified: datetime
    task_id: str


class Exports:
    """All export tasks since the start, oldest first, and the bucket. ``most_at_once`` is the largest number of tasks that were under way together."""

    def __init__(self, run_of: Callable[[str], CourseRun | None], archive_of: Callable[[CourseRun], bytes]) -> None:
        self._run_of, self._archive_of = run_of, archive_of
        self.plan = ExportPlan()
        self.tasks: list[Task] = []
        self.bucket: dict[str, Archive] = {}
        self.most_at_once = 0

    def start(self, course_id: str, plan: ExportPlan | None = None) -> Task:
        """A new task; the task itself finds out whether the run exists."""
        self.settle()
        task = Task(str(uuid.uuid4()), course_id, plan or self.plan)
        self.tasks.append(task)
        self.most_at_once = max(self.most_at_once, sum(not one.ended for one in self.tasks))
        return task

    def state(self, course_id: str, task_id: str) -> str | None:
        """A task's state, or nothing when there is no such task of the run."""
        task = next((task for task in self.tasks if (task.course_id, task.id) == (course_id, task_id)), None)
        if task is None:
            return None
        state = task.state
        self.settle()  # after the look, since time goes on: what is said to have succeeded is in the bucket
        task.asked += 1
        return task.settled or state

    def settle(self) -> None:
        """Puts the archives of newly succeeded tasks into the bucket, in the order in which they began."""
        for task in self.tasks:
            if task.settled is None and task.ended:
                task.settled = task.state if task.state != "Succeeded" else self._put(task)

    def _put(self, task: Task) -> str:
        run = self._run_of(task.course_id)
        if run is None:
            return "Failed"
        data = self._archive_of(run)
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()
        self.bucket[task.course_id] = Archive(data, etag, datetime.now(UTC), task.id)
        return "Succeeded"
