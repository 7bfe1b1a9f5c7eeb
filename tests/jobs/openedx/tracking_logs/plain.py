"""A second reading of tracking logs, written apart from the product: Python's json and datetime, one line at a time, no shortcut.

Values are compared with their numbers as text, so that 1.50 is not 1.5; ``NaN`` and the infinities are strings of these names.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

TEXT_COLUMNS = ["username", "event_type", "event_source", "name", "session", "page", "host", "ip", "agent", "accept_language", "referer"]
BLANK = "blank"


class Number(str):
    """A number as it was written."""

    def __repr__(self) -> str:
        return f"Number({super().__repr__()})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and str(self) == str(other)

    __hash__ = str.__hash__


@dataclass
class Plain:
    """An event: microseconds, text columns, payload, context, and everything else by name."""

    time: int
    texts: dict[str, str | None]
    event: Any
    context: Any
    extra: dict[str, Any]
    fields: dict[str, Any]


class BrokenError(Exception):
    pass


def load(text: str | bytes) -> Any:
    return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=str)


def _top(text: str) -> dict[str, Any]:
    depth: list[list[tuple[str, Any]]] = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        depth.append(found)
        return dict(found)

    value = json.loads(text, parse_int=Number, parse_float=Number, parse_constant=str, object_pairs_hook=pairs)
    if not isinstance(value, dict):
        raise BrokenError("no object")
    if len(depth[-1]) != len(value):  # the outermost object is finished last
        raise BrokenError("a name twice")
    return value


def _object(value: Any) -> Any:
    """An object instead of a string that holds one, however often it was escaped."""
    inner = value
    while isinstance(inner, str) and not isinstance(inner, Number):
        try:
            inner = load(inner)
        except (ValueError, RecursionError):
            return value
    return inner if isinstance(inner, dict) else value


def _is_text(value: Any) -> bool:
    if not isinstance(value, str) or isinstance(value, Number):
        return False
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def moment(value: Any) -> int:
    """Microseconds since 1970."""
    text = str(value).strip(" ") if isinstance(value, str) else ""
    try:
        number = Fraction(text)
    except (ValueError, ZeroDivisionError):
        number = None
    if number is not None and "/" not in text:
        for power in (0, 3, 6):
            seconds = number / 10**power
            if datetime(2000, 1, 1, tzinfo=UTC).timestamp() <= seconds < datetime(2100, 1, 1, tzinfo=UTC).timestamp():
                return round(seconds * 10**6)
        raise BrokenError("no such epoch")
    if len(text) < 19 or text[10] not in "T ":
        raise BrokenError("no time")
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise BrokenError(str(error)) from None
    found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    if not 2000 <= found.year < 2100:
        raise BrokenError("no such year")
    return round((found - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 10**6) if found.microsecond == 0 else _exact(found)


def _exact(found: datetime) -> int:
    since = found - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86400 + since.seconds) * 10**6 + since.microseconds


def parse(line: bytes) -> Plain:
    """The event of a line. Raises ``BrokenError``; its text is ``BLANK`` for a line of blanks."""
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        raise BrokenError("no UTF-8") from None
    text = text[1:] if text[:1] == "\ufeff" else text
    if not text.strip(" \t\r\n"):
        raise BrokenError(BLANK)
    try:
        fields = _top(text)
    except (ValueError, RecursionError) as error:
        raise BrokenError(str(error)) from None
    if "time" not in fields:
        raise BrokenError("no time")
    time = moment(fields["time"])
    fields |= {name: _object(fields[name]) for name in ("event", "context") if name in fields}
    texts = {name: fields[name] if _is_text(fields.get(name)) else None for name in TEXT_COLUMNS}
    known = {"time", "event", "context"}
    extra = {name: value for name, value in fields.items() if name not in known and not (name in texts and (value is None or texts[name] is not None))}
    return Plain(time, texts, fields.get("event"), fields.get("context"), extra, fields)
