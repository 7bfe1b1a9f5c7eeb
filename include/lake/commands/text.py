"""Tables and figures for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], right: Iterable[str] = ()) -> str:
    """Columns under their headers, two blanks apart; those named in ``right`` end at one edge, as numbers should."""
    lines = [[*headers], *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[number]) for line in lines) for number in range(len(headers))]
    flushed = {headers.index(name) for name in right}
    return "\n".join(
        "  ".join(cell.rjust(width) if number in flushed else cell.ljust(width) for number, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    )


def size(count: int) -> str:
    """Bytes with the unit that keeps them short: ``999 B``, ``1.5 kB``, ``20.0 MB``."""
    figure = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if figure < 1000:
            return f"{count} B" if unit == "B" else f"{figure:.1f} {unit}"
        figure /= 1000
    return f"{figure:.1f} TB"


def moment(at: datetime | None) -> str:
    """``2026-11-20 14:05`` in UTC."""
    return at.strftime("%Y-%m-%d %H:%M") if at else "unknown"


def count(number: int, one: str) -> str:
    """``1 table``, ``2 tables``."""
    return f"{number} {one}{'' if number == 1 else 's'}"
