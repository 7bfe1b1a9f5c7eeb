"""Files that are there whole or not at all: written beside their place, then moved to it."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

SUFFIX = ".part"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new name beside ``path``, whose folder is made if need be. What the block writes there takes the place of ``path`` when it ends, and goes when
    it fails; a kill leaves it beside (see :func:`is_unfinished`). Not synced to disk: a machine that goes down may lose what was written last."""
    with _beside(path) as partial:
        yield partial
        partial.replace(path)


@contextlib.contextmanager
def creating(path: Path) -> Iterator[Path]:
    """As :func:`replacing`, but what is at ``path`` by then stays: of two who come first, both find the one's."""
    with _beside(path) as partial:
        yield partial
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = name_beside(path)
    try:
        yield partial
    finally:
        partial.unlink(missing_ok=True)


def name_beside(path: Path) -> Path:
    """A name that no other writer of ``path`` has, in the same folder."""
    return path.with_name(f".{path.name[:100]}.{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}")


def is_unfinished(name: str) -> bool:
    """Whether a file's name is one of :func:`name_beside`."""
    return name.startswith(".") and name.endswith(SUFFIX)
