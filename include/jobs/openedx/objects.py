"""Objects at fsspec URLs: a reader sees a whole object or none, and landing objects are written once.

Memory: small documents as a whole, files in pieces.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from include.contract import PermanentError


def read(url: str) -> bytes | None:
    """An object's bytes; nothing when it is not there."""
    fs, path = _at(url)
    try:
        found: bytes = fs.cat_file(path)
    except FileNotFoundError:
        return None
    return found


def write(url: str, data: bytes) -> None:
    """Puts an object in the place of what was there."""
    fs, path = _at(url)
    if not isinstance(fs, LocalFileSystem):
        fs.pipe_file(path, data)
        return
    part = _part(path)
    part.write_bytes(data)
    part.replace(path)


def write_once(url: str, source: Path | bytes) -> bool:
    """Puts an object under a name that follows from its content, unless it is there; whether it was written now.

    Raises ``PermanentError`` when what is there has another size: it is then not what its name says.
    """
    fs, path = _at(url)
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    if fs.exists(path):
        found = fs.size(path)
        if found != size:
            raise PermanentError(f"{url}: found {found} bytes; allowed: the {size} bytes that its name stands for")
        return False
    if isinstance(source, bytes):
        write(url, source)
    elif isinstance(fs, LocalFileSystem):
        part = _part(path)
        shutil.copyfile(source, part)
        part.replace(path)
    else:
        fs.put_file(str(source), path)
    return True


def _at(url: str) -> tuple[Any, str]:
    fs, path = fsspec.url_to_fs(url)
    return fs, path


def _part(path: str) -> Path:
    """A name beside the object's own, in a folder that exists."""
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    return final.with_name(f".{secrets.token_hex(4)}.{os.getpid()}.part")
