"""Reads one XML member: no DTD, no entities of its own, no network, bounded depth and size.

libxml2 without ``huge_tree`` bounds nesting (256 elements) and the length of a text or attribute (10 MB). A document type is refused before the
parser sees it: only a document type can declare entities, so neither an external file nor an amplification can be asked for.
"""

from __future__ import annotations

import re

from lxml import etree

from include.jobs.openedx.courses.refusals import MalformedError

MOST_ATTRIBUTES = 1_000
_MANY_BYTES = 16 << 10  # what is shorter has no room for many more
ALLOWED = "well-formed XML without a document type"
_DTD = b"<!DOCTYPE"
# what may stand before a document type; atomic and possessive, so that no document makes the search slow
_PROLOG = re.compile(rb"(?:\xef\xbb\xbf)?(?>\s+|<\?.*?\?>|<!--.*?-->)*+<!DOCTYPE[^>]{0,80}", re.DOTALL)
_DECLARATION = re.compile(rb"<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
# encodings in which a document type is spelled in ASCII; Open edX itself writes UTF-8
_ENCODINGS = {b"utf-8": "utf-8", b"us-ascii": "ascii", b"ascii": "ascii", b"iso-8859-1": "latin-1", b"latin-1": "latin-1", b"windows-1252": "cp1252"}
# collect_ids: a hash of all ids that nobody asks for
_PARSER = etree.XMLParser(resolve_entities=False, load_dtd=False, dtd_validation=False, no_network=True, huge_tree=False, collect_ids=False)


def read_xml(data: bytes) -> tuple[etree._Element, str]:
    """The root element and the document as text. Raises :class:`MalformedError`."""
    # with nothing before the first element there is neither a declaration nor a document type
    encoding = "utf-8" if data[:1] == b"<" and data[1:2].isalpha() else _prolog(data)
    try:
        root, text = etree.fromstring(data, _PARSER), data.decode(encoding)
    except etree.XMLSyntaxError as error:
        raise MalformedError(ALLOWED, error.msg or "nothing") from error
    except UnicodeDecodeError as error:
        raise MalformedError(f"text in {error.encoding}", f"the byte {data[error.start]:#04x} at {error.start}") from error
    if len(data) > _MANY_BYTES and len(root.attrib) > MOST_ATTRIBUTES:  # lxml looks each one up by its name: 100,000 would take minutes
        raise MalformedError(f"at most {MOST_ATTRIBUTES} attributes", f"{len(root.attrib)}")
    return root, text


def _prolog(data: bytes) -> str:
    """Python's name of the document's encoding. Raises :class:`MalformedError` for encodings that are not taken and for a document type."""
    declared = _DECLARATION.match(data)
    encoding = _ENCODINGS.get(declared[1].lower(), "") if declared else "utf-8-sig"
    if declared and not encoding:
        raise MalformedError(f"encodings {', '.join(name.decode() for name in _ENCODINGS)}", declared[1].decode())
    if data.startswith((b"\xfe\xff", b"\xff\xfe")) or b"\0" in data[:4]:
        raise MalformedError("XML in UTF-8", "UTF-16 or UTF-32")
    if document_type := _PROLOG.match(data):
        raise MalformedError(ALLOWED, document_type[0][document_type[0].rindex(_DTD) :].decode("utf-8", "replace"))
    return encoding
