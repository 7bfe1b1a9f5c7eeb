"""Every shape of a time, and what is none."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from include.jobs.openedx.tracking_logs.times import TimeError, format_time, parse_time

MOMENT = "2026-03-02T10:11:12.123456+00:00"
MICROSECONDS = 1_772_446_272_123_456


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        (MOMENT, MICROSECONDS),
        ("2026-03-02 10:11:12.123456", MICROSECONDS),
        ("2026-03-02t10:11:12,123456z", MICROSECONDS),
        ("2026-03-02T05:11:12.123456-05", MICROSECONDS),
        ("2026-03-02T15:56:12.123456+0545", MICROSECONDS),
        ("2026-03-02T10:11:12.1Z", MICROSECONDS - 23_456),
        ("2026-03-02T10:11:12", MICROSECONDS - 123_456),
        ("1772446272", MICROSECONDS - 123_456),
        ("1772446272.123456", MICROSECONDS),
        ("1772446272123", MICROSECONDS - 456),
        ("1772446272123.456", MICROSECONDS),
        ("1772446272123456", MICROSECONDS),
        (" 1772446272 ", MICROSECONDS - 123_456),
        ("946684800", 946_684_800_000_000),
    ],
)
def test_shapes(text: str, microseconds: int) -> None:
    assert parse_time(text) == microseconds


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026-03-02", "2026-13-02T10:11:12Z", "2026-03-02T24:00:00Z", "2026-03-02T10:11:60Z", "2026-03-02T10:11:12+00:61", "20260302T101112Z",
        "2026-03-02T10:11", "946684799", "4102444800", "-1772446272", "1.7e999", "0x1", "NaN", "true", "1999-12-31T23:59:59Z", "2100-01-01T00:00:00Z",
        "２０２６-03-02T10:11:12Z", "2026-03-02T10:11:12+24:00",
    ],
)  # fmt: skip
def test_no_times(text: str) -> None:
    with pytest.raises(TimeError, match="found"):
        parse_time(text)


@given(st.datetimes(datetime(2000, 1, 2), datetime(2099, 12, 30), timezones=st.timezones()))
def test_any_zone_is_the_same_moment(moment: datetime) -> None:
    found = parse_time(moment.isoformat())
    assert format_time(found) == moment.astimezone(UTC).isoformat(timespec="microseconds")
    assert parse_time(format_time(found)) == found
