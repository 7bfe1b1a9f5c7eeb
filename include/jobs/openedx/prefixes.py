"""Prefixes of object stores that partners and Open edX deliver to."""

from __future__ import annotations

from typing import Any

import fsspec
from fsspec import AbstractFileSystem

from include.contract import PermanentError

GCS = ("gs", "gcs")


def filesystem_of(url: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URL or local path, and the path as that file system calls it, without a slash at the end.

    Raises ``PermanentError`` for a scheme that nothing installed here can read.
    """
    scheme = url.partition("://")[0]
    if scheme in GCS:
        from include.jobs.openedx.gcs import gcs_files  # Google's packages cost two seconds, which only those pay who read there

        google = gcs_files()
        return google, str(google._strip_protocol(url)).rstrip("/")
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise PermanentError(f"{url}: found no file system for {scheme}:// ({error}); allowed: s3://, gs:// or a local path") from error
    return filesystem, str(path).rstrip("/")


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
