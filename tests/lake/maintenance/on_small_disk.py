"""What a process that sees the small disk is asked for: ``python -m tests.lake.maintenance.on_small_disk ROOT FUNCTION …`` prints the answers as JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from include.lake.store_errors import StoreError
from include.lake.writes import append_once

from .conftest import rows
from .old_lake import OldLake

WRITTEN = "written"


def seen(lake: OldLake) -> dict[str, Any]:
    return {name: {"rows": list(one.rows), "snapshots": len(one.snapshots)} for name, one in lake.seen().items()}


def write(lake: OldLake) -> dict[str, Any]:
    """A job's write, always under the same key."""
    try:
        result = append_once(lake.catalog.load_table((lake.schema, WRITTEN)), rows(7, 2000), "run:7")
    except StoreError as error:
        return {"error": str(error)}
    return {"error": "", "rows": result.rows}


def files(lake: OldLake) -> list[str]:
    return sorted(lake.files())


def loose(lake: OldLake) -> list[str]:
    """Files that no table names."""
    return sorted(set(lake.files()) - lake.reachable())


if __name__ == "__main__":
    root, *functions = sys.argv[1:]
    here = OldLake(Path(root), Path(root).with_name("work"), "")
    print(json.dumps([globals()[function](here) for function in functions]))
