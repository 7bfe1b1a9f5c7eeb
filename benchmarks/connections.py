"""Generates any number of Airbyte connections: unit files, dbt's manifest of their staging models, and the same as Airbyte's API tells it.

Everything follows from a seed, so two machines measure the same input.
"""

from __future__ import annotations

import json
import random
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.repository import copy_code
from include.config.files import ROOT

SEED = 20260101
STREAMS = 32
STAGED = 8  # of them have a staging model, about the share that a platform with 723 active streams has
NOUNS = (
    "user",
    "course",
    "run",
    "order",
    "line",
    "grade",
    "product",
    "coupon",
    "program",
    "certificate",
    "page",
    "contract",
    "session",
    "payment",
    "refund",
    "video",
)
COLUMNS = (
    "name",
    "title",
    "state",
    "amount",
    "email",
    "readable_id",
    "start_date",
    "end_date",
    "is_active",
    "uuid",
    "kind",
    "position",
    "language",
    "price",
    "reason",
)
CADENCES = ("every_6_hours", "every_12_hours", "daily")


@dataclass(frozen=True)
class Stream:
    """One table of a connection."""

    name: str
    sync_mode: str
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Connection:
    """One connection: ``unit`` names its file, ``streams`` are the tables it brings."""

    unit: str
    id: str
    cadence: str
    streams: tuple[Stream, ...]

    @property
    def raw_prefix(self) -> str:
        """What the names of its raw tables begin with."""
        return f"raw__{self.unit}__"

    @property
    def staging_prefix(self) -> str:
        """What the names of its staging models begin with."""
        return f"stg__{self.unit}__"

    @property
    def staged(self) -> tuple[Stream, ...]:
        """The streams that a staging model reads."""
        return self.streams[:: STREAMS // STAGED]


def connections(count: int, seed: int = SEED) -> tuple[Connection, ...]:
    """``count`` connections of 32 streams each; the first ``n`` are the same for every count."""
    return tuple(_connection(number, random.Random(seed * 1_000_003 + number)) for number in range(count))


def _connection(number: int, chance: random.Random) -> Connection:
    streams = []
    for position in range(STREAMS):
        mode = chance.choice(("full_refresh_overwrite", "incremental_deduped_history", "incremental_append"))
        columns = ("id", *sorted(chance.sample(COLUMNS, chance.randint(3, 9))), "created_on", "updated_on")
        streams.append(Stream(f"{chance.choice(NOUNS)}s_{chance.choice(NOUNS)}{position}", mode, columns))
    identifier = uuid.UUID(int=chance.getrandbits(128), version=4)
    return Connection(f"system{number:04d}__app", str(identifier), chance.choice(CADENCES), tuple(streams))


def unit_yaml(connection: Connection) -> str:
    """The unit file of a connection, written as people write them."""
    lines = [
        f"# {connection.unit}: the application's database.",
        "owner: data-platform",
        "tier: 2",
        f"cadence: {connection.cadence}",
        f"description: Application database {connection.unit}.",
        f"dbt_staging: {connection.staging_prefix}",
        "connection:",
        f"  name: {connection.unit} → s3 data lake",
        "  ids:",
        f"    local: {connection.id}",
        f"table_prefix: {connection.raw_prefix}",
        "streams:",
    ]
    for stream in connection.streams:
        lines += [f"  - name: {stream.name}", f"    sync_mode: {stream.sync_mode}"]
        lines += ["    cursor: updated_on"] if stream.sync_mode.startswith("incremental") else []
        lines += ["    primary_key: [id]", f"    columns: [{', '.join(stream.columns)}]"]
    return "\n".join(lines) + "\n"


def api_answer(connection: Connection) -> dict[str, Any]:
    """The connection as Airbyte's public API describes it."""
    modes = {"full_refresh_overwrite": "full_refresh_overwrite", "incremental_append": "incremental_append"}
    return {
        "connectionId": connection.id,
        "name": f"{connection.unit} → s3 data lake",
        "sourceId": connection.id,
        "destinationId": "00000000-0000-4000-8000-000000000001",
        "workspaceId": "00000000-0000-4000-8000-000000000002",
        "status": "active",
        "schedule": {"scheduleType": "manual"},
        "dataResidency": "auto",
        "createdAt": 1767225600,
        "tags": [
            {
                "tagId": "00000000-0000-4000-8000-000000000003",
                "workspaceId": "00000000-0000-4000-8000-000000000002",
                "name": connection.cadence,
                "color": "000000",
            }
        ],
        "prefix": connection.raw_prefix,
        "configurations": {
            "streams": [
                {
                    "name": stream.name,
                    "syncMode": modes.get(stream.sync_mode, "incremental_deduped_history"),
                    "cursorField": ["updated_on"] if stream.sync_mode.startswith("incremental") else [],
                    "primaryKey": [["id"]],
                }
                for stream in connection.streams
            ]
        },
    }


def manifest(found: tuple[Connection, ...]) -> dict[str, Any]:
    """dbt's manifest of the staging models, with the fields and about the size that dbt gives a node."""
    nodes: dict[str, Any] = {}
    sources: dict[str, Any] = {}
    for connection in found:
        for stream in connection.staged:
            table, name = connection.raw_prefix + stream.name, connection.staging_prefix + stream.name
            source, model, test = f"source.open_learning.raw.{table}", f"model.open_learning.{name}", f"test.open_learning.not_null_{name}_id.0123456789"
            sources[source] = {"resource_type": "source", "unique_id": source, "identifier": table, "columns": _columns(stream)}
            nodes[model] = _model_node(model, name, source, stream)
            nodes[test] = {"resource_type": "test", "unique_id": test, "attached_node": model, "depends_on": {"nodes": [model]}, "config": {}}
    return {"metadata": {"dbt_version": "1.11.16"}, "nodes": nodes, "sources": sources, "unit_tests": {}}


def _columns(stream: Stream) -> dict[str, Any]:
    return {
        name: {
            "name": name,
            "description": f"{name} as the application stores it.",
            "meta": {},
            "data_type": "varchar",
            "constraints": [],
            "quote": None,
            "tags": [],
        }
        for name in stream.columns
    }


def _model_node(unique_id: str, name: str, source: str, stream: Stream) -> dict[str, Any]:
    path = f"models/staging/{name}.sql"
    return {
        "resource_type": "model",
        "unique_id": unique_id,
        "name": name,
        "alias": name,
        "database": "ol_data_lake_local",
        "schema": "ol_warehouse_local_staging",
        "package_name": "open_learning",
        "path": path,
        "original_file_path": path,
        "fqn": ["open_learning", "staging", name],
        "config": {"enabled": True, "materialized": "view", "schema": "staging", "meta": {}, "tags": [], "on_table_exists": "replace", "grants": {}},
        "columns": _columns(stream),
        "description": f"Rows of {stream.name} with the platform's names.",
        "raw_code": f"select\n    {', '.join(stream.columns)}\nfrom {{{{ source('raw', '{name}') }}}}\n" + "-- " + "x" * 600,
        "depends_on": {"macros": ["macro.open_learning.deduplicate"], "nodes": [source]},
        "checksum": {"name": "sha256", "checksum": "0" * 64},
    }


def write_repository(folder: Path, found: tuple[Connection, ...]) -> Path:
    """A copy of this repository's code whose units and manifest are the generated ones; its DAG file is unchanged."""
    copy_code(folder, {"ingest/airbyte.py": (ROOT / "dags" / "ingest" / "airbyte.py").read_text(encoding="utf-8")})
    units = folder / "include" / "units" / "airbyte"
    shutil.rmtree(units)
    units.mkdir()
    for connection in found:
        (units / f"{connection.unit}.yml").write_text(unit_yaml(connection), encoding="utf-8")
    target = folder / "include" / "dbt" / "open_learning" / "target"
    target.mkdir(parents=True)
    (target / "manifest.json").write_text(json.dumps(manifest(found)), encoding="utf-8")
    return folder
