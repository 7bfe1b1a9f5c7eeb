"""A course as a plan: which blocks, under what names, with which settings. Everything else is written from it, and counted from it."""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from include.local.data import catalog
from include.local.data.olx.words import Words
from include.local.data.openedx import BLOCKS as LEARNED_BLOCKS

# What a unit is made of, by how often; every type that a course team can add in Studio, old ones included.
LEAVES = (
    ("problem", 36), ("html", 24), ("video", 16), ("discussion", 4), ("library_content", 2), ("openassessment", 1), ("drag-and-drop-v2", 1),
    ("lti_consumer", 1), ("lti", 1), ("poll", 1), ("survey", 1), ("word_cloud", 1), ("edx_sga", 1), ("annotatable", 1), ("split_test", 1), ("done", 1),
    ("google-document", 1), ("google-calendar", 1), ("pdf", 1), ("scorm", 1), ("problem-builder", 1), ("conditional", 1), ("poll_question", 1),
    ("itembank", 1), ("ubcpi", 1), ("recommender", 1), ("staffgradedxblock", 1), ("library_sourced", 1), ("randomize", 1), ("imagemodal", 1),
)  # fmt: skip
KINDS = ("chapter", "sequential", "vertical", *(kind for kind, _ in LEAVES))
FROM_LIBRARY = ("library_content", "itembank")
SMALLEST = 4
NO_ASSET = "no asset"
WORDY = ("problem", "html", "problem-builder", "openassessment", "annotatable")


@dataclass(frozen=True)
class Block:
    """One block. ``attributes`` are those of its XML element, ``duration`` (videos) is the asset's, in seconds, or ``NO_ASSET``."""

    kind: str
    name: str
    title: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: tuple[Block, ...] = ()
    duration: str = ""
    text: int = 0  # words

    def walk(self) -> Iterator[Block]:
        """The block and all below it, parents first, in the order learners meet them."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True)
class CourseRun:
    """A course run as the catalogue has it; times are ISO 8601 in UTC, absent for a draft."""

    course_id: str
    title: str
    start: str | None = None
    end: str | None = None
    enrollment_start: str | None = None
    enrollment_end: str | None = None
    self_paced: bool | None = None  # absent: the attribute is not written

    @property
    def parts(self) -> tuple[str, str, str]:
        """Organisation, number and run."""
        org, number, run = self.course_id.removeprefix("course-v1:").split("+")
        return org, number, run


@dataclass(frozen=True)
class Plan:
    """A course run and its blocks: ``chapters`` with all below them. ``seed`` and ``version`` made it what it is."""

    run: CourseRun
    chapters: tuple[Block, ...]
    seed: int
    version: int = 0

    @property
    def blocks(self) -> list[Block]:
        """All blocks but the course itself, parents first."""
        return [block for chapter in self.chapters for block in chapter.walk()]

    @property
    def published_version(self) -> str:
        """What the LMS says is published: 24 hexadecimal digits, greater for a later version."""
        return f"{0x66000000 + 86_400 * self.version:08x}{zlib.crc32(self.run.course_id.encode()):08x}{self.version:08x}"

    def rng(self, topic: str) -> np.random.Generator:
        """Random numbers of one topic: equal for equal seed, course and topic, whatever the version."""
        return rng_of(self.seed, self.run.course_id, topic)


def rng_of(seed: int, course_id: str, topic: str) -> np.random.Generator:
    """Random numbers for a course and a topic."""
    return np.random.default_rng([seed, zlib.crc32(f"{course_id}/{topic}".encode())])


def make_plan(run: CourseRun, *, seed: int, blocks: int, version: int = 0) -> Plan:
    """A course of exactly ``blocks`` blocks (without the course itself), of all kinds when there are enough.

    The first blocks are those that the LMS generator's learners work on, under the same names. Every ``version`` after 0 renames one block more and
    adds one problem at the end, so that it has ``blocks + version`` blocks. Raises ``ValueError`` for fewer than four blocks.
    """
    if blocks < SMALLEST:
        raise ValueError(f"blocks: found {blocks}; allowed: {SMALLEST} or more, since a problem needs a chapter, a sequential and a vertical around it")
    chapters = _Builder(rng_of(seed, run.course_id, "plan"), run).chapters(blocks)
    return _edited(Plan(run, chapters, seed), version)


def _edited(plan: Plan, version: int) -> Plan:
    chapters = list(plan.chapters)
    for number in range(1, version + 1):
        place = number % len(chapters)
        chapters[place] = replace(chapters[place], title=f"{chapters[place].title} (edition {number})")
        added = Block("problem", f"added_{number:04d}", f"Added in edition {number}", {"max_attempts": "2", "weight": "1.0"}, text=60)
        chapters[-1] = _with_last(chapters[-1], added)
    return replace(plan, chapters=tuple(chapters), version=version)


def _with_last(block: Block, added: Block) -> Block:
    """The block with one more at the end of its last unit."""
    if block.kind == "vertical":
        return replace(block, children=(*block.children, added))
    return replace(block, children=(*block.children[:-1], _with_last(block.children[-1], added)))


class _Builder:
    """Makes leaves, and puts them into verticals, those into sequentials, and those into chapters, about four to one each time."""

    def __init__(self, rng: np.random.Generator, run: CourseRun) -> None:
        self._rng, self._run, self._words = rng, run, Words(rng)

    def chapters(self, blocks: int) -> tuple[Block, ...]:
        leaves = max(count for count in range(1, blocks) if sum(_levels(count)) <= blocks)
        _, verticals, sequentials, chapters = _levels(leaves)
        leaves += blocks - sum(_levels(leaves))
        level = self._leaves(leaves)
        for kind, count in (("vertical", verticals), ("sequential", sequentials), ("chapter", chapters)):
            level = self._groups(kind, level, count)
        return tuple(level)

    def _groups(self, kind: str, below: list[Block], count: int) -> list[Block]:
        cuts = sorted(self._rng.choice(np.arange(1, len(below)), size=count - 1, replace=False).tolist()) if count > 1 else []
        bounds = [0, *cuts, len(below)]
        return [self._block(kind, children=tuple(below[low:high])) for low, high in pairwise(bounds)]

    def _leaves(self, count: int) -> list[Block]:
        weights = np.array([weight for _, weight in LEAVES], dtype=float)
        kinds = [kind for kind, _ in LEAVES]
        drawn = [kinds[place] for place in self._rng.choice(len(kinds), size=count, p=weights / weights.sum()).tolist()]
        leaves = [self._learned(number) for number in range(min(LEARNED_BLOCKS, count))]
        left = count - len(leaves)
        for kind in (*kinds, *drawn):  # all kinds once, as far as there is room
            if left <= 0:
                break
            inside = tuple(self._block("problem") for _ in range(2)) if kind in FROM_LIBRARY and left > 2 else ()
            leaves.append(self._block(kind, children=inside))
            left -= 1 + len(inside)
        return leaves

    def _learned(self, number: int) -> Block:
        kind = "video" if number % 3 == 0 else "problem"
        name = catalog.blocks(self._run.course_id, kind, [number])[0].rpartition("@")[2]
        return self._block(kind, name=name)

    def _block(self, kind: str, *, name: str = "", children: tuple[Block, ...] = ()) -> Block:
        name = name or self._rng.bytes(16).hex()
        title = self._words.title()
        duration = ""
        if kind == "video":
            duration = NO_ASSET if self._rng.random() < 0.1 else f"{self._rng.uniform(20, 1800):.2f}"
        text = max(5, round(float(self._rng.lognormal(5.0, 0.7)))) if kind in WORDY else 0
        return Block(kind, name, title, attributes_of(kind, name, self._rng), children, duration, text)


def _levels(leaves: int) -> tuple[int, int, int, int]:
    """Leaves, verticals, sequentials and chapters."""
    verticals = -(-leaves // 4)
    sequentials = -(-verticals // 4)
    return leaves, verticals, sequentials, -(-sequentials // 4)


def attributes_of(kind: str, name: str, rng: np.random.Generator) -> dict[str, str]:
    """Settings of a new block, as its XML element carries them; the title is not among them."""
    if kind == "problem":
        found = {"max_attempts": str(rng.integers(1, 6)), "weight": f"{rng.integers(1, 5)}.0", "showanswer": "finished", "rerandomize": "never"}
        return {key: value for key, value in found.items() if rng.random() < 0.8}
    if kind in ("chapter", "sequential"):
        start = {"start": f"2026-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d}T00:00:00Z"}
        graded = {"graded": "true", "format": "Homework", "due": f"2027-01-{rng.integers(1, 29):02d}T23:30:00Z"}
        return {**start, **graded} if kind == "sequential" and rng.random() < 0.4 else start
    if kind in FROM_LIBRARY:
        return {"source_library_id": "library-v1:MITxT+LIB", "max_count": "1", "mode": "random"}
    if kind == "video":
        return {
            "url_name": name,
            "edx_video_id": str(uuid.UUID(bytes=rng.bytes(16), version=4)),
            "download_track": "true",
            "sub": "",
            "youtube_id_1_0": name[:11],
        }
    simple = {"html": {"filename": name}, "discussion": {"discussion_category": "Week & week", "discussion_target": 'Topic "A" <b>'}}
    return simple.get(kind, {})
