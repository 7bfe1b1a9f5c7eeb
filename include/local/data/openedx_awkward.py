"""The one event in a hundred that is not as it should be: what a client, an older release or a full disk makes of it.

``SHAPES`` change the form of an event that survives, ``BROKEN`` make a line that is no event. Each takes the event's fields.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

Fields = dict[str, Any]
LARGE = 10_000_000
KATHMANDU = timezone(timedelta(hours=5, minutes=45))


def _line(fields: Fields, **changes: Any) -> bytes:
    return json.dumps({**fields, **changes}).encode()


def _moment(fields: Fields) -> datetime:
    return datetime.fromisoformat(fields["time"])


def _microseconds(fields: Fields) -> int:
    moment = _moment(fields)
    return int(moment.timestamp()) * 1_000_000 + moment.microsecond


def _object(fields: Fields) -> Any:
    """The event's payload as an object, where it is one."""
    event = fields["event"]
    return json.loads(event) if isinstance(event, str) and event.startswith("{") else event


def _deeper(event: Any) -> Any:
    """With quotes and backslashes inside strings inside strings."""
    return {"outer": json.dumps({"inner": json.dumps({"said": 'he said "no\\yes"'})}), "was": event}


SHAPES: dict[str, Callable[[Fields, random.Random], bytes]] = {
    "object in a string": lambda fields, _: _line(fields, event=json.dumps(_object(fields)), context=json.dumps(fields["context"])),
    "object in a string in a string": lambda fields, _: _line(fields, event=json.dumps(json.dumps({"payload": _object(fields)}))),
    "object on several lines in a string": lambda fields, _: _line(fields, context=json.dumps(fields["context"], indent=2)),
    "seconds": lambda fields, _: _line(fields, time=_microseconds(fields) // 1_000_000),
    "milliseconds": lambda fields, _: _line(fields, time=_microseconds(fields) // 1_000),
    "fractions of seconds": lambda fields, _: _with_time(fields, f"{_microseconds(fields) // 10**6}.{_microseconds(fields) % 10**6:06d}"),
    "seconds in a string": lambda fields, _: _line(fields, time=str(_microseconds(fields) // 1_000_000)),
    "blank for T, no zone": lambda fields, _: _line(fields, time=fields["time"][:26].replace("T", " ")),
    "Z and milliseconds": lambda fields, _: _line(fields, time=fields["time"][:23] + "Z"),
    "another zone": lambda fields, _: _line(fields, time=_moment(fields).astimezone(KATHMANDU).isoformat()),
    "no fraction": lambda fields, _: _line(fields, time=fields["time"][:19] + "+00:00"),
    "lone surrogate": lambda fields, _: _line(fields, event={"text": "\ud83d", "was": _object(fields)}),
    "lone surrogate in a text": lambda fields, _: _line(fields, agent=fields["agent"] + "\udc00"),
    "surrogate pair": lambda fields, _: _line(fields, event={"text": "\U0001f600 ok", "was": _object(fields)}),
    "letters as they are": lambda fields, _: json.dumps({**fields, "referer": "https://example.org/café/陽子"}, ensure_ascii=False).encode(),
    "nested quotes": lambda fields, _: _line(fields, event=json.dumps(_deeper(_object(fields)))),
    "NUL": lambda fields, _: _line(fields, event={"text": "a\x00b", "was": _object(fields)}, page="x\x00y"),
    "unknown fields": lambda fields, rng: _line(fields, module_version=rng.randrange(9), **{"nested field": {"a": [1.50, None, "é"]}}),
    "nulls": lambda fields, _: _line(fields, page=None, referer=None, accept_language=None),
    "absent fields": lambda fields, _: _line({name: value for name, value in fields.items() if name not in ("referer", "session", "accept_language")}),
    "numbers as names": lambda fields, rng: _line(fields, session=rng.randrange(10**6), host=False),
    "not a number": lambda fields, _: _line(fields, event={"ratio": float("nan"), "most": float("-inf"), "was": _object(fields)}),
    "no blanks": lambda fields, _: json.dumps(fields, separators=(",", ":")).encode(),
    "many blanks": lambda fields, _: b"  " + json.dumps(fields, separators=(" , ", "  :  ")).encode() + b" \r",
}
BROKEN: dict[str, Callable[[Fields, random.Random], bytes]] = {
    "cut": lambda fields, rng: _line(fields)[: rng.randrange(1, 200)],
    "zeros from a crash": lambda fields, rng: b"\x00" * rng.randrange(1, 4096) + _line(fields),
    "no time": lambda fields, _: _line({name: value for name, value in fields.items() if name != "time"}),
    "no real time": lambda fields, rng: _line(fields, time=rng.choice(("yesterday", "2026-02-30T10:00:00+00:00", "", 12, None, True, [1]))),
    "no object": lambda fields, rng: rng.choice((b"[]", b'"text"', b"17", b"null", json.dumps([fields]).encode())),
    "no UTF-8": lambda fields, _: _line(fields, agent="@@").replace(b"@@", b"\xff\xfe"),
    "two in a line": lambda fields, _: _line(fields) + _line(fields),
    "a name twice": lambda fields, _: _line(fields)[:-1] + b', "username": "somebody_else"}',
}


def _with_time(fields: Fields, number: str) -> bytes:
    """A number that a float would round."""
    return _line(fields, time="@@").replace(b'"@@"', number.encode())


def large(fields: Fields) -> bytes:
    """An event of 10 MB: somebody pasted a whole book into an answer."""
    return _line(fields, event={"text": "It was the best of “times”. " * (LARGE // 40), "was": _object(fields)})
