"""The Airbyte units of one environment as Airbyte connections: looked up by id, described as the public API describes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from include.config.environments import EnvironmentSettings
from include.config.load import load_units_strictly
from include.config.units import AirbyteUnit, Stream
from include.config.vocabulary import Layer

_NAMES = UUID("5a0e4c1b-2a43-5d0c-9e0e-6f6c61626173")  # namespace of the ids that a unit file does not give
WORKSPACE_ID = str(uuid5(_NAMES, "workspace"))
DESTINATION_ID = str(uuid5(_NAMES, "destination"))
CREATED_AT = 1_704_067_200  # seconds; connections come from files and have no creation of their own


@dataclass(frozen=True)
class Connection:
    """A unit, its id in this environment and the schema its tables are written to."""

    id: str
    unit: AirbyteUnit
    schema: str

    def stream(self, name: str) -> Stream:
        """A stream by name. Raises ``KeyError``."""
        return {stream.name: stream for stream in self.unit.streams}[name]

    def identifier(self, stream: Stream) -> tuple[str, str]:
        """The raw table of a stream: ``(schema, table)``."""
        return self.schema, self.unit.table_of(stream)

    def body(self) -> dict[str, Any]:
        """The connection as ``GET /connections/{id}`` answers."""
        return {
            "connectionId": self.id,
            "workspaceId": WORKSPACE_ID,
            "name": self.unit.connection.name,
            "sourceId": str(uuid5(_NAMES, f"source {self.unit.id}")),
            "destinationId": DESTINATION_ID,
            "status": "active",
            "schedule": {"scheduleType": "manual"},
            "dataResidency": "auto",
            "configurations": {"streams": [_stream_body(stream) for stream in self.unit.streams]},
            "createdAt": CREATED_AT,
            "tags": [],
            "prefix": self.unit.table_prefix,
            "namespaceDefinition": "custom_format",
            "namespaceFormat": self.schema,
            "nonBreakingSchemaUpdatesBehavior": "propagate_columns",
        }


def _stream_body(stream: Stream) -> dict[str, Any]:
    body: dict[str, Any] = {"name": stream.name, "syncMode": stream.sync_mode.value, "namespace": "public", "mappers": []}
    if stream.cursor is not None:
        body["cursorField"] = [stream.cursor]
    if stream.primary_key:
        body["primaryKey"] = [[column] for column in stream.primary_key]
    return body


def workspace_body() -> dict[str, Any]:
    """The only workspace, as ``GET /workspaces`` answers."""
    return {"workspaceId": WORKSPACE_ID, "name": "Open Learning", "dataResidency": "auto", "notifications": {}}


def connections_of(environment: EnvironmentSettings, root: Path | None = None) -> dict[str, Connection]:
    """Connections by id, in the order of their units. Raises ``ConfigError`` for any broken unit file.

    ``root`` is another directory of unit files (default: the repository's).
    """
    units = load_units_strictly("airbyte", environment) if root is None else load_units_strictly("airbyte", environment, root)
    schema = environment.schema_for(Layer.RAW)
    found = (Connection(str(unit.connection.ids[environment.name]), unit, schema) for unit in units)
    return {connection.id: connection for connection in found}
