"""What is not taken: whole archives that cannot be trusted, and single members that cannot be read."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from include.contract import PermanentError

LONGEST_FOUND = 200


@dataclass(frozen=True)
class Limits:
    """What an archive may hold at most; all sizes in bytes, before compression.

    ``ratio`` is inflated to compressed, looked at from ``ratio_from`` inflated bytes on: headers alone compress better than that. ``depth``
    counts archives inside archives. ``text_bytes`` bounds one XML or JSON member, which is held in memory (parsed, at up to 30 times its size), and
    ``texts_bytes`` all of them.
    """

    ratio: int = 200
    ratio_from: int = 4 << 20
    member_bytes: int = 256 << 20
    total_bytes: int = 4 << 30
    members: int = 200_000
    depth: int = 3
    name_bytes: int = 1024
    text_bytes: int = 4 << 20
    texts_bytes: int = 256 << 20


class RefusedArchiveError(PermanentError):
    """An archive that is cut, damaged, hostile or another course's. Nothing of it may be used.

    ``offset`` is in bytes of the tar stream (``compressed`` false) or of the file; ``member`` is empty where no member is concerned.
    """

    def __init__(self, source: str, found: str, allowed: str, *, offset: int, member: str = "", compressed: bool = False) -> None:
        self.source, self.found, self.allowed, self.member = source, found, allowed, member
        self.offset, self.compressed = offset, compressed
        place = f"byte {offset} of the {'file' if compressed else 'tar stream'}"
        super().__init__(f"{source}: {f'member {member!r} at ' if member else ''}{place}: found {found}; allowed: {allowed}")

    def line(self) -> Quarantined:
        """The refusal as a line of the quarantine."""
        return Quarantined(self.source, self.member, self.offset, f"archive refused; allowed: {self.allowed}", self.found)


class Quarantined(msgspec.Struct, frozen=True):
    """One line of the quarantine: a member (empty: the whole archive) that was not taken, and why.

    ``offset`` is where the member's header begins in the tar stream, in bytes.
    """

    source: str
    member: str
    offset: int
    reason: str
    found: str


class MalformedError(ValueError):
    """One member's content is not what it must be: ``reason`` says the rule, ``found`` what stands there."""

    def __init__(self, reason: str, found: str) -> None:
        self.reason, self.found = reason, shown(found)
        super().__init__(f"{reason}: found {self.found}")


def shown(value: object) -> str:
    """A value as it may stand in a message: one line, short."""
    text = value if isinstance(value, str) else repr(value)
    text = text.encode("unicode_escape").decode("ascii") if not text.isprintable() else text
    return text if len(text) <= LONGEST_FOUND else f"{text[:LONGEST_FOUND]}… ({len(text)} characters)"
