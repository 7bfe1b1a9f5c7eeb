"""What a course's archive and structure hold, counted from the plan and the files alone: the other side of every check of a parser."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from include.local.data.olx.archive import OlxCourse
from include.local.data.olx.content import run_attributes
from include.local.data.olx.plan import FROM_LIBRARY, NO_ASSET, Block, Plan

NO_BLOCKS = ("course", "drafts", "assets", "static")


@dataclass(frozen=True)
class Expected:
    """Counts and totals of one course.

    ``blocks`` are XML files of published blocks by type; ``video_seconds`` adds up the durations that are known, of ``videos_with_duration`` videos;
    ``points`` the weights of problems. ``static`` maps paths to the SHA-256 of their contents. ``quarantined`` are paths of members that cannot be
    read, ``skipped`` counts files of folders that hold neither blocks nor static files.
    """

    blocks: dict[str, int]
    videos: int
    videos_with_duration: int
    video_seconds: float
    problems_with_attempts: int
    points: float
    static: dict[str, str]
    static_bytes: int
    policies: int
    signatories: int
    quarantined: frozenset[str]
    skipped: dict[str, int]


def expected(course: OlxCourse) -> Expected:
    """What the archive of ``course`` holds."""
    blocks = course.plan.blocks
    videos = [float(block.duration) for block in blocks if block.kind == "video" and block.duration != NO_ASSET]
    problems = [block for block in blocks if block.kind == "problem"]
    folders = Counter(path.partition("/")[0] for path in course.files if "/" in path)
    static = {path: data for path, data in course.files.items() if _is_static(path)}
    return Expected(
        blocks=dict(Counter(block.kind for block in blocks)),
        videos=sum(block.kind == "video" for block in blocks),
        videos_with_duration=len(videos),
        video_seconds=sum(videos),
        problems_with_attempts=sum("max_attempts" in block.attributes for block in problems),
        points=sum(float(block.attributes.get("weight", "0")) for block in problems),
        static={path: hashlib.sha256(data).hexdigest() for path, data in static.items()},
        static_bytes=sum(map(len, static.values())),
        policies=1,
        signatories=len(course.signatories),
        quarantined=frozenset(course.malformed),
        skipped={folder: folders[folder] for folder in ("drafts", "assets") if folders[folder]},
    )


def _is_static(path: str) -> bool:
    folder, slash, _ = path.partition("/")
    if not slash:
        return path != "course.xml"
    return folder == "static" or (folder not in NO_BLOCKS and not path.endswith(".xml"))


def structure_document(plan: Plan) -> dict[str, Any]:
    """What the course-structure API answers: every block with its children's ids. Blocks drawn from a library are listed as children and are not there.

    One block in each course leads nowhere and is led to by none, as deleted units stay for a while.
    """
    prefix = plan.run.course_id.replace("course-v1:", "block-v1:")
    root = Block("course", "course", plan.run.title, run_attributes(plan), plan.chapters)
    orphan = Block("vertical", "left_behind", "Left behind")
    document = {}
    for block in (*_documented(root), orphan):
        metadata = {name: value for name, value in block.attributes.items() if name in ("start", "due", "end", "format", "graded")}
        document[_id(prefix, block)] = {
            "id": _id(prefix, block),
            "category": block.kind,
            "children": [_id(prefix, child) for child in block.children],
            "metadata": {"display_name": block.title, **metadata},
        }
    return document


def _documented(block: Block) -> Iterator[Block]:
    yield block
    if block.kind not in FROM_LIBRARY:
        for child in block.children:
            yield from _documented(child)


def _id(prefix: str, block: Block) -> str:
    return f"{prefix}+type@{block.kind}+block@{block.name}"
