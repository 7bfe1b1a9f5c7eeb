"""Rows from the documents of Open edX's course-structure API (``GET /api/course-structure/v0/<course>/``): pure functions, no input or output.

A document maps block ids to ``{"category": …, "children": [ids], "metadata": {…}}``. Children that the document does not hold are common: blocks drawn
from a library have no entry of their own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
import orjson

from include.jobs.openedx.courses.refusals import MalformedError, shown

SEPARATOR = "__"


class StructureRow(msgspec.Struct, frozen=True):
    """A course's structure as one row; both structures are JSON."""

    content_hash: str
    course_id: str
    course_structure: str
    course_structure_flattened: str
    retrieved_at: str


class StructureBlockRow(msgspec.Struct, frozen=True):
    """One block of a structure. ``block_index`` counts from 1 in the order learners meet the blocks, 0 for blocks that nothing leads to."""

    block_content_hash: str
    block_details: str
    block_due: str | None
    block_id: str
    block_index: int
    block_parent: str | None
    block_start: str | None
    block_title: str | None
    block_type: str
    course_content_hash: str
    course_id: str
    course_start: str | None
    course_title: str | None
    retrieved_at: str


Document = Mapping[str, Mapping[str, Any]]


def structure_row(course_id: str, document: Document, retrieved_at: str) -> StructureRow:
    """The whole document as one row. ``retrieved_at`` is ISO 8601 and not part of the hash."""
    return StructureRow(
        content_hash=content_hash(document),
        course_id=course_id,
        course_structure=orjson.dumps(document).decode(),
        course_structure_flattened=orjson.dumps(flattened(document)).decode(),
        retrieved_at=retrieved_at,
    )


def block_rows(course_id: str, document: Document, retrieved_at: str) -> list[StructureBlockRow]:
    """One row for each block, in the document's order. Raises :class:`MalformedError` that names the block for a document of another form."""
    checked = {block_id: _checked(block_id, block) for block_id, block in document.items()}
    roots = [block_id for block_id, block in checked.items() if block["category"] == "course"]
    if len(roots) != 1:
        raise MalformedError("one block of the category course", shown(roots))
    order, parents = _walk(checked, roots[0])
    course = checked[roots[0]]["metadata"]
    version = content_hash(document)
    return [
        StructureBlockRow(
            block_content_hash=content_hash(block),
            block_details=orjson.dumps(block).decode(),
            block_due=block["metadata"].get("due"),
            block_id=block_id,
            block_index=order.get(block_id, 0),
            block_parent=parents.get(block_id),
            block_start=block["metadata"].get("start"),
            block_title=block["metadata"].get("display_name"),
            block_type=block["category"],
            course_content_hash=version,
            course_id=course_id,
            course_start=course.get("start"),
            course_title=course.get("display_name"),
            retrieved_at=retrieved_at,
        )
        for block_id, block in checked.items()
    ]


def content_hash(value: Any) -> str:
    """SHA-256 of the value as JSON with sorted keys: the API's order of keys says nothing, and is not the same in every answer."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


def flattened(document: Mapping[str, Any]) -> dict[str, Any]:
    """Objects inside objects as one level, their keys joined by ``__``; lists and empty objects stay as they are."""
    return dict(_leaves(document, ""))


def _leaves(value: Mapping[str, Any], before: str) -> Iterator[tuple[str, Any]]:
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            yield from _leaves(inner, f"{before}{key}{SEPARATOR}")
        else:
            yield before + key, inner


def _walk(document: Document, root: str) -> tuple[dict[str, int], dict[str, str]]:
    """Each block's place in a depth-first walk from the root, parents before children, and each block's parent.

    A block that several list belongs to the one through which the walk comes first, one that is never reached to the first that lists it.
    """
    order: dict[str, int] = {}
    parents: dict[str, str] = {}
    waiting: list[tuple[str, str | None]] = [(root, None)]
    while waiting:
        block_id, parent = waiting.pop()
        if block_id in order or block_id not in document:
            continue
        order[block_id] = len(order) + 1
        if parent is not None:
            parents[block_id] = parent
        waiting.extend((child, block_id) for child in reversed(document[block_id]["children"]))
    for block_id, block in document.items():
        for child in block["children"]:
            if child != root:
                parents.setdefault(child, block_id)
    return order, parents


def _checked(block_id: str, block: Any) -> Mapping[str, Any]:
    """The block with ``children`` and ``metadata`` present."""
    if not isinstance(block, Mapping) or not isinstance(block.get("category"), str):
        raise MalformedError(f"an object with a category at {block_id}", shown(block))
    children, metadata = block.get("children") or [], block.get("metadata") or {}
    if not isinstance(children, list) or not all(isinstance(child, str) for child in children) or not isinstance(metadata, Mapping):
        raise MalformedError(f"children (a list of ids) and metadata (an object) at {block_id}", shown(block))
    return block if "children" in block and "metadata" in block else {**block, "children": children, "metadata": metadata}
