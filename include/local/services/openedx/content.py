"""What is inside a course run: the generator's courses of all block types, or small ones where thousands of runs must be there at once."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import quoteattr

from include.local.data.olx.archive import OlxCourse, olx_course
from include.local.data.olx.expected import structure_document
from include.local.data.openedx_runs import CourseRun

CHAPTERS, SEQUENTIALS, VERTICALS = 3, 2, 2
Blocks = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Content:
    """``archive_of`` gives a run's export (tar.gz of OLX), ``structure_of`` its block tree as the course-structure API shows it.

    Both give equal results for equal runs and others once the run was published again.
    """

    archive_of: Callable[[CourseRun], bytes]
    structure_of: Callable[[CourseRun], Blocks]


def generated(seed: int) -> Content:
    """The courses of :mod:`include.local.data.olx`; building one takes some milliseconds, its archive some more."""

    def course(run: CourseRun) -> OlxCourse:
        return olx_course(run.olx, seed=seed, version=run.revision)

    return Content(lambda run: course(run).archive, lambda run: structure_document(course(run).plan))


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
