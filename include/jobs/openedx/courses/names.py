"""Which member names are taken: relative paths that mean one place to every reader."""

from __future__ import annotations

import re
import unicodedata

_DRIVE = re.compile(r"[A-Za-z]:")
_JOINERS = "\u200c\u200d"  # Persian and emoji are written with them


def is_plain(path: str, longest: int) -> bool:
    """Whether the name is certainly taken: most are of this kind, and this is quickly seen."""
    plain = path.isascii() and path.isprintable() and path[:1] not in ("", ".", "/") and "/." not in path and "//" not in path
    return plain and "\\" not in path and ":" not in path and len(path) <= longest


def problem_of(path: str, longest: int) -> tuple[str, str] | None:
    """What is wrong with a member's name, as *found* and *allowed*, or nothing. ``longest`` is in bytes of UTF-8."""
    size = len(path.encode("utf-8", "surrogatepass"))
    if size > longest:
        return f"a name of {size} bytes", f"names of at most {longest} bytes"
    found = _structure(path)
    if found:
        return found, "relative paths of plain names"
    for character in path:
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Cn", "Zl", "Zp") and character not in _JOINERS:
            return f"the character U+{ord(character):04X} in the name", "visible characters"
    return None


def folded(path: str) -> str:
    """The name as a file system without letter case or Unicode forms sees it."""
    return path.lower() if path.isascii() else unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def _structure(path: str) -> str:
    if not path or path.startswith("/"):
        return "an absolute path" if path else "an empty name"
    if "\\" in path or _DRIVE.match(path):
        return "a backslash or a drive letter in the name"
    parts = path.removeprefix("./").removesuffix("/").split("/")
    if ".." in parts:
        return "'..' in the path"
    return "an empty or '.' part in the path" if ("" in parts or "." in parts) and path not in (".", "./") else ""
