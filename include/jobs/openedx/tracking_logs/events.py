"""One event of a tracking log, whatever its shape: its columns and its normalised line, or the reason why it is none.

This is the exact rule, event by event; :mod:`.blocks` does the same for the usual shapes, many at a time, and asks here for all others.

- ``time`` becomes ``YYYY-MM-DDTHH:MM:SS.ffffff+00:00`` (:mod:`.times`).
- ``event`` and ``context``, each from itself: a JSON string that contains an object becomes that object, also when it was escaped twice.
  Any other value stays as it is, a string that contains no object as the JSON string it was. In the table both are JSON text.
- The other known fields are text. A value that is no text in UTF-8 (a number, a lone surrogate) stands in ``extra`` under its name.
- Fields that are not known stand in ``extra``, as they were, and stay in the normalised line.
- ``NaN``, ``Infinity`` and ``-Infinity``, which Python's json writes and JSON does not know, become strings of these names.

Field order, number formats and escapes of everything else are those of the source: values are cut out as text, never parsed and
written again. A name that comes twice in one event is refused: there is no telling which value is meant.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from json import JSONDecodeError

import msgspec

from include.jobs.openedx.tracking_logs.times import TimeError, format_time, parse_time

TEXTS = ("event_type", "event_source", "name", "username", "session", "page", "host", "ip", "agent", "accept_language", "referer")
OBJECTS = ("event", "context")
FIELDS = ("time", *TEXTS, *OBJECTS)
UNESCAPES = 3
"""A string within a string within a string is the deepest that clients have sent; each level doubles the backslashes of the one inside."""

_BLANK = " \t\r\n"
_BLANKS = re.compile(r"[ \t\r\n]*")
_SURROGATES = re.compile("[\ud800-\udfff]")
_LINE_BREAKS = str.maketrans("\r\n", "  ")  # between the tokens of an object that was written on several lines; inside its strings they are escaped
_TOKENS = re.compile(r'"(?:[^"\\]++|\\.)*+"|-?Infinity|NaN', re.DOTALL)  # possessive: a string of 10 MB must not be remembered byte by byte
_slices = msgspec.json.Decoder(dict[str, msgspec.Raw])


class RefusedError(ValueError):
    """A line that is no event, and why."""


@dataclass(frozen=True)
class Event:
    """An event: ``time`` in UTC microseconds, ``texts`` in the order of ``TEXTS``, the next three as JSON text, ``line`` without its end."""

    time: int
    texts: tuple[str | None, ...]
    event: str | None
    context: str | None
    extra: str | None
    line: bytes


def read_event(line: bytes) -> Event:
    """The event of one line. Raises :class:`RefusedError`."""
    fields = _fields(line)
    time = _time(fields.get("time"))
    fields["time"] = f'"{format_time(time)}"'
    for name in OBJECTS:
        if name in fields:
            fields[name] = unwrap(fields[name])
    texts = {name: _text(fields.get(name)) for name in TEXTS}
    extra = {name: raw for name, raw in fields.items() if name not in FIELDS or (name in TEXTS and texts[name] is None and raw != "null")}
    return Event(
        time=time,
        texts=tuple(texts.values()),
        event=_or_none(fields.get("event")),
        context=_or_none(fields.get("context")),
        extra=_object(extra) if extra else None,
        line=_object(fields).encode(),
    )


def unwrap(raw: str) -> str:
    """The object that a JSON string contains, as JSON text without line breaks; ``raw`` itself where there is none."""
    text = raw
    for _ in range(UNESCAPES):
        if not text.startswith('"'):
            break
        text = json.loads(text).strip(_BLANK)
        if text.startswith("{"):
            return _clean(text) or raw
        if not _is_string(text):
            break
    return raw


def _fields(line: bytes) -> dict[str, str]:
    """The event's fields as JSON text, cut out of the line. Raises :class:`RefusedError`."""
    try:
        text = line.decode("utf-8").removeprefix("\ufeff").strip(_BLANK)
    except UnicodeDecodeError as error:
        raise RefusedError(f"not UTF-8 at byte {error.start} of the line") from None
    try:
        if found := _cut(text):
            return found
        return _scan(text)
    except RecursionError:
        raise RefusedError("nested too deeply") from None
    except JSONDecodeError as error:
        raise RefusedError(f"not JSON: {error.msg} at byte {len(text[: error.pos].encode('utf-8', 'surrogatepass'))} of the line") from None


def _cut(text: str) -> dict[str, str] | None:
    """The fields by the fast reader; nothing when it refuses the text, or when the lengths say that there was more in it than it gave."""
    try:
        found = {name: bytes(raw).decode() for name, raw in _slices.decode(text).items()}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    names = sum(len(json.dumps(name)) for name in found)
    content = names + sum(map(len, found.values()))
    usual = {content + 4 * len(found), content + 2 * len(found) + 1}  # ", " and ": " as Python writes them, or neither blank
    return found if len(text) in usual else None


def _scan(text: str) -> dict[str, str]:
    """The fields by Python's own scanner, which takes all that Python's json writes: NaN, lone surrogates. Raises ``JSONDecodeError`` and more."""
    constants: list[str] = []
    decoder = _decoder(constants)
    if not text.startswith("{"):
        raise RefusedError(f"no JSON object: found {text[:40]!r}")
    found: dict[str, str] = {}
    at = _skip(text, 1)
    while text[at : at + 1] != "}" or found:
        if text[at : at + 1] != '"':
            raise JSONDecodeError("a field's name expected", text, at)
        name, at = decoder.raw_decode(text, at)
        at = _skip(text, at)
        if text[at : at + 1] != ":":
            raise JSONDecodeError("':' expected", text, at)
        begin = _skip(text, at + 1)
        _, end = decoder.raw_decode(text, begin)
        if name in found:
            raise RefusedError(f"field {name!r} comes twice")
        found[name] = _quote_constants(text[begin:end]) if constants else text[begin:end]
        constants.clear()
        at = _skip(text, end)
        if text[at : at + 1] == "}":
            break
        if text[at : at + 1] != ",":
            raise JSONDecodeError("',' or '}' expected", text, at)
        at = _skip(text, at + 1)
    if at + 1 != len(text):
        raise JSONDecodeError("more after the object's end", text, at + 1)
    return found


def _decoder(constants: list[str]) -> json.JSONDecoder:
    """Python's own decoder, which tells ``constants`` of every NaN and infinity; numbers stay text, of any length."""
    return json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=constants.append)


def _quote_constants(raw: str) -> str:
    """JSON text whose ``NaN`` and infinities are strings."""
    return _TOKENS.sub(lambda token: token[0] if token[0].startswith('"') else f'"{token[0]}"', raw)


def _skip(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    assert blanks is not None  # noqa: S101 - the pattern matches nothing, too
    return blanks.end()


def _clean(text: str) -> str | None:
    """An object's text in one line of UTF-8; nothing when it is not an object."""
    constants: list[str] = []
    try:
        _, end = _decoder(constants).raw_decode(text)
    except (JSONDecodeError, RecursionError):
        return None
    if end != len(text):
        return None
    text = (_quote_constants(text) if constants else text).translate(_LINE_BREAKS)
    return _SURROGATES.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _is_string(text: str) -> bool:
    try:
        return isinstance(json.loads(text), str)
    except (ValueError, RecursionError):
        return False


def _time(raw: str | None) -> int:
    if raw is None or raw == "null":
        raise RefusedError("no time")
    try:
        return parse_time(json.loads(raw) if raw.startswith('"') else raw)
    except TimeError as error:
        raise RefusedError(f"no time that can be read: {error}") from None


def _text(raw: str | None) -> str | None:
    if raw is None or not raw.startswith('"'):
        return None
    text: str = json.loads(raw)
    return None if _SURROGATES.search(text) else text


def _or_none(raw: str | None) -> str | None:
    return None if raw == "null" else raw


def _object(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {raw}" for name, raw in fields.items()) + "}"
