"""A deployment's course runs: what the generator says, and what a test does to them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from include.local.data.openedx_runs import CourseRun
from include.local.services.openedx.content import SMALL, Content
from include.local.services.openedx.exports import Exports

Source = Callable[[int], Iterable[CourseRun]]
MAX_AGE = 2.0


class UnknownRunError(LookupError):
    """A change names a run that the deployment does not have."""


class Deployment:
    """One Open edX. ``source`` gives its runs on a day of the generator.

    A ``live`` source follows databases: it is first asked when somebody asks here, since they may be made later, and again every two seconds.
    """

    def __init__(self, name: str, source: Source, content: Content = SMALL, *, live: bool = False) -> None:
        self.name, self.content = name, content
        self.exports = Exports(self.run, content.archive_of)
        self._source, self._live = source, live
        self._day = 0
        self._runs: dict[str, CourseRun] = {}
        self._published: dict[str, list[datetime]] = {}
        self._removed: set[str] = set()
        self._unlisted: set[str] = set()
        self._without_outline: set[str] = set()
        self._read_at = -MAX_AGE
        if not live:  # databases may not be filled yet; the first request asks them
            self.refresh()

    async def follow(self) -> None:
        """Asks a live source again when that is due. Raises what the source raises."""
        if self._live and time.monotonic() - self._read_at >= MAX_AGE:
            await asyncio.to_thread(self.refresh)

    def refresh(self) -> None:
        """Asks the source for the runs."""
        self._runs = {run.id: run for run in self._source(self._day)}
        self._read_at = time.monotonic()

    def run(self, course_id: str) -> CourseRun | None:
        """A run as published, or nothing."""
        run = self._runs.get(course_id)
        if run is None or course_id in self._removed:
            return None
        for moment in self._published.get(course_id, ()):
            run = run.published(max(moment, run.published_at + timedelta(seconds=1)))
        return run

    def listed(self) -> list[CourseRun]:
        """The runs that the course list shows, in its order."""
        return [run for name in self._runs if name not in self._unlisted and (run := self.run(name)) is not None]

    def has_outline(self, course_id: str) -> bool:
        """Whether the learning-sequences API knows the run."""
        return course_id not in self._without_outline

    def change(
        self,
        *,
        day: int | None = None,
        publish: Iterable[str] = (),
        remove: Iterable[str] = (),
        unlist: Iterable[str] = (),
        without_outline: Iterable[str] = (),
        restore: Iterable[str] = (),
    ) -> None:
        """What happens at the deployment: a new day, runs published again, removed, hidden, without an outline, or as they were before that.

        Raises :class:`UnknownRunError` before anything is changed.
        """
        publish, remove, unlist, without_outline, restore = map(tuple, (publish, remove, unlist, without_outline, restore))
        unknown = [name for names in (publish, remove, unlist, without_outline, restore) for name in names if name not in self._runs]
        if unknown:
            raise UnknownRunError(f"runs of {self.name}: found {', '.join(unknown)}; allowed: runs that the deployment has")
        if day is not None:
            self._day = day
            self.refresh()
        for name in publish:
            self._published.setdefault(name, []).append(datetime.now(UTC).replace(microsecond=0))
        self._removed.update(remove)
        self._unlisted.update(unlist)
        self._without_outline.update(without_outline)
        for names in (self._removed, self._unlisted, self._without_outline):
            names.difference_update(restore)
