"""Three steps of a day, each of which writes its part of a table: what a backfill of many days does, killed or not.

On a platform this file lies in the folder of plugins. So the scheduler has the lake's libraries loaded before it forks its tasks, and a task of a
thousand costs a fork and a commit, no imports. Beside it lies the address of the lake (``LAKE``).
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DateType, LongType, NestedField, StringType

from include.config.environments import current_environment
from include.config.vocabulary import Layer
from include.lake.catalog import ensure_table, open_catalog
from include.lake.names import TableRef, table_in
from include.lake.writes import append_once, overwrite_partition

LAKE = Path(__file__).with_name("daily_lake.json")
ROWS = 60
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "land": ("number", "learner", "seconds"),
    "normalise": ("learner", "seconds", "events"),
    "summarise": ("learners", "seconds"),
}
BY_DAY = PartitionSpec(PartitionField(source_id=1, field_id=1000, transform=IdentityTransform(), name="day"))


def schema_of(step: str) -> Schema:
    """The day, and the step's own columns: numbers, but for the learner."""
    kinds = {"day": DateType(), "learner": StringType()}
    return Schema(*(NestedField(number, name, kinds.get(name, LongType())) for number, name in enumerate(("day", *COLUMNS[step]), start=1)))


def table_of(step: str) -> TableRef:
    """The table that a step writes."""
    return table_in(current_environment(), Layer.RAW, f"raw__daily__{step}")


def make_tables(catalog: Catalog) -> None:
    """The three, with a partition for each day."""
    for step in COLUMNS:
        ensure_table(catalog, table_of(step), schema_of(step), partition_spec=BY_DAY)


def land(catalog: Catalog, day: date, run_key: str) -> None:
    """A day's events, the same whenever they are asked for."""
    chance = random.Random(day.toordinal())
    rows = [{"day": day, "number": number, "learner": f"learner-{chance.randrange(20)}", "seconds": chance.randrange(3600)} for number in range(ROWS)]
    append_once(_table(catalog, "land"), _arrow("land", rows), run_key)


def normalise(catalog: Catalog, day: date, run_key: str) -> None:
    """Seconds and events of each learner, from what was landed."""
    events, seconds = Counter[str](), Counter[str]()
    for row in _rows(catalog, "land", day):
        events[row["learner"]] += 1
        seconds[row["learner"]] += row["seconds"]
    rows = [{"day": day, "learner": learner, "seconds": seconds[learner], "events": events[learner]} for learner in sorted(events)]
    overwrite_partition(_table(catalog, "normalise"), _arrow("normalise", rows), f"day = '{day}'", run_key)


def summarise(catalog: Catalog, day: date, run_key: str) -> None:
    """One row, from what was normalised."""
    found = _rows(catalog, "normalise", day)
    row = {"day": day, "learners": len(found), "seconds": sum(row["seconds"] for row in found)}
    append_once(_table(catalog, "summarise"), _arrow("summarise", [row]), run_key)


STEPS: Mapping[str, Callable[[Catalog, date, str], None]] = {"land": land, "normalise": normalise, "summarise": summarise}


def run_step(step: str, day: str, run_key: str) -> None:
    """What a task does. Raises ``ValueError`` for a run that is of no day."""
    catalog = open_catalog(current_environment(), json.loads(LAKE.read_text(encoding="utf-8")))
    STEPS[step](catalog, date.fromisoformat(day), run_key)


def _table(catalog: Catalog, step: str) -> Table:
    return catalog.load_table(table_of(step).identifier)


def _arrow(step: str, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema_of(step).as_arrow())


def _rows(catalog: Catalog, step: str, day: date) -> list[dict[str, Any]]:
    return _table(catalog, step).scan(row_filter=f"day = '{day}'").to_arrow().to_pylist()
