"""Rows from structure documents: order, parents, missing children, and versions that say what they should."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import msgspec
import pytest

from include.jobs.openedx.courses.refusals import MalformedError
from include.jobs.openedx.courses.structure import block_rows, content_hash, flattened, structure_row
from include.local.data.olx.expected import structure_document
from include.local.data.olx.plan import FROM_LIBRARY, Block

from .made import COURSE, RETRIEVED, course

COLUMNS = (
    "block_content_hash", "block_details", "block_due", "block_id", "block_index", "block_parent", "block_start", "block_title", "block_type",
    "course_content_hash", "course_id", "course_start", "course_title", "retrieved_at",
)  # fmt: skip


def block(category: str, *children: str, **metadata: str) -> dict:
    return {"category": category, "children": list(children), "metadata": metadata}


def in_order(blocks: tuple[Block, ...], parent: str) -> Iterator[tuple[str, str]]:
    """``kind/name`` of every documented block and its parent's, as learners meet them: told by the plan, not by the document."""
    for one in blocks:
        yield f"{one.kind}@{one.name}", parent
        if one.kind not in FROM_LIBRARY:
            yield from in_order(one.children, f"{one.kind}@{one.name}")


@pytest.mark.parametrize("blocks", [10, 300, 2_000])
def test_order_and_parents_are_those_of_the_plan(blocks: int) -> None:
    made = course(blocks)
    rows = block_rows(COURSE, structure_document(made.plan), RETRIEVED)
    short = {row.block_id: row.block_id.partition("+type@")[2].replace("+block@", "@") for row in rows}
    walked = sorted((row for row in rows if row.block_index), key=lambda row: row.block_index)
    planned = [("course@course", ""), *in_order(made.plan.chapters, "course@course")]
    assert [(short[row.block_id], short.get(row.block_parent or "", "")) for row in walked] == planned
    assert [row.block_index for row in walked] == list(range(1, len(planned) + 1))
    assert [short[row.block_id] for row in rows if not row.block_index] == ["vertical@left_behind"]
    titles = {f"{one.kind}@{one.name}": one.title for one in made.plan.blocks}
    assert all(row.block_title == titles[short[row.block_id]] for row in walked[1:])
    assert {(row.course_title, row.course_start, row.course_id) for row in rows} == {("Foundations of Household Data", "2026-01-26T00:00:00Z", COURSE)}


def test_rows_have_the_columns_of_the_source() -> None:
    document = {"c": block("course", "a", start="2026", display_name="C"), "a": block("chapter", due="2027", start="2025")}
    first, second = block_rows("x", document, "now")
    assert tuple(msgspec.structs.asdict(first)) == COLUMNS
    assert (second.block_due, second.block_start, second.block_title, second.block_type, second.block_parent) == ("2027", "2025", None, "chapter", "c")
    assert json.loads(second.block_details) == document["a"]
    assert first.course_content_hash == content_hash(document) == structure_row("x", document, "later").content_hash
    row = structure_row("x", document, "now")
    assert json.loads(row.course_structure) == document
    assert tuple(msgspec.structs.asdict(row)) == ("content_hash", "course_id", "course_structure", "course_structure_flattened", "retrieved_at")
    assert json.loads(row.course_structure_flattened)["a__metadata__due"] == "2027"


def test_missing_children_are_skipped_and_the_unreachable_have_no_place() -> None:
    document = {
        "lost": block("html"),
        "c": block("course", "gone", "a", "b"),
        "a": block("chapter", "x", "gone too"),
        "b": block("chapter"),
        "x": block("html"),
    }
    places = {row.block_id: (row.block_index, row.block_parent) for row in block_rows("x", document, "now")}
    assert places == {"lost": (0, None), "c": (1, None), "a": (2, "c"), "x": (3, "a"), "b": (4, "c")}


def test_blocks_in_two_places_and_circles_come_once() -> None:
    document = {"c": block("course", "a", "b"), "b": block("chapter", "x", "c"), "a": block("chapter", "x"), "x": block("html", "a")}
    places = {row.block_id: (row.block_index, row.block_parent) for row in block_rows("x", document, "now")}
    assert places == {"c": (1, None), "a": (2, "c"), "x": (3, "a"), "b": (4, "c")}


def test_twenty_thousand_levels_need_no_recursion() -> None:
    document = {"0": block("course", "1")} | {str(number): block("html", str(number + 1)) for number in range(1, 20_000)}
    assert block_rows("x", document, "now")[-1].block_index == 20_000


def test_the_hash_is_of_the_content_not_of_the_order_of_keys() -> None:
    document = structure_document(course(60).plan)
    shuffled = list(document.items())
    random.Random(1).shuffle(shuffled)
    assert content_hash(dict(shuffled)) == content_hash(document)
    first = next(name for name, one in document.items() if len(one["children"]) > 1)
    turned = document | {first: document[first] | {"children": document[first]["children"][::-1]}}
    assert content_hash(turned) != content_hash(document), "the order of children is content"
    edited = structure_document(course(60, version=1).plan)
    assert content_hash(edited) != content_hash(document)


def test_flattening_keeps_lists_and_empty_objects() -> None:
    assert flattened({"a": {"b": {"c": 1, "d": {}}, "e": [1, {"f": 2}]}, "g": None}) == {"a__b__c": 1, "a__b__d": {}, "a__e": [1, {"f": 2}], "g": None}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "one block of the category course: found []"),
        ({"a": block("chapter")}, "one block of the category course"),
        ({"a": block("course"), "b": block("course")}, "found ['a', 'b']"),
        ({"a": {"children": []}}, "an object with a category at a"),
        ({"a": None}, "an object with a category at a: found None"),
        ({"a": {"category": "course", "children": "b"}}, "children (a list of ids) and metadata (an object) at a"),
        ({"a": {"category": "course", "children": [1]}}, "children (a list of ids)"),
        ({"a": {"category": "course", "metadata": []}}, None),
        ({"a": {"category": "course", "metadata": [1]}}, "metadata (an object) at a"),
    ],
)
def test_another_document_is_refused_with_its_block(document: dict, message: str | None) -> None:
    if message is None:
        assert block_rows("x", document, "now")[0].block_index == 1
        return
    with pytest.raises(MalformedError) as caught:
        block_rows("x", document, "now")
    assert message in str(caught.value)
