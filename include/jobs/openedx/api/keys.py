"""Course ids. They come from another system and end up in paths, object keys and partition keys, so what they may hold is checked once, here."""

from __future__ import annotations

import re
from urllib.parse import quote

from include.contract import PermanentError

LONGEST = 255
_KEY = re.compile(r"course-v1:[\w\-~.]+\+[\w\-~.]+\+[\w\-~.]+\Z")
ALLOWED = f"course-v1:<organization>+<number>+<run> of letters, digits, '-', '_', '~' and '.', at most {LONGEST} characters"


def why_refused(course_id: str) -> str | None:
    """The reason that an id cannot be used, or nothing for one that can."""
    if _KEY.match(course_id) and len(course_id) <= LONGEST:
        return None
    return f"course id: found {course_id[:300]!r}; allowed: {ALLOWED}; for example: course-v1:MITxT+6.310x+1T2026"


def checked(course_id: str) -> str:
    """The id itself. Raises ``PermanentError`` for one that cannot be used."""
    if reason := why_refused(course_id):
        raise PermanentError(reason)
    return course_id


def in_path(course_id: str) -> str:
    """The id as a segment of an API's path: the plus signs stay, as Open edX writes its own links."""
    return quote(checked(course_id), safe=":+~")
