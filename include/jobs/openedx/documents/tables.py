"""The raw tables of course structures: each shows every course as it was when its content was last seen to differ.

As with course archives a course's rows are replaced as a whole, and every version stays in the landing zone. A structure that is in the table already, or
an older one than that, changes nothing, so what is fetched twice, or comes late, leaves the tables as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, EqualTo, GreaterThan, Or
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform
from pyiceberg.types import LongType, NestedField, StringType, TimestamptzType

from include.config.environments import EnvironmentSettings
from include.config.vocabulary import Layer
from include.jobs.openedx.courses.structure import StructureBlockRow, StructureRow
from include.jobs.openedx.courses.tables import BUCKETS
from include.lake.catalog import ensure_table
from include.lake.fitting import arrow_schema
from include.lake.names import TableRef, table_in
from include.lake.writes import WriteResult, overwrite_partition

STRUCTURE, BLOCKS = "course_structure", "course_blocks"
_ROWS: dict[str, type[msgspec.Struct]] = {STRUCTURE: StructureRow, BLOCKS: StructureBlockRow}
_HASHES = {STRUCTURE: "content_hash", BLOCKS: "course_content_hash"}
_REQUIRED = {"course_id", "retrieved_at", *_HASHES.values()}
_PROPERTIES = {"write.metadata.metrics.column.course_id": "full"}  # 16 characters otherwise, the same for all courses of an organisation


def table_of(environment: EnvironmentSettings, deployment: str, part: str) -> TableRef:
    """The raw table of one part, of ``course_structure`` and ``course_blocks``."""
    return table_in(environment, Layer.RAW, f"raw__{deployment}__openedx__api__{part}")


class StructureTables:
    """The two tables of a deployment, made where they are missing."""

    def __init__(self, catalog: Catalog, environment: EnvironmentSettings, deployment: str) -> None:
        self.names = {part: table_of(environment, deployment, part) for part in _ROWS}
        self._tables = {part: _ensure(catalog, name, part) for part, name in self.names.items()}

    def __getitem__(self, part: str) -> Table:
        return self._tables[part]

    def write(self, structure: StructureRow, blocks: Sequence[StructureBlockRow], run_key: str) -> dict[str, WriteResult]:
        """Makes the course's rows those of this structure, unless they are, or a newer one's; a repetition completes what an earlier attempt left undone."""
        moment, course = structure.retrieved_at, EqualTo(term="course_id", value=structure.course_id)
        results = {}
        rows: dict[str, Sequence[msgspec.Struct]] = {STRUCTURE: [structure], BLOCKS: blocks}
        for part, table in self._tables.items():
            present = And(course, Or(EqualTo(term=_HASHES[part], value=structure.content_hash), GreaterThan(term="retrieved_at", value=moment)))
            key = f"{run_key}:{structure.course_id}:{structure.content_hash}"
            results[part] = overwrite_partition(table, _data(table, rows[part]), course, key, unless=present)
        return results


def _ensure(catalog: Catalog, name: TableRef, part: str) -> Table:
    fields = []
    for number, column in enumerate(_ROWS[part].__struct_fields__, start=1):
        kind = TimestamptzType() if column == "retrieved_at" else LongType() if column == "block_index" else StringType()
        fields.append(NestedField(number, column, kind, required=column in _REQUIRED))
    schema, spec = Schema(*fields), UNPARTITIONED_PARTITION_SPEC
    if part == BLOCKS:
        spec = PartitionSpec(PartitionField(schema.find_field("course_id").field_id, 1000, BucketTransform(BUCKETS), "course_id_bucket"))
    return ensure_table(catalog, name, schema, partition_spec=spec, properties=_PROPERTIES)


def _data(table: Table, rows: Sequence[msgspec.Struct]) -> pa.Table:
    return pa.Table.from_pylist([_row(row) for row in rows], schema=arrow_schema(table.schema()))


def _row(row: msgspec.Struct) -> dict[str, Any]:
    found = msgspec.structs.asdict(row)
    return {**found, "retrieved_at": datetime.fromisoformat(found["retrieved_at"]).astimezone(UTC)}
