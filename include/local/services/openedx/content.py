"""What is inside a course run: the generator's courses of all block types, or small ones where thousands of runs must be there at once."""

from __future__ import annotations

import gzip
import io
import math
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

from include.local.data.olx.archive import BROKEN, Extras, OlxCourse, olx_course
from include.local.data.olx.expected import structure_document
from include.local.data.olx.plan import rng_of
from include.local.data.openedx_runs import CourseRun

CHAPTERS, SEQUENTIALS, VERTICALS = 3, 2, 2
SMALLEST, USUAL, LARGEST = 10, 400, 4_000
# Of a hundred courses, 94 have a log-normal size around 50 blocks, cut at 10 and 400, and six lie anywhere between 400 and 4,000, each doubling as likely
# as the next. So half of all courses have fewer than some 55 blocks, three in four fewer than some 110, two in a hundred more than 1,500.
LARGE, MIDDLE, SPREAD = 0.06, 50, 0.9
MALFORMED = 0.05
Blocks = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Content:
    """``archive_of`` gives a run's export (tar.gz of OLX), ``structure_of`` its block tree as the course-structure API shows it.

    Both give equal results for equal runs and others once the run was published again.
    """

    archive_of: Callable[[CourseRun], bytes]
    structure_of: Callable[[CourseRun], Blocks]


@dataclass(frozen=True)
class Variety:
    """How courses differ, by seed and course alone: a course that is published again keeps its size, but for the block that is added, and its members.

    ``sizes``: from 10 to 4,000 blocks, most of them few; otherwise 40 to 400, mostly some 80. ``malformed``: the share of courses that have members which
    cannot be read, between one of them and one of each kind.
    """

    sizes: bool = True
    malformed: float = MALFORMED


def generated(seed: int, variety: Variety = Variety()) -> Content:
    """The courses of :mod:`include.local.data.olx`; building one takes some milliseconds, its archive some more, the largest a second."""
    return Content(lambda run: course_of(run, seed, variety).archive, lambda run: structure_document(course_of(run, seed, variety).plan))


def course_of(run: CourseRun, seed: int, variety: Variety = Variety()) -> OlxCourse:
    """The course of a run as :func:`generated` has it, for whoever counts what must be in it."""
    draws = rng_of(seed, run.id, "malformed")
    malformed = int(draws.integers(1, len(BROKEN) + 1)) if draws.random() < variety.malformed else 0
    return olx_course(run.olx, seed=seed, blocks=_size(run.id, seed) if variety.sizes else None, version=run.revision, extras=Extras(malformed=malformed))


def _size(course_id: str, seed: int) -> int:
    draws = rng_of(seed, course_id, "blocks")
    if draws.random() < LARGE:
        return round(USUAL * math.pow(LARGEST / USUAL, draws.random()))
    return min(USUAL, max(SMALLEST, round(float(draws.lognormal(math.log(MIDDLE), SPREAD)))))


def structure_of(run: CourseRun) -> Blocks:
    """A small course of twelve problems and videos, with the block ids that the generated learners' answers name."""
    blocks: Blocks = {}
    for category, name, metadata, children in _tree(run):
        blocks[_block_id(run, category, name)] = {
            "category": category,
            "children": [_block_id(run, *child) for child in children],
            "metadata": metadata,
        }
    return blocks


def outline_of(run: CourseRun, blocks: Blocks, username: str) -> dict[str, Any]:
    """The answer of the learning-sequences API: chapters as sections, sequentials as sequences."""
    chapters = [(name, block) for name, block in blocks.items() if block["category"] == "chapter"]
    sequences = {name: block for name, block in blocks.items() if block["category"] == "sequential"}
    start = _iso(run.start)
    return {
        "course_key": run.id,
        "course_start": start,
        "course_end": _iso(run.end),
        "title": run.title,
        "published_at": run.published_at.isoformat().replace("+00:00", "Z"),
        "published_version": run.published_version,
        "entrance_exam_id": None,
        "days_early_for_beta": None,
        "self_paced": run.self_paced,
        "username": username,
        "user_id": 2,
        "outline": {
            "sections": [
                {"id": name, "title": _title(block), "sequence_ids": list(block["children"]), "start": start, "effective_start": start}
                for name, block in chapters
            ],
            "sequences": {
                name: {"id": name, "title": _title(block), "accessible": True, "inaccessible_after_due": False, "start": start, "effective_start": start}
                for name, block in sequences.items()
            },
        },
    }


def archive_of(run: CourseRun) -> bytes:
    """The same course as a Studio export: one XML file a block below ``course/``, equal bytes for equal runs."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, text in _members(run):
            data = text.encode()
            member = tarfile.TarInfo(f"course/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return gzip.compress(raw.getvalue(), mtime=0)


SMALL = Content(archive_of, structure_of)


def _tree(run: CourseRun) -> Iterator[tuple[str, str, dict[str, Any], list[tuple[str, str]]]]:
    """Category, name, metadata and children of every block, parents first."""
    numbers = iter(range(CHAPTERS * SEQUENTIALS * VERTICALS))
    chapters: list[tuple[str, str]] = [("chapter", f"chapter_{chapter}") for chapter in range(CHAPTERS)]
    yield "course", "course", {"display_name": run.title, "start": _iso(run.start), "end": _iso(run.end)}, chapters
    for chapter, key in enumerate(chapters):
        parts = [("sequential", f"sequential_{chapter}_{part}") for part in range(SEQUENTIALS)]
        yield *key, {"display_name": f"Week {chapter + 1}"}, parts
        for part in parts:
            units = [("vertical", f"{part[1].replace('sequential', 'vertical')}_{unit}") for unit in range(VERTICALS)]
            yield *part, {"display_name": f"Part {part[1][-1]}"}, units
            for unit in units:
                leaf = _leaf(next(numbers))
                yield *unit, {"display_name": "Unit"}, [leaf]
                # so that every publication changes a block
                yield *leaf, {"display_name": f"{leaf[0].title()} {leaf[1][-2:]} of revision {run.revision}"}, []


def _leaf(number: int) -> tuple[str, str]:
    kind = "video" if number % 3 == 0 else "problem"
    return kind, f"{kind}_{number:02d}"


def _block_id(run: CourseRun, category: str, name: str) -> str:
    return f"{run.id.replace('course-v1:', 'block-v1:')}+type@{category}+block@{name}"


def _title(block: dict[str, Any]) -> str:
    return str(block["metadata"]["display_name"])


def _members(run: CourseRun) -> Iterator[tuple[str, str]]:
    organization, number, tag = run.parts
    yield "course.xml", f'<course url_name="{tag}" org="{organization}" course="{number}"/>\n'
    for category, name, metadata, children in _tree(run):
        attributes = "".join(f" {key}={quoteattr(str(value))}" for key, value in metadata.items() if value is not None)
        inside = "".join(f'\n  <{child[0]} url_name="{child[1]}"/>' for child in children)
        path = f"course/{tag}.xml" if category == "course" else f"{category}/{name}.xml"
        yield path, f"<{category}{attributes}>{inside}\n</{category}>\n"
    yield f"policies/{tag}/policy.json", "{}\n"
    yield "static/syllabus.txt", f"{run.title}\n"


def _iso(moment: Any) -> str | None:
    return None if moment is None else moment.isoformat().replace("+00:00", "Z")
