"""``python -m tests.dags.selected VARIABLES SELECTOR …``: what the build job's dbt selects for each selector, as JSON; dbt has a process of its own."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from include.jobs.warehouse.dbt import Dbt, Selection

if __name__ == "__main__":
    variables, *selectors = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        dbt = Dbt("local", Path(folder), vars=variables)
        dbt.prepare()
        print(json.dumps({one: sorted(dbt.select(Selection((one,)))) for one in selectors}))
