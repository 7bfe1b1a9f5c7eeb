"""Statements for Trino: the only place that sends them for maintenance, and it asks for rights first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from threading import BoundedSemaphore
from typing import Any, Protocol

import trino

from include.config.environments import LakeConnection
from include.lake.names import TableRef
from include.lake.rights import current_rights


class Action(StrEnum):
    """What Trino does for maintenance."""

    OPTIMIZE = "optimise"
    MANIFESTS = "manifests"
    ANALYZE = "analyse"


class Engine(Protocol):
    """What maintenance needs of Trino."""

    def run(self, action: Action, table: TableRef, file_size: int = 0) -> None:
        """Does one thing to one table. ``file_size``: files below these bytes are rewritten. Raises what Trino's client raises."""


def statement(action: Action, table: TableRef, file_size: int = 0) -> str:
    """An action as Trino's SQL."""
    match action:
        case Action.OPTIMIZE:
            return f"ALTER TABLE {table.sql} EXECUTE optimize(file_size_threshold => '{file_size}B')"
        case Action.MANIFESTS:
            return f"ALTER TABLE {table.sql} EXECUTE optimize_manifests"
        case Action.ANALYZE:
            return f"ANALYZE {table.sql}"


@dataclass(frozen=True)
class TrinoEngine:
    """A Trino. ``address`` is asked for when there is something to do, so that a night without needs none; ``at_once`` bounds its statements."""

    address: Callable[[], LakeConnection]
    at_once: int = 2
    turns: BoundedSemaphore = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "turns", BoundedSemaphore(self.at_once))

    def run(self, action: Action, table: TableRef, file_size: int = 0) -> None:
        """See :class:`Engine`. Raises ``ForbiddenError`` before anything is sent."""
        rights = current_rights()
        rights.check_catalog(table.catalog, f"{action.value} a table of")
        rights.check_schema(table.schema, f"{action.value} a table of")
        with self.turns, self._cursor() as cursor:
            cursor.execute(statement(action, table, file_size))
            cursor.fetchall()

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        here = self.address()
        password = here.password.get_secret_value()
        login = trino.auth.BasicAuthentication(here.user, password) if password else None
        with trino.dbapi.connect(host=here.host, port=here.port, user=here.user, catalog=here.catalog, http_scheme=here.http_scheme, auth=login) as connection:
            yield connection.cursor()
