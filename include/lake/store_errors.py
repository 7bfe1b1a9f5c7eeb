"""What a store of files fails with, and how often it is asked again before that."""

from __future__ import annotations

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from include.contract import TransientError

RETRIES = {"total_max_attempts": 8, "mode": "standard"}
"""botocore's, for 503, SlowDown, 500 and lost connections: waits of up to 1, 2, 4, 8, 16, 20 and 20 seconds."""


class StoreError(OSError, TransientError):
    """The store did not do what it was asked, or a part of it; the message names the store, the first objects and its reasons."""


@contextlib.contextmanager
def telling(location: str, path: Path) -> Iterator[None]:
    """Says of a full disk which file it had no room for, where the disk is and how full it is; with ``errno`` as the system gave it."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT) or isinstance(error, StoreError):
            raise
        folder = next(one for one in path.parents if one.exists())
        usage = shutil.disk_usage(folder)
        room = f"{usage.free / 1e6:,.1f} of {usage.total / 1e6:,.1f} MB are free"
        raise StoreError(error.errno, f"no space for {location} on the disk of {folder}: {room}; make room there and run it again") from error
