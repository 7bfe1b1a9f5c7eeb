"""Names of columns and tables, made from whatever names a document has: one name each, for ever, whichever documents came first."""

from __future__ import annotations

import hashlib
import re

DOCUMENT_KEY = "document_key"
REST = "document_rest"
RETRIEVED_AT = "retrieved_at"
SOURCE_SHA256 = "source_sha256"
PROVENANCE = (DOCUMENT_KEY, REST, RETRIEVED_AT, SOURCE_SHA256)

LONGEST_PART = 60
_PLAIN = re.compile(r"[a-z_](?:_?[a-z0-9])*\Z|_\Z")
_OURS = re.compile(r"_x[0-9a-f]{8}\Z")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_$ .-]{0,99}\Z")
_IDENTIFIER = re.compile(r"(?:[0-9a-f]{24}|[0-9a-f]{32}|[0-9a-f]{8}-[0-9a-f]{4}-.*)\Z")


def column_name(path: tuple[str, ...]) -> str:
    """The column of a field: its names joined by two underscores, ``votes__up_count``.

    A name that is not of lower-case letters, digits and single underscores, or that one of our own columns has, is made so and gets a mark of its
    own: ``lastModified`` becomes ``lastmodified_x`` and eight digits. Different paths have different columns.
    """
    parts = [_part(name) for name in path]
    if len(parts) == 1 and parts[0] in PROVENANCE:
        parts = [_marked(parts[0])]
    return "__".join(parts)


def table_suffix(collection: str) -> str:
    """What a collection is called at the end of its table's name; the rule is that of columns."""
    return _part(collection)


def names_a_field(name: str) -> bool:
    """Whether a name is one that a programmer chose, not data: an id, a number or a course key used as a name would make a column each."""
    return _FIELD.match(name) is not None and _IDENTIFIER.match(name) is None


def _part(name: str) -> str:
    plain = _PLAIN.match(name) and len(name) <= LONGEST_PART and not _OURS.search(name)
    return name if plain else _marked(name)


def _marked(name: str) -> str:
    readable = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")[:40].strip("_")
    return f"{readable or 'field'}_x{hashlib.sha256(name.encode()).hexdigest()[:8]}"
