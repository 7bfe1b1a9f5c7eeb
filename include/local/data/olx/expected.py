"""What a course's archive and structure hold, counted from the plan and the files alone: the other side of every check of a parser.

Where only an archive is at hand, :func:`expected_of_archive` counts the same with the standard library.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from include.local.data.olx.archive import BROKEN, OlxCourse
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
        video_seconds=math.fsum(videos),
        problems_with_attempts=sum("max_attempts" in block.attributes for block in problems),
        points=math.fsum(float(block.attributes.get("weight", "0")) for block in problems),
        static={path: hashlib.sha256(data).hexdigest() for path, data in static.items()},
        static_bytes=sum(map(len, static.values())),
        policies=1,
        signatories=len(course.signatories),
        quarantined=frozenset(course.malformed),
        skipped=_skipped(folders),
    )


def expected_of_archive(archive: bytes) -> Expected:
    """What a generated archive holds, from its members one by one.

    Members that cannot be read are known by their content, that of :data:`include.local.data.olx.archive.BROKEN`: a reader of our own would call that broken
    which it cannot read.
    """
    files = _members(archive)
    folders = Counter(path.partition("/")[0] for path in files if "/" in path)
    broken = {(folder, data) for folder, data, _ in BROKEN}
    quarantined = frozenset(path for path, data in files.items() if (path.partition("/")[0], data) in broken)
    blocks = {path: ElementTree.fromstring(data) for path, data in files.items() if _is_block(path) and path not in quarantined}  # noqa: S314 - our own
    kinds = Counter(path.partition("/")[0] for path in blocks)
    problems = [root.attrib for path, root in blocks.items() if path.startswith("problem/")]
    assets = [root.find("video_asset") for path, root in blocks.items() if path.startswith("video/")]
    durations = [float(asset.attrib["duration"]) for asset in assets if asset is not None and "duration" in asset.attrib]
    policies = [json.loads(data) for path, data in files.items() if path.startswith("policies/") and path.endswith("/policy.json")]
    static = {path: data for path, data in files.items() if _is_static(path)}
    return Expected(
        blocks=dict(kinds),
        videos=kinds["video"],
        videos_with_duration=len(durations),
        video_seconds=math.fsum(durations),
        problems_with_attempts=sum("max_attempts" in attributes for attributes in problems),
        points=math.fsum(float(attributes.get("weight", "0")) for attributes in problems),
        static={path: hashlib.sha256(data).hexdigest() for path, data in static.items()},
        static_bytes=sum(map(len, static.values())),
        policies=sum(map(len, policies)),
        signatories=sum(map(_signatories, policies)),
        quarantined=quarantined,
        skipped=_skipped(folders),
    )


def _members(archive: bytes) -> dict[str, bytes]:
    """Content by path below the course's folder."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            stream = tar.extractfile(member)
            if stream is not None:
                found[member.name.partition("/")[2]] = stream.read()
    return found


def _signatories(policy: Mapping[str, Any]) -> int:
    certificates = [one for entry in policy.values() for one in entry.get("certificates", {}).get("certificates", [])]
    return sum(len(one["signatories"]) for one in certificates)


def _skipped(folders: Mapping[str, int]) -> dict[str, int]:
    return {folder: folders[folder] for folder in ("drafts", "assets") if folders[folder]}


def _is_block(path: str) -> bool:
    folder, slash, _ = path.partition("/")
    return bool(slash) and path.endswith(".xml") and folder not in NO_BLOCKS


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
