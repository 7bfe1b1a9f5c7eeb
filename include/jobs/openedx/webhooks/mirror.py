"""Writes the outbox into the lake as ``raw__openedx__learn__webhook_outbox``: one row per event, as it is now, merged by its id.

Only what has changed since the last run is read and written. Rows that were deleted from the outbox stay in the table.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from pyiceberg.table import Table

from include.config.environments import current_environment
from include.config.services import outbox_dsn
from include.config.vocabulary import Layer
from include.contract import JobResult, TableResult
from include.jobs.openedx.webhooks.outbox import Outbox
from include.lake.catalog import ensure_table, open_catalog
from include.lake.names import table_in
from include.lake.snapshots import state_of
from include.lake.writes import merge

log = logging.getLogger(__name__)
TABLE = "raw__openedx__learn__webhook_outbox"
MOMENT = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("endpoint", pa.string()),
        pa.field("lane", pa.string()),
        pa.field("run_key", pa.string()),
        pa.field("body", pa.string()),
        pa.field("body_sha256", pa.string()),
        pa.field("state", pa.string()),
        pa.field("attempts", pa.int32()),
        pa.field("replays", pa.int32()),
        pa.field("status", pa.int32()),
        pa.field("reason", pa.string()),
        pa.field("key_id", pa.string()),
        *(pa.field(name, MOMENT) for name in ("queued_at", "created_at", "updated_at", "settled_at", "retrieved_at")),
    ]
)
OVERLAP = timedelta(minutes=10)
"""Before the newest row of the table: a transaction that began earlier may have become visible since."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The job's flags."""
    parser.add_argument("--run-key", required=True, help="names this run: a second run under the key writes nothing")


def run(arguments: argparse.Namespace) -> JobResult:
    """One :class:`TableResult`, with the figures of the whole table."""
    started = time.monotonic()
    environment = current_environment()
    ref = table_in(environment, Layer.RAW, TABLE)
    table = ensure_table(open_catalog(environment), ref, SCHEMA)
    known = _known(table)
    since = max(known.values(), default=datetime(1970, 1, 1, tzinfo=UTC) + OVERLAP) - OVERLAP
    with Outbox(outbox_dsn()) as outbox:
        changed = [row for row in outbox.changed_since(since) if known.get(str(row["id"])) != row["updated_at"]]
    retrieved_at = datetime.now(UTC)
    data = pa.Table.from_pylist([_mirrored(row, retrieved_at) for row in changed], schema=SCHEMA)
    written = merge(table, data, ["event_id"], arguments.run_key)
    state = state_of(table.refresh())
    log.info("%s: %d events had changed", ref, len(changed))
    result = TableResult(rows=state.rows, bytes=state.bytes, snapshot_id=state.snapshot_id, seconds=time.monotonic() - started, run_key=arguments.run_key)
    return JobResult(tables={str(ref): result} if written.committed else {}, facts={"changed": len(changed), "committed": written.committed})


def _known(table: Table) -> dict[str, datetime]:
    """When each event of the table was changed last."""
    found = table.scan(selected_fields=("event_id", "updated_at")).to_arrow()
    return dict(zip(found.column("event_id").to_pylist(), found.column("updated_at").to_pylist(), strict=True))


def _mirrored(row: dict[str, Any], retrieved_at: datetime) -> dict[str, Any]:
    body = bytes(row["body"])
    return {**row, "event_id": str(row["id"]), "body": body.decode(), "body_sha256": hashlib.sha256(body).hexdigest(), "retrieved_at": retrieved_at}
