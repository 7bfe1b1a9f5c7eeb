"""What maintenance is asked to do with a table, what it remembers of it, and what it did."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any


@dataclass(frozen=True)
class Policy:
    """The rules for one table.

    ``retention`` is how long a snapshot stays readable after another took its place, when no branch or tag names it. ``orphan_age`` must be longer than
    the longest write. A file below ``small_file_bytes`` is small; ``small_files`` of them in partitions where two or more can become one make a rewrite
    worth it. ``metadata_files`` is how many older metadata files a table keeps at most.
    """

    enabled: bool
    retention: timedelta
    orphan_age: timedelta
    small_file_bytes: int
    small_files: int
    analyze_after_commits: int
    manifests: int
    metadata_files: int

    @property
    def key(self) -> str:
        """Changes with every rule: what was decided by other rules is decided again."""
        return f"{self.retention.total_seconds():.0f}/{self.orphan_age.total_seconds():.0f}/{self.small_file_bytes}/{self.small_files}/" + (
            f"{self.analyze_after_commits}/{self.manifests}/{self.metadata_files}"
        )


@dataclass(frozen=True)
class Known:
    """A table as the last maintenance left it.

    ``metadata`` is its metadata file, ``snapshot`` its current snapshot, ``files`` how many files lie in its folder. Nothing of it is due before ``due``
    (UTC; ``None``: not before it changes). ``analyzed`` is the sequence number that the last ANALYZE saw.
    """

    metadata: str
    snapshot: int | None
    files: int
    due: datetime | None
    policy: str
    analyzed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What became of one table. Bytes and files are those in its folder; ``expired`` counts snapshots, ``moved`` files that went to quarantine."""

    schema: str
    table: str
    done: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    expired: int = 0
    moved: int = 0
    files_before: int = 0
    files_after: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    error: str = ""
    permanent: bool = False

    @property
    def name(self) -> str:
        """``schema.table``."""
        return f"{self.schema}.{self.table}"

    def to_json(self) -> dict[str, Any]:
        """For the report."""
        return asdict(self)


HEADER = ("table", "done", "skipped", "snapshots expired", "files moved", "files", "bytes", "error")


def report_text(outcomes: Sequence[Outcome]) -> str:
    """All outcomes as aligned columns, the failed ones first, then those with something done, then the others; each group by name."""
    ordered = sorted(outcomes, key=lambda one: (not one.error, not one.done, one.name))
    rows = [HEADER, *(_row(one) for one in ordered)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def _row(one: Outcome) -> tuple[str, ...]:
    files, size = _change(one.files_before, one.files_after), _change(one.bytes_before, one.bytes_after)
    return (one.name, ", ".join(one.done) or "-", "; ".join(one.skipped) or "-", str(one.expired), str(one.moved), files, size, one.error.replace("\n", " "))


def _change(before: int, after: int) -> str:
    return f"{before:,}" if before == after else f"{before:,} -> {after:,}"


def too_many_failed(outcomes: Iterable[Outcome], share: float) -> list[Outcome]:
    """The failed tables, when they are more than ``share`` of all; of a few tables already one is too many. Empty when they are not."""
    every = list(outcomes)
    failed = [one for one in every if one.error]
    return failed if len(failed) > math.floor(len(every) * share + 1e-9) else []
