"""Times of any shape as UTC microseconds since 1970.

Open edX writes ``2026-03-02T10:11:12.123456+00:00``. Its services, mobile clients and older releases also wrote a blank for the ``T``, no
zone, no fraction, and epochs in seconds or milliseconds, as numbers or as text. A time without a zone is UTC: the servers' clocks are.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

_ISO = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt ](\d\d):(\d\d):(\d\d)(?:[.,](\d+))? ?(?:([Zz])|([+-])(\d\d):?(\d\d)?)?",
    re.ASCII,
)
_NUMBER = re.compile(r"\d+(?:\.\d+)?(?:[eE]\+?\d{1,2})?", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST, LAST = 946_684_800, 4_102_444_800
"""Seconds since 1970 at which the year 2000 begins and the year 2099 ends. In other units the ranges do not meet, so a number's size tells its unit."""
_UNITS = (1_000_000, 1_000, 1)  # microseconds in a second, a millisecond, a microsecond
_LONGEST = 64
"""Characters of a time worth looking at: the longest real one has 35."""


class TimeError(ValueError):
    """A value that names no moment."""


def parse_time(value: str) -> int:
    """Microseconds since 1970 of a time as it was written, without JSON's quotes.

    ISO 8601 with date and time of day, or an epoch in seconds, milliseconds or microseconds; of the years 2000 to 2099.
    Digits beyond microseconds are cut off ISO times; epochs are rounded to the nearest microsecond. Raises :class:`TimeError`.
    """
    text = value.strip(" ")
    if len(text) > _LONGEST:
        raise TimeError(f"found {len(text)} characters")
    if _NUMBER.fullmatch(text):
        return _from_epoch(text)
    found = _ISO.fullmatch(text)
    if not found:
        raise TimeError(f"found {text!r}")
    try:
        return _from_parts(found)
    except (ValueError, OverflowError) as error:  # month 13, hour 25
        raise TimeError(f"found {text!r} ({error})") from None


def format_time(microseconds: int) -> str:
    """``2026-03-02T10:11:12.123456+00:00``: as Open edX writes it, always with six digits."""
    return (_EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="microseconds")


def _from_epoch(text: str) -> int:
    number = Decimal(text)
    for factor in _UNITS:
        seconds = number * factor / 1_000_000
        if FIRST <= seconds < LAST:
            return int((number * factor).to_integral_value())
    raise TimeError(f"found {text}, no epoch of the years 2000 to 2099 in seconds, milliseconds or microseconds")


def _from_parts(found: re.Match[str]) -> int:
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    fraction, _, sign, hours, minutes = found.groups()[6:]
    offset = timedelta(hours=int(hours or 0), minutes=int(minutes or 0))
    if int(minutes or 0) > 59:
        raise ValueError("zone of more than 59 minutes")
    microsecond = int((fraction or "0")[:6].ljust(6, "0"))
    zone_ = timezone(-offset if sign == "-" else offset)
    moment = (datetime(year, month, day, hour, minute, second, microsecond, zone_) - _EPOCH) // timedelta(microseconds=1)
    if not FIRST * 1_000_000 <= moment < LAST * 1_000_000:
        raise ValueError("not of the years 2000 to 2099")
    return moment
