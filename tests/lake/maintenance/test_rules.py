"""Plans, rules and reports, without a lake."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from include.lake.maintenance.expiry import next_due, plan
from include.lake.maintenance.folders import Folders
from include.lake.maintenance.model import Outcome, report_text, too_many_failed
from include.lake.metadata import Document, Pointer

NOW = datetime(2026, 11, 20, tzinfo=UTC)
DAY = 86_400_000
WEEK = timedelta(days=7)


def at(days_ago: float) -> int:
    return int(NOW.timestamp() * 1000 - days_ago * DAY)


def document(ages: list[float], refs: dict[str, Any] | None = None, **fields: Any) -> Document:
    """A line of snapshots 1, 2, 3 … so many days old; the last is main's head."""
    snapshots = [
        {"snapshot-id": number, "parent-snapshot-id": number - 1 or None, "timestamp-ms": at(age), "manifest-list": f"l{number}"}
        for number, age in enumerate(ages, 1)
    ]
    log = [{"snapshot-id": one["snapshot-id"], "timestamp-ms": one["timestamp-ms"]} for one in snapshots]
    heads = {"main": {"snapshot-id": len(ages), "type": "branch"}, **(refs or {})}
    data = {"location": "s3://b/t", "format-version": 2, "snapshots": snapshots, "snapshot-log": log, "refs": heads, "current-snapshot-id": len(ages)}
    return Document({**data, **{key.replace("_", "-"): value for key, value in fields.items()}})


def expired(found: Document, retention: timedelta = WEEK) -> list[int]:
    return sorted(plan(found, retention, NOW, 50).expired)


def test_age_decides_and_the_head_stays() -> None:
    assert expired(document([30, 20, 8, 6, 1])) == [1, 2], "the third was what a reader saw until six days ago"
    assert expired(document([30, 20, 10])) == [1, 2]
    assert expired(document([1])) == []
    assert expired(document([30])) == []


def test_replaced_exactly_as_long_ago_as_the_retention_stays() -> None:
    assert expired(document([9, 7.0001, 1])) == [1]
    assert expired(document([9, 7, 1])) == []


@pytest.mark.parametrize("days_ago", [6.9, 4, 2, 0.5, 0])
def test_the_table_can_be_read_as_it_was_at_any_moment_within_the_retention(days_ago: float) -> None:
    """Time travel takes the last head at or before the moment, however long ago that was written."""
    found = document([400, 300, 3, 1])
    log = [entry for entry in found.data["snapshot-log"] if entry["timestamp-ms"] <= at(days_ago)]
    assert log[-1]["snapshot-id"] not in expired(found)


def test_tags_keep_one_snapshot_and_branches_their_young_line() -> None:
    tag = {"clone_pr_7": {"snapshot-id": 2, "type": "tag"}}
    assert expired(document([30, 20, 15, 10, 1], tag)) == [1, 3]
    branch = {"audit": {"snapshot-id": 3, "type": "branch", "min-snapshots-to-keep": 2}}
    assert expired(document([30, 20, 15, 10, 1], branch)) == [1]
    assert expired(document([30, 20, 15, 10, 1], properties={"history.expire.min-snapshots-to-keep": "3"})) == [1, 2]


def test_a_branch_may_say_how_old_its_snapshots_get() -> None:
    patient = {"audit": {"snapshot-id": 4, "type": "branch", "max-snapshot-age-ms": 25 * DAY}}
    assert expired(document([40, 30, 20, 15, 10, 1], patient)) == [1], "main leads to them, too, and the more patient of both decides"
    assert next_due(document([40, 20, 1], {"audit": {**patient["audit"], "snapshot-id": 2}}), WEEK, NOW) == NOW + timedelta(days=5)
    hasty = {"main": {"snapshot-id": 2, "type": "branch"}, "audit": {"snapshot-id": 4, "type": "branch", "max-snapshot-age-ms": DAY}}
    assert expired(document([30, 9, 3, 2], hasty, snapshot_log=[]).changed(current_snapshot_id=2)) == [1, 3]


def test_a_pointer_that_lags_keeps_what_readers_see() -> None:
    lagging = document([30, 20, 15, 1], snapshot_log=[]).changed(current_snapshot_id=2)
    assert expired(lagging, timedelta(hours=20)) == [1, 3]


def test_what_was_main_until_a_rollback_or_a_late_publication_stays_as_long() -> None:
    log = [{"snapshot-id": number, "timestamp-ms": at(age)} for number, age in ((1, 40), (2, 30), (3, 20), (4, 19), (2, 3))]
    rolled_back = document([40, 30, 20, 19], {"main": {"snapshot-id": 2, "type": "branch"}}, snapshot_log=log)
    assert expired(rolled_back.changed(current_snapshot_id=2)) == [1, 3], "the fourth was main until three days ago"
    audited = document([40, 30], snapshot_log=[{"snapshot-id": 1, "timestamp-ms": at(40)}, {"snapshot-id": 2, "timestamp-ms": at(2)}])
    assert expired(audited) == [], "the second was written thirty days ago and published two days ago"


def test_what_no_branch_leads_to_stays_while_it_is_young() -> None:
    rolled_back = document([30, 20, 10, 2], {"main": {"snapshot-id": 2, "type": "branch"}}, snapshot_log=[]).changed(current_snapshot_id=2)
    assert expired(rolled_back) == [1]
    assert expired(rolled_back, timedelta(days=1)) == [1, 3, 4]


def test_a_table_created_anew_keeps_what_it_was_before() -> None:
    """``CREATE OR REPLACE TABLE`` forgets ancestors and the log of heads."""
    anew = document([30, 20, 1], snapshot_log=[])
    anew.data["snapshots"][2]["parent-snapshot-id"] = None
    assert expired(anew) == [1], "the second was the table until yesterday"


def test_a_damaged_line_of_ancestors_ends() -> None:
    circle = document([30, 20, 10])
    circle.data["snapshots"][2]["parent-snapshot-id"] = 3
    assert expired(circle) == [1, 2]


def test_log_statistics_and_history_fit_what_is_left() -> None:
    statistics = [{"snapshot-id": number, "statistics-path": f"s{number}"} for number in (1, 4)]
    metadata_log = [{"metadata-file": f"m{number}", "timestamp-ms": number} for number in range(10)]
    found = plan(document([30, 20, 9, 1], statistics=statistics, metadata_log=metadata_log), WEEK, NOW, 4)
    assert [one["snapshot-id"] for one in found.after.snapshots] == [3, 4]
    assert [one["snapshot-id"] for one in found.after.data["snapshot-log"]] == [3, 4]
    assert found.after.data["statistics"] == [statistics[1]]
    assert [one["metadata-file"] for one in found.before.data["metadata-log"]] == ["m7", "m8", "m9"]
    assert found.dropped_log == {f"m{number}" for number in range(7)}
    holes = document([30, 20, 9, 1])
    log = [{"snapshot-id": number, "timestamp-ms": at(age)} for number, age in ((3, 9), (1, 8.5), (3, 8), (4, 1))]
    assert [one["snapshot-id"] for one in plan(holes.changed(snapshot_log=log), WEEK, NOW, 4).after.data["snapshot-log"]] == [3, 4]


def test_when_a_table_is_due() -> None:
    assert next_due(document([3, 2, 1]), WEEK, NOW) == NOW + timedelta(days=5)
    assert next_due(document([30]), WEEK, NOW) is None
    assert next_due(document([3, 1], {"keep": {"snapshot-id": 1, "type": "tag"}}), WEEK, NOW) is None


def test_a_table_never_written() -> None:
    empty = Document({"location": "s3://b/t", "format-version": 2, "current-snapshot-id": -1})
    assert (plan(empty, WEEK, NOW, 50).expired, next_due(empty, WEEK, NOW)) == (frozenset(), None)


@pytest.mark.parametrize(
    ("tables", "failures", "fails"), [(1300, 65, False), (1300, 66, True), (19, 1, True), (20, 1, False), (20, 2, True), (1, 1, True), (5, 0, False)]
)
def test_more_than_the_share_fails(tables: int, failures: int, fails: bool) -> None:
    outcomes = [Outcome("raw", f"t{number}", error="503" if number < failures else "") for number in range(tables)]
    found = too_many_failed(outcomes, 0.05)
    assert [one.name for one in found] == ([f"raw.t{number}" for number in range(failures)] if fails else [])


def test_the_report_is_aligned_and_begins_with_failures() -> None:
    text = report_text(
        [
            Outcome("raw", "b", skipped=("unchanged",)),
            Outcome("raw", "a", ("expire",), expired=3, files_before=9, files_after=4),
            Outcome("raw", "z", error="a\nb"),
        ]
    )
    lines = text.splitlines()
    assert [line.split()[0] for line in lines] == ["table", "raw.z", "raw.a", "raw.b"]
    assert "9 -> 4" in lines[2]
    assert lines[0].index("skipped") == lines[3].index("unchanged")
    assert lines[1].endswith("a b")


def test_shared_folders() -> None:
    def one(schema: str, table: str, folder: str) -> Pointer:
        return Pointer(schema, table, f"{folder}/metadata/00001-x.metadata.json")

    tables = [
        one("a", "x", "s3a://b/w/x"),
        one("b", "y", "s3://b/w/x"),
        one("a", "outer", "s3://b/w/o"),
        one("a", "inner", "s3://b/w/o/i"),
        one("a", "oi", "s3://b/w/oi"),
    ]
    folders = Folders.of(tables)
    assert folders.why_shared("a.x", "s3://b/w/x/") == "its folder is that of b.y, too"
    assert folders.why_shared("a.outer", "s3://b/w/o") == "the folder of a.inner lies in it"
    assert folders.why_shared("a.inner", "s3://b/w/o/i") == "its folder lies in that of a.outer"
    assert folders.why_shared("a.oi", "s3://b/w/oi") == ""
