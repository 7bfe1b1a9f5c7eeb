"""The raw table of a deployment's tracking logs, one partition for each day of log files.

The partition is the day of the *files*, not of the events: a request that begins before midnight is written after it, mobile clients send
what they kept for days. So a partition follows from the objects of its day alone: delivering them again gives the same rows, a late file
touches no other partition, and no event is lost between two days or stored in both. Who asks for a day by ``time`` reads a few
``log_day`` beside it.
"""

from __future__ import annotations

from pyiceberg.catalog import Catalog
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DateType, LongType, NestedField, StringType, TimestamptzType

from include.config.environments import EnvironmentSettings
from include.config.vocabulary import Layer
from include.jobs.openedx.tracking_logs.events import TEXTS
from include.lake.catalog import ensure_table
from include.lake.names import TableRef, table_in

_LOG_DAY = 1
_DOCUMENTATION = {
    "log_day": "Day of the log files; the partition",
    "time": "When the event happened",
    "event": "JSON text; an object where the source had an object or a string that contained one",
    "context": "JSON text, as event",
    "extra": "JSON object: fields that have no column, and values of text columns that are no text",
    "source_object": "Log file, below the source's prefix",
    "source_offset": "Where the event's line begins in the inflated file, in bytes",
    "retrieved_at": "When the file was read",
}
_TYPES = {"log_day": DateType(), "time": TimestamptzType(), "source_offset": LongType(), "retrieved_at": TimestamptzType()}
COLUMNS = ("log_day", "time", *TEXTS, "event", "context", "extra", "source_object", "source_offset", "retrieved_at")
_REQUIRED = {"log_day", "time", "source_object", "source_offset", "retrieved_at"}
SCHEMA = Schema(
    *(
        NestedField(number, name, _TYPES.get(name, StringType()), required=name in _REQUIRED, doc=_DOCUMENTATION.get(name))
        for number, name in enumerate(COLUMNS, start=_LOG_DAY)
    )
)
SPEC = PartitionSpec(PartitionField(source_id=_LOG_DAY, field_id=1000, transform=IdentityTransform(), name="log_day"))
PROPERTIES = {
    "write.parquet.compression-level": "1",  # on these texts no larger than level 3, and a quarter faster
    "write.metadata.metrics.column.event": "none",  # first and last of a million JSON texts find nothing
    "write.metadata.metrics.column.context": "none",
    "write.metadata.metrics.column.extra": "none",
}


def table_of(environment: EnvironmentSettings, deployment: str) -> TableRef:
    """``raw__<deployment>__openedx__tracking_logs`` of an environment."""
    return table_in(environment, Layer.RAW, f"raw__{deployment}__openedx__tracking_logs")


def ensure_logs_table(catalog: Catalog, table: TableRef) -> Table:
    """The table, created when it is missing."""
    return ensure_table(catalog, table, SCHEMA, partition_spec=SPEC, properties=PROPERTIES)
