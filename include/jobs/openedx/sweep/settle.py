"""From what was known, the course list and the attempts of one sweep to what is known now. Pure: no clock, no network, no file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from include.contract import PermanentError, TransientError
from include.jobs.openedx.sweep.observe import Attempt
from include.jobs.openedx.sweep.state import Counts, Known, Observation, Status

NEVER = datetime.min.replace(tzinfo=UTC)
SHOWN = 10


def order_of(known: Mapping[str, Known], listed: Sequence[str]) -> list[str]:
    """The runs to ask for: those never attempted first, then the longest ago.

    All listed ones, and those that are known but not listed any more and not known to be gone: hidden or gone, which only asking can tell.
    """
    unlisted = [name for name in known.keys() - set(listed) if known[name].gone_since is None]
    return sorted({*listed, *unlisted}, key=lambda name: (known.get(name, Known()).attempted_at or NEVER, name))


@dataclass(frozen=True)
class Settled:
    """What a sweep comes to; the parts of :class:`include.jobs.openedx.sweep.state.Sweep` that follow from its attempts."""

    courses: dict[str, Known]
    changed: tuple[str, ...]
    observations: tuple[Observation, ...]
    counts: Counts
    failures: tuple[str, ...]


def settle(known: Mapping[str, Known], listed: Sequence[str], attempts: Sequence[Attempt], *, most: int) -> Settled:
    """The new state, with at most ``most`` changed runs reported now, those first that have waited longest; the others wait for the next sweep.

    A failed attempt, and one that finds no outline, changes nothing but the order of the next sweep.
    """
    courses = dict(known)
    observations = []
    for attempt in attempts:
        before = courses.get(attempt.course_id, Known())
        after, status = _after(before, attempt)
        courses[attempt.course_id] = after
        if status is not None:
            observations.append(Observation(attempt.course_id, status, after.version, before.version, attempt.published_at, attempt.at))
    waiting = sorted((name for name in courses if courses[name].waiting_since), key=lambda name: (courses[name].waiting_since, name))
    changed = tuple(waiting[:most])
    for name in changed:
        courses[name] = replace(courses[name], reported=courses[name].version, waiting_since=None)
    counts = _counts(attempts, observations, listed=len(listed), left=len(order_of(known, listed)) - len(attempts), waiting=len(waiting) - len(changed))
    return Settled(courses, changed, tuple(observations), counts, tuple(attempt.problem for attempt in attempts if attempt.problem)[:SHOWN])


def check(settled: Settled, attempts: Sequence[Attempt], cut: str) -> None:
    """Raises for a sweep that learned nothing.

    ``PermanentError`` when every attempt met something that no repetition mends, else ``TransientError``. A sweep that was cut short and met only runs without
    outline is fine: it is the next one that gets further.
    """
    counts = settled.counts
    if not counts.attempted:
        if counts.left:
            raise TransientError(f"none of {counts.left} course runs could be asked for: the {cut or 'budget'} was reached before")
        return
    if counts.observed or counts.gone or (cut and not counts.failed):
        return
    first = settled.failures[0] if settled.failures else "no run has an outline"
    text = f"none of {counts.attempted} course runs could be observed ({counts.without_outline} without outline, {counts.failed} failed); the first: {first}"
    raise PermanentError(text) if all(attempt.permanent for attempt in attempts) else TransientError(text)


def _after(before: Known, attempt: Attempt) -> tuple[Known, Status | None]:
    tried = replace(before, attempted_at=attempt.at)
    if attempt.outcome == "gone":
        return replace(tried, gone_since=attempt.at, waiting_since=None), "gone"
    if attempt.outcome != "observed":
        return tried, None
    differs = attempt.version != before.reported
    waiting_since = (before.waiting_since or attempt.at) if differs else None
    after = replace(tried, version=attempt.version, observed_at=attempt.at, waiting_since=waiting_since, gone_since=None)
    if before.gone_since is not None:
        return after, "returned"
    if not before.version:
        return after, "new"
    return after, "unchanged" if attempt.version == before.version else "changed"


def _counts(attempts: Sequence[Attempt], observations: Sequence[Observation], *, listed: int, left: int, waiting: int) -> Counts:
    outcomes = Counter(attempt.outcome for attempt in attempts)
    statuses = Counter(observation.status for observation in observations)
    return Counts(
        listed=listed,
        attempted=len(attempts),
        observed=outcomes["observed"],
        new=statuses["new"],
        changed=statuses["changed"],
        returned=statuses["returned"],
        gone=statuses["gone"],
        without_outline=outcomes["without_outline"],
        failed=outcomes["failed"],
        left=left,
        waiting=waiting,
    )
