"""Prefixes of object stores that partners and Open edX deliver to."""

from __future__ import annotations

from typing import Any

from fsspec import AbstractFileSystem

from include.contract import PermanentError


def objects_below(url: str, filesystem: AbstractFileSystem, path: str) -> dict[str, dict[str, Any]]:
    """What lies below a prefix now: fsspec's facts by path; nothing for an empty prefix.

    :param url: the prefix as people know it, for errors.
    :param path: the same as its file system calls it.

    Raises ``PermanentError`` for a bucket that is not there or may not be listed.
    """
    filesystem.invalidate_cache()
    try:
        found: dict[str, dict[str, Any]] = filesystem.find(path, detail=True)
    except (FileNotFoundError, PermissionError) as error:
        raise PermanentError(f"{url}: cannot be listed: {error}; allowed: a prefix of a bucket that is there and that jobs may list") from error
    return found
