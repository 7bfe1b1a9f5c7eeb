"""Objects of the landing zone: named after their content, so that one that is there is never written again; and the quarantine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from include.atomic import replacing
from include.jobs.openedx.prefixes import filesystem_of


def digest_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def put(path: Path, url: str) -> str:
    """Copies a file to a URL, unless an object of that name and size is there; the URL. Readers see the whole object or none."""
    filesystem, target = filesystem_of(url)
    if filesystem.exists(target) and filesystem.size(target) == path.stat().st_size:
        return url
    if "file" not in ((filesystem.protocol,) if isinstance(filesystem.protocol, str) else filesystem.protocol):
        filesystem.put_file(str(path), target)
        return url
    with replacing(Path(target)) as partial:
        filesystem.put_file(str(path), str(partial))
    return url


def put_named(path: Path, folder: str, suffix: str) -> str:
    """Copies a file to ``<folder>/<SHA-256 of its bytes><suffix>``; the URL."""
    return put(path, f"{folder}/{digest_of(path)}{suffix}")


def quarantine(landing: str, deployment: str, lines: Sequence[dict[str, Any]], spool: Path) -> str:
    """Keeps what was refused, one JSON line each, under the deployment's quarantine; the object's URL."""
    path = spool / "quarantine.jsonl"
    path.write_text("".join(json.dumps(line, ensure_ascii=False, sort_keys=True) + "\n" for line in lines), encoding="utf-8")
    return put_named(path, f"{landing.rstrip('/')}/{deployment}/openedx/quarantine/forum", ".jsonl")
