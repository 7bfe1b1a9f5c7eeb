"""Watches a process while DAG files are parsed: every reach for the network, a database or another program is refused and recorded.

Recorded, because code that swallows the refusal would otherwise go unnoticed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

FORBIDDEN = frozenset(
    {
        "socket.connect",
        "socket.bind",
        "socket.sendto",
        "socket.getaddrinfo",
        "socket.gethostbyname",
        "sqlite3.connect",
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.posix_spawn",
        "os.spawn",
    }
)


class ForbiddenAtParseTimeError(RuntimeError):
    """A DAG file reached for something that parsing must not need."""


class Guard:
    """Refuses while armed. There is one in a process: audit hooks stay for its life."""

    def __init__(self) -> None:
        self.armed = False
        self.violations: list[str] = []
        sys.addaudithook(self._on_event)
        self._close_database_drivers()

    @contextmanager
    def watching(self) -> Iterator[list[str]]:
        """Armed inside the block; gives the list that violations are added to."""
        self.violations = []
        self.armed = True
        try:
            yield self.violations
        finally:
            self.armed = False

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.armed and event in FORBIDDEN:
            self._refuse(f"{event}{arguments!r}"[:200])

    def _refuse(self, what: str) -> NoReturn:
        self.violations.append(what)
        raise ForbiddenAtParseTimeError(what)

    def _close_database_drivers(self) -> None:
        """libpq opens its sockets in C, where no audit event is raised; and Airflow's own sessions, as the DAG processor does it."""
        import psycopg
        import psycopg2
        from airflow.sdk.execution_time.supervisor import block_orm_access

        drivers: tuple[Any, ...] = (psycopg, psycopg2)
        for module in drivers:
            original = module.connect

            def connect(*arguments: Any, _original: Any = original, _name: str = module.__name__, **keywords: Any) -> Any:
                if self.armed:
                    self._refuse(f"{_name}.connect{arguments!r}")
                return _original(*arguments, **keywords)

            module.connect = connect
        block_orm_access()
