"""What the sources of the Open edX domain say must be in the lake and at MIT Learn by now, kept beside the platform's state from round to round.

Nothing here is read from the lake. The acts of learners are those that the generator of tracking logs told when it wrote a day's files. Which course runs had
to be loaded follows from what the deployments list and from how many runs a sweep may take; what is in each of them follows from its archive.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from pydantic import TypeAdapter

from include.atomic import replacing
from include.local.data.acts import Act
from include.local.data.olx.expected import expected_of_archive
from include.local.data.openedx_runs import CourseRun
from include.local.openedx_inputs import Inputs
from include.local.services.openedx.__main__ import arguments, deployments_of
from include.local.services.openedx.content import Content
from include.local.services.openedx.store import Deployment


@dataclass(frozen=True)
class CourseFacts:
    """What the lake must hold of a course run: which edition, and how much of everything. ``blocks`` are those of the archive by type."""

    published_version: str
    archive_sha256: str
    quarantined_members: int
    blocks: dict[str, int]
    structure_blocks: int
    videos: int
    video_ms: int
    policies: int
    signatories: int
    static_files: int
    static_bytes: int


@dataclass
class CourseRecord:
    """What the sweeps of a deployment have taken, as its course list and the number of their runs have it.

    ``asked`` and ``waiting`` are course runs in the order in which the next sweep asks for them, and takes them. ``loaded`` has the facts of each that was
    taken, of the edition that was published then; ``told`` the course run and the SHA-256 of every archive that MIT Learn had to hear of.
    """

    sweeps: int = 0
    asked: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    loaded: dict[str, CourseFacts] = field(default_factory=dict)
    told: list[tuple[str, str]] = field(default_factory=list)

    def sweep(self, listed: Mapping[str, str], most: int, facts_of: Callable[[str], CourseFacts]) -> None:
        """One sweep more over the listed course runs with their published versions.

        Runs that nobody asked for before come first, by name; one that differs from what was last loaded waits until ``most`` others before it are taken.
        """
        self.asked = [*sorted(listed.keys() - set(self.asked)), *self.asked]
        changed = [name for name in self.asked if name in listed and (name not in self.loaded or self.loaded[name].published_version != listed[name])]
        order = [*(name for name in self.waiting if name in changed), *(name for name in changed if name not in self.waiting)]
        for name in order[:most]:
            self.loaded[name] = facts_of(name)
            self.told.append((name, self.loaded[name].archive_sha256))
        self.waiting = order[most:]
        self.sweeps += 1


@dataclass(frozen=True)
class Sources:
    """By deployment: the acts of every day whose logs were ever delivered, and what the sweeps have taken."""

    acts: Mapping[str, Mapping[date, list[Act]]]
    courses: Mapping[str, CourseRecord]


def facts_of(run: CourseRun, content: Content) -> CourseFacts:
    """The facts of a course run as it is published now."""
    archive = content.archive_of(run)
    held = expected_of_archive(archive)
    return CourseFacts(
        published_version=run.published_version,
        archive_sha256=hashlib.sha256(archive).hexdigest(),
        quarantined_members=len(held.quarantined),
        blocks=held.blocks,
        structure_blocks=len(content.structure_of(run)),
        videos=held.videos,
        video_ms=round(held.video_seconds * 1000),
        policies=held.policies,
        signatories=held.signatories,
        static_files=len(held.static),
        static_bytes=held.static_bytes,
    )


def deployments(dsn: str) -> dict[str, Deployment]:
    """The deployments as the stand-in has them: from the same databases, with the same contents."""
    return deployments_of(arguments(["--port", "0", "--source-dsn", dsn]))


_ACTS, _RECORD = TypeAdapter(list[Act]), TypeAdapter(CourseRecord)


@dataclass(frozen=True)
class SourceRecords:
    """The files below ``folder``: for each deployment one of its courses, and one of the acts of each day."""

    folder: Path

    def deliver(self, inputs: Inputs) -> None:
        """Keeps the acts of the day that was delivered. To be called before anything loads it."""
        for name, logs in inputs.logs.items():
            _write(self.folder / name / f"acts-{inputs.day}.json.gz", gzip.compress(_ACTS.dump_json(logs.totals.acts), 1, mtime=0))

    def sweep(self, deployments: Mapping[str, Deployment], sweeps: Mapping[str, int], most: Mapping[str, int]) -> None:
        """Follows the sweeps of each deployment that have succeeded since the last call, ``sweeps`` by now; each takes ``most`` runs at a time."""
        for name, deployment in deployments.items():
            record = self._record(name)
            deployment.refresh()
            runs = {run.id: run for run in deployment.listed()}
            listed = {run.id: run.published_version for run in runs.values()}
            while record.sweeps < sweeps[name]:
                record.sweep(listed, most[name], lambda course, runs=runs, content=deployment.content: facts_of(runs[course], content))  # type: ignore[misc]
            _write(self._courses(name), _RECORD.dump_json(record, indent=2))

    def read(self) -> Sources:
        """Everything that was kept."""
        names = sorted(path.name for path in self.folder.iterdir())
        days = {name: {date.fromisoformat(path.name[5:15]): path for path in (self.folder / name).glob("acts-*.json.gz")} for name in names}
        acts = {name: {day: _ACTS.validate_json(gzip.decompress(path.read_bytes())) for day, path in sorted(found.items())} for name, found in days.items()}
        return Sources(acts, {name: self._record(name) for name in names})

    def _courses(self, name: str) -> Path:
        return self.folder / name / "courses.json"

    def _record(self, name: str) -> CourseRecord:
        path = self._courses(name)
        return _RECORD.validate_json(path.read_bytes()) if path.exists() else CourseRecord()


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as partial:
        partial.write_bytes(content)
