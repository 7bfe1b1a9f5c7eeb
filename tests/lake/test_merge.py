"""Merges by key: against a dictionary that does the same, and at every edge."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Iterator

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.transforms import DayTransform

from include.lake import merges
from include.lake.catalog import open_catalog
from include.lake.writes import SchemaMismatchError, append_once, merge

from .forms import ON_EVERY_FORM, data_files

pytestmark = ON_EVERY_FORM

LEARNERS = pa.schema(
    [
        ("course", pa.string()),
        ("learner", pa.int64()),
        ("grade", pa.float64()),
        ("tags", pa.list_(pa.string())),
        ("updated", pa.timestamp("us", "UTC")),
    ]
)
KEYS = ("course", "learner")
START = dt.datetime(2026, 11, 20, tzinfo=dt.UTC)


def learner(course: str, number: int, grade: float | None = None, tags: list[str] | None = None, day: int | None = 0) -> dict:
    return {"course": course, "learner": number, "grade": grade, "tags": tags, "updated": None if day is None else START + dt.timedelta(days=day)}


def arrow(*rows: dict) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=LEARNERS)


def stored(table: Table) -> list[dict]:
    table.refresh()
    return sorted(table.scan().to_arrow().select(LEARNERS.names).to_pylist(), key=lambda row: (row["course"], row["learner"]))


def test_new_rows_are_added_and_changed_ones_replaced_in_one_commit(new_table) -> None:
    table = new_table(LEARNERS)
    append_once(table, arrow(learner("a", 1, 0.5), learner("a", 2, 0.6), learner("b", 1, None, ["x"])), "run:0")
    before = len(table.metadata.snapshots)
    result = merge(table, arrow(learner("a", 2, 0.9), learner("b", 1, None, ["x"]), learner("b", 2, 1.0)), KEYS, "run:1")
    assert (result.committed, result.rows, result.replaced) == (True, 2, 1)
    assert len(table.metadata.snapshots) == before + 1
    assert stored(table) == [learner("a", 1, 0.5), learner("a", 2, 0.9), learner("b", 1, None, ["x"]), learner("b", 2, 1.0)]


def test_a_second_run_commits_nothing_under_its_key_or_another(new_table) -> None:
    table = new_table(LEARNERS)
    rows = arrow(learner("a", 1, float("nan"), ["x", None]), learner("a", 2, None, None), learner("a", 3, -0.0, []))
    first = merge(table, rows, KEYS, "run:1")
    assert not merge(table, rows, KEYS, "run:1").committed
    again = merge(table, rows, KEYS, "run:2")
    assert (again.committed, again.snapshot_id, again.rows) == (False, first.snapshot_id, 0)
    assert len(table.metadata.snapshots) == 1


def test_a_value_that_becomes_null_is_a_change(new_table) -> None:
    table = new_table(LEARNERS)
    merge(table, arrow(learner("a", 1, 0.5, ["x"])), KEYS, "run:1")
    assert merge(table, arrow(learner("a", 1, None, ["x"])), KEYS, "run:2").replaced == 1
    assert merge(table, arrow(learner("a", 1, None, None)), KEYS, "run:3").replaced == 1
    assert stored(table) == [learner("a", 1)]


def test_without_update_existing_rows_stay(new_table) -> None:
    table = new_table(LEARNERS)
    merge(table, arrow(learner("a", 1, 0.5)), KEYS, "run:1")
    result = merge(table, arrow(learner("a", 1, 0.9), learner("a", 2, 0.7)), KEYS, "run:2", update=False)
    assert (result.rows, result.replaced) == (1, 0)
    assert stored(table) == [learner("a", 1, 0.5), learner("a", 2, 0.7)]


def test_of_several_versions_the_latest_counts(new_table) -> None:
    table = new_table(LEARNERS)
    versions = arrow(learner("a", 1, 0.2, day=2), learner("a", 1, 0.3, day=3), learner("a", 1, 0.33, day=3), learner("a", 1, 0.1, day=None))
    merge(table, versions, KEYS, "run:1", latest_by="updated")
    assert stored(table) == [learner("a", 1, 0.33, day=3)]
    late = merge(table, arrow(learner("a", 1, 0.2, day=2), learner("b", 1, day=None)), KEYS, "run:2", latest_by="updated")
    assert (late.rows, late.replaced) == (1, 0), "a version older than the table's is left out"
    merge(table, arrow(learner("a", 1, 0.4, day=4), learner("b", 1, 0.5, day=1)), KEYS, "run:3", latest_by="updated")
    assert stored(table) == [learner("a", 1, 0.4, day=4), learner("b", 1, 0.5, day=1)]


@pytest.mark.parametrize(
    ("rows", "keys", "message"),
    [
        (arrow(learner("a", 1), learner("a", 2), learner("a", None)), KEYS, "key learner: found null in row 2"),
        (arrow(learner("a", 1, 0.1), learner("a", 1, 0.2)), KEYS, r"found 2 rows with the key \{'course': 'a', 'learner': 1\}"),
        (arrow(learner("a", 1)), (), "keys: found"),
        (arrow(learner("a", 1)), ("learner", "learner"), "keys: found"),
        (arrow(learner("a", 1)), ("grade",), "column grade: found a key of type double"),
        (arrow(learner("a", 1)), ("tags",), "column tags: found a key of type list"),
        (arrow(learner("a", 1)), ("person",), "column person: found no such column in the table"),
        (arrow(learner("a", 1)).drop_columns(["grade"]), KEYS, "column grade: found no such column in the data; allowed: every column"),
    ],
)
def test_unusable_input_is_refused(new_table, rows: pa.Table, keys: tuple[str, ...], message: str) -> None:
    table = new_table(LEARNERS)
    with pytest.raises((ValueError, SchemaMismatchError), match=message):
        merge(table, rows, keys, "run:1")
    assert table.current_snapshot() is None


def test_a_key_that_the_table_holds_twice_is_refused(new_table, catalog: Catalog) -> None:
    table = new_table(LEARNERS)
    append_once(table, arrow(learner("a", 1, 0.1), learner("a", 1, 0.2)), "run:0")
    with pytest.raises(ValueError, match=r"the table holds 2 rows with the key \{'course': 'a', 'learner': 1\}"):
        merge(table, arrow(learner("a", 1, 0.3), learner("b", 1)), KEYS, "run:1")
    assert len(data_files(catalog, table)) == 1
    assert merge(table, arrow(learner("a", 1, 0.3), learner("b", 1)), KEYS, "run:2", update=False).rows == 1


def test_evolve_adds_the_column_before_rows_are_compared(new_table) -> None:
    table = new_table(LEARNERS)
    merge(table, arrow(learner("a", 1, 0.1)), KEYS, "run:1")
    wider = arrow(learner("a", 1, 0.1), learner("a", 2)).append_column("country", pa.array([None, "US"]))
    assert merge(table, wider, KEYS, "run:2", evolve=True).rows == 1, "null and absent are the same"
    assert table.scan(row_filter="country = 'US'").count() == 1


def test_only_files_with_differences_are_rewritten(new_table) -> None:
    table = new_table(LEARNERS)
    for course in "abc":
        append_once(table, arrow(*(learner(course, number, 0.1) for number in range(10))), f"run:{course}")
    before = {task.file.file_path for task in table.scan().plan_files()}
    merge(table, arrow(learner("b", 3, 0.9), learner("c", 3, 0.1)), KEYS, "run:1")
    after = {task.file.file_path for task in table.scan().plan_files()}
    assert len(before & after) == 2
    assert len(stored(table)) == 30


def test_partitioned_tables_keep_rows_in_their_partitions(new_table) -> None:
    table = new_table(LEARNERS)
    with table.update_spec() as spec:
        spec.add_field("updated", DayTransform())
    merge(table, arrow(*(learner("a", number, 0.1, day=number % 3) for number in range(9))), KEYS, "run:1")
    merge(table, arrow(learner("a", 1, 0.2, day=5), learner("a", 2, 0.2, day=2), learner("z", 1, day=5)), KEYS, "run:2")
    assert table.scan(row_filter="updated >= '2026-11-25T00:00:00+00:00'").count() == 2
    assert len(stored(table)) == 10
    assert len({task.file.partition for task in table.scan().plan_files()}) == 4


@pytest.fixture
def between_look_and_commit(no_turns: None, catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> list:
    """Actions of other writers, each run right before one of our commits."""
    actions: list = []
    commit = catalog.commit_table

    def late(*arguments):
        if actions:
            actions.pop(0)()
        return commit(*arguments)

    monkeypatch.setattr(catalog, "commit_table", late)
    return actions


def test_a_merge_is_planned_again_after_a_conflict(new_table, catalog: Catalog, catalog_properties: dict[str, str], between_look_and_commit: list) -> None:
    table = new_table(LEARNERS)
    other = open_catalog(catalog.name, catalog_properties).load_table(table.name())
    between_look_and_commit.append(lambda: merge(other, arrow(learner("a", 1, 0.1), learner("b", 1, 0.1)), KEYS, "other:1"))
    between_look_and_commit.append(lambda: append_once(other, arrow(learner("c", 1, 0.1)), "other:2"))
    result = merge(table, arrow(learner("a", 1, 0.2), learner("c", 1, 0.1), learner("d", 1)), KEYS, "run:1")
    assert (result.rows, result.replaced) == (2, 1)
    assert stored(table) == [learner("a", 1, 0.2), learner("b", 1, 0.1), learner("c", 1, 0.1), learner("d", 1)]


def test_memory_pieces_do_not_change_the_result(new_table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merges, "PIECE_ROWS", 7)
    table = new_table(LEARNERS)
    for part in range(5):
        append_once(table, arrow(*(learner("a", 10 * part + number, 0.1) for number in range(10))), f"run:{part}")
    result = merge(table, arrow(*(learner("a", number, 0.2) for number in range(0, 100, 3))), KEYS, "run:x")
    assert (result.rows, result.replaced) == (34, 17)
    assert [row["grade"] for row in stored(table)] == [0.2 if number % 3 == 0 else 0.1 for number in range(100) if number < 50 or number % 3 == 0]


ROWS = st.dictionaries(
    st.tuples(st.sampled_from(["", "a", "b" * 40, "é", "z"]), st.integers(-3, 3)),
    st.tuples(st.one_of(st.none(), st.floats(width=16)), st.one_of(st.none(), st.lists(st.one_of(st.none(), st.text(max_size=2)), max_size=2))),
    max_size=12,
)


@settings(
    max_examples=25, deadline=None, derandomize=True, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(ROWS, min_size=1, max_size=4), st.booleans())
def test_merges_do_what_a_dictionary_does(new_table, inputs: list[dict], update: bool) -> None:
    table = new_table(LEARNERS)
    expected: dict = {}
    for number, rows in enumerate(inputs):
        for key, values in rows.items():
            if update or key not in expected:
                expected[key] = values
        merge(table, arrow(*(learner(*key, *values) for key, values in rows.items())), KEYS, f"run:{number}", update=update)
    found = [(row["course"], row["learner"], row["grade"], row["tags"]) for row in stored(table)]
    assert repr(found) == repr([(*key, *expected[key]) for key in sorted(expected)]), "as text, where NaN equals NaN"


def test_a_stream_of_many_rows(new_table) -> None:
    table = new_table(LEARNERS)
    numbers = list(range(20_000))
    random.Random(7).shuffle(numbers)
    append_once(table, arrow(*(learner(f"c{number % 5}", number, 1.0) for number in numbers[:15_000])), "run:0")

    def batches() -> Iterator[pa.RecordBatch]:
        for first in range(5_000, 20_000, 1_000):
            yield from arrow(*(learner(f"c{number % 5}", number, float(number % 2)) for number in numbers[first : first + 1_000])).to_batches()

    result = merge(table, pa.RecordBatchReader.from_batches(LEARNERS, batches()), KEYS, "run:1")
    even = sum(number % 2 == 0 for number in numbers[5_000:15_000])
    assert (result.rows, result.replaced) == (5_000 + even, even)
    assert table.scan().count() == 20_000
