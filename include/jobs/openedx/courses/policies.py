"""``policies/<run>/``: the course's policy, its grading policy, and who signs its certificates."""

from __future__ import annotations

from typing import Any

import orjson

from include.jobs.openedx.courses.refusals import MalformedError, shown
from include.jobs.openedx.courses.rows import Policy, Signatory

_KINDS: dict[type, str] = {dict: "an object", list: "a list", str: "a text"}


def read_json(data: bytes) -> Any:
    """The document. Raises :class:`MalformedError` for anything that is not JSON in UTF-8; NaN and half surrogate pairs are not."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise MalformedError("JSON", f"{error.msg} (line {error.lineno}, column {error.colno})") from error


def read_policy(document: Any, course_id: str) -> tuple[list[Policy], list[Signatory]]:
    """Rows of a ``policy.json``: one for each key ``course/…``. What Open edX leaves out when it is the default is empty here as well.

    Raises :class:`MalformedError` with the path inside the document.
    """
    policies, signatories = [], []
    for name, entry in _typed(document, dict, "the document").items():
        if not name.startswith("course/"):
            continue
        course = _typed(entry, dict, name)
        policies.append(
            Policy(
                course_id=course_id,
                advanced_modules=course.get("advanced_modules", []),
                discussions_settings=course.get("discussions_settings", {}),
                display_coursenumber=course.get("display_coursenumber", ""),
                self_paced=course.get("self_paced"),
                tabs=course.get("tabs", []),
                tags=course.get("tags", []),
                policy=course,
            )
        )
        signatories.extend(_signatories(course, course_id, name))
    return policies, signatories


def _signatories(course: dict[str, Any], course_id: str, place: str) -> list[Signatory]:
    place = f"{place}/certificates"
    found = []
    certificates = _typed(course.get("certificates") or {}, dict, place).get("certificates") or []
    for number, entry in enumerate(_typed(certificates, list, f"{place}/certificates")):
        certificate = _typed(entry, dict, f"{place}/certificates/{number}")
        inside = f"{place}/certificates/{number}/signatories"
        for position, signatory in enumerate(_typed(certificate.get("signatories") or [], list, inside)):
            found.append(Signatory(course_id, text(certificate.get("id")), _typed(signatory, dict, f"{inside}/{position}")))
    return found


def text(value: Any) -> str | None:
    """A JSON value as text: texts as they are, nothing for null, everything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return orjson.dumps(value).decode()


def _typed(value: Any, kind: type, place: str) -> Any:
    if not isinstance(value, kind):
        raise MalformedError(f"{_KINDS[kind]} at {place}", shown(value))
    return value
