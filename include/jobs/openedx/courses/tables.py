"""The raw tables of course archives: each shows every course as its newest export left it.

A load replaces its course's rows as a whole, table by table. Newest is the greatest ``(retrieved_at, archive_sha256)``: a load that comes late, or again,
changes nothing. The table ``metadata`` has one row for each course and is written first, so it says which export a course's rows come from;
until a load has ended its other tables may still show the export before.

Replacing was preferred to keeping all versions: 3,500 courses stay 3,500 courses, no reader has to find out which rows are current (a course that has no
signatories any more has no row to tell so), and every version stays in the landing zone. A course is about a file: course ids are kept whole in the
files' statistics, so a file of one course is dropped unread, and the two large tables are split into ``BUCKETS`` by course, so that after compaction
a load rewrites one thirty-second of them at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import orjson
import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.expressions import And, BooleanExpression, EqualTo, GreaterThan, GreaterThanOrEqual, Or
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC, PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import BucketTransform
from pyiceberg.types import BooleanType, IcebergType, LongType, NestedField, StringType, TimestamptzType

from include.config.environments import EnvironmentSettings
from include.config.vocabulary import Layer
from include.jobs.openedx.courses.policies import text
from include.jobs.openedx.courses.rows import Course
from include.lake.catalog import ensure_table
from include.lake.fitting import arrow_schema
from include.lake.names import TableRef, table_in
from include.lake.writes import WriteResult, overwrite_partition

BUCKETS = 32
_TEXT, _NUMBER, _TRUTH, _TIME = StringType(), LongType(), BooleanType(), TimestamptzType()
_PROPERTIES = {"write.metadata.metrics.column.course_id": "full"}  # 16 characters otherwise, the same for all courses of an organisation
_VERSION: dict[str, IcebergType] = {"published_version": _TEXT, "archive_sha256": _TEXT, "retrieved_at": _TIME}
_COLUMNS: dict[str, dict[str, IcebergType]] = {
    "metadata": {
        **dict.fromkeys(("enrollment_start", "enrollment_end", "course_start", "course_end", "instructor_info"), _TEXT),
        "self_paced": _TRUTH,
        **dict.fromkeys(("title", "course_id", "course_number", "semester", "institution"), _TEXT),
        "quarantined_members": _NUMBER,
        **_VERSION,
    },
    "video": {**dict.fromkeys(("video_block_id", "edx_video_id", "duration", "course_id"), _TEXT), **_VERSION},
    "blocks": {
        **dict.fromkeys(("course_id", "source_system", "block_id", "block_type", "block_display_name", "xml_attributes", "xml_path", "raw_xml"), _TEXT),
        "retrieved_at": _TIME,
        **dict.fromkeys(("edx_video_id", "duration", "max_attempts", "weight", "markdown", "published_version", "archive_sha256"), _TEXT),
    },
    "policies": {
        **dict.fromkeys(("course_id", "advanced_modules", "discussions_settings", "display_coursenumber"), _TEXT),
        **dict.fromkeys(("self_paced", "tabs", "tags", "policy", "grading_policy"), _TEXT),
        **_VERSION,
    },
    "signatories": {
        **dict.fromkeys(("id", "name", "title", "organization", "signature_image_path", "certificate", "course_id", "certificate_id", "fields"), _TEXT),
        **_VERSION,
    },
    "static_assets": {
        **dict.fromkeys(("course_id", "source_system", "path", "mime_type"), _TEXT),
        "size_bytes": _NUMBER,
        **dict.fromkeys(("sha256", "data_version"), _TEXT),
        **_VERSION,
    },
}
PARTS = tuple(_COLUMNS)
BUCKETED = ("blocks", "static_assets")


@dataclass(frozen=True)
class Export:
    """Which export of a course the rows come from."""

    course_id: str
    published_version: str
    archive_sha256: str
    retrieved_at: datetime

    @property
    def rows(self) -> BooleanExpression:
        """The rows of this very export."""
        return And(self.course, _is(EqualTo, "archive_sha256", self.archive_sha256), _is(EqualTo, "retrieved_at", self._moment))

    @property
    def course(self) -> BooleanExpression:
        """The course's rows, of whatever export."""
        return _is(EqualTo, "course_id", self.course_id)

    def or_newer(self, *, strictly: bool = False) -> BooleanExpression:
        """Rows of this export (unless ``strictly``) and of those after it."""
        same_moment = _is(EqualTo, "retrieved_at", self._moment)
        beside = And(same_moment, _is(GreaterThan if strictly else GreaterThanOrEqual, "archive_sha256", self.archive_sha256))
        return And(self.course, Or(_is(GreaterThan, "retrieved_at", self._moment), beside))

    @property
    def _moment(self) -> str:
        return self.retrieved_at.isoformat()


def _is(predicate: Any, column: str, value: str) -> BooleanExpression:
    found: BooleanExpression = predicate(column, value)
    return found


def table_of(environment: EnvironmentSettings, deployment: str, part: str) -> TableRef:
    """The raw table of one part, of :data:`PARTS`."""
    return table_in(environment, Layer.RAW, f"raw__{deployment}__openedx__course_xml__{part}")


class CourseTables:
    """The six tables of a deployment, made where they are missing."""

    def __init__(self, catalog: Catalog, environment: EnvironmentSettings, deployment: str) -> None:
        self.names = {part: table_of(environment, deployment, part) for part in PARTS}
        self._tables = {part: _ensure(catalog, name, part) for part, name in self.names.items()}

    def __getitem__(self, part: str) -> Table:
        return self._tables[part]

    def write(self, course: Course, export: Export, deployment: str, run_key: str) -> dict[str, WriteResult] | None:
        """Makes the course's rows those of this export; nothing when a newer one is there. A repetition completes what an earlier attempt left undone.

        ``run_key`` names the run; with the course and the archive it makes the key of each write. Raises as :func:`overwrite_partition`.
        """
        key = f"{run_key}:{export.course_id}:{export.archive_sha256}"
        results = {}
        for part, rows in _rows(course, export, deployment).items():
            table = self._tables[part]
            results[part] = overwrite_partition(table, _data(table, rows), export.course, key, unless=export.or_newer())
            if part == "metadata" and self._superseded(export):
                break
        if not self._superseded(export):
            return results
        self._withdraw(export, key)
        return None

    def _superseded(self, export: Export) -> bool:
        table = self._tables["metadata"].refresh()
        return bool(table.scan(row_filter=export.or_newer(strictly=True), limit=1).to_arrow().num_rows)

    def _withdraw(self, export: Export, key: str) -> None:
        """Takes out what this export has written beside or after a newer one, to which an empty table says nothing."""
        for part in PARTS[1:]:
            table = self._tables[part]
            overwrite_partition(table, _data(table, []), export.rows, f"{key}:superseded")


def _ensure(catalog: Catalog, name: TableRef, part: str) -> Table:
    columns = enumerate(_COLUMNS[part].items(), start=1)
    fields = [NestedField(number, column, kind, required=column in ("course_id", *_VERSION)) for number, (column, kind) in columns]
    schema = Schema(*fields)
    spec = UNPARTITIONED_PARTITION_SPEC
    if part in BUCKETED:
        source = schema.find_field("course_id").field_id
        spec = PartitionSpec(PartitionField(source, 1000, BucketTransform(BUCKETS), "course_id_bucket"))
    return ensure_table(catalog, name, schema, partition_spec=spec, properties=_PROPERTIES)


def _data(table: Table, rows: Sequence[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=arrow_schema(table.schema()))


def _rows(course: Course, export: Export, deployment: str) -> dict[str, list[dict[str, Any]]]:
    """Rows of every table, ``metadata`` first."""
    version = {"published_version": export.published_version, "archive_sha256": export.archive_sha256, "retrieved_at": export.retrieved_at}
    owned = {"course_id": export.course_id, "source_system": deployment}
    return {
        "metadata": [{**msgspec.structs.asdict(course.metadata), "quarantined_members": len(course.quarantined), **version}],
        "video": [{**msgspec.structs.asdict(video), **version} for video in course.videos],
        "blocks": [{**msgspec.structs.asdict(block), "xml_attributes": orjson.dumps(block.xml_attributes).decode(), **version} for block in course.blocks],
        "policies": [{name: text(value) for name, value in msgspec.structs.asdict(policy).items()} | version for policy in course.policies],
        "signatories": [
            {
                **{name: text(signatory.fields.get(name)) for name in ("id", "name", "title", "organization", "signature_image_path", "certificate")},
                "course_id": export.course_id,
                "certificate_id": signatory.certificate_id,
                "fields": orjson.dumps(signatory.fields).decode(),
                **version,
            }
            for signatory in course.signatories
        ],
        "static_assets": [{**owned, **msgspec.structs.asdict(file), "data_version": course.data_version, **version} for file in course.static],
    }
