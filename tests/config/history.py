"""What git knows about unit files."""

from __future__ import annotations

import subprocess
from pathlib import Path


def git(repository: Path, *arguments: str) -> str:
    """The output of one git command. Raises ``CalledProcessError``."""
    return subprocess.run(["git", *arguments], cwd=repository, check=True, capture_output=True, text=True).stdout


def deleted_units(repository: Path) -> frozenset[str]:
    """DAG ids of all unit files that the history holds and the working tree does not; a renamed file counts, its DAG is gone too."""
    listing = git(repository, "log", "--no-renames", "--diff-filter=D", "--name-only", "--format=", "--", "include/units/*/*.yml")
    gone = {Path(line) for line in listing.splitlines() if line and not (repository / line).exists()}
    return frozenset(f"{path.parent.name}__{path.stem}" for path in gone)
