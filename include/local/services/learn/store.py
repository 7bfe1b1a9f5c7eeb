"""What must outlive a kill, in one SQLite file: keys, mode and clock, every delivery that was applied, every request that came."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from include.local.services.learn.verify import Mode, Request

KEPT_RECEIPTS = 100_000
_DDL = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS applied (
    sequence        INTEGER PRIMARY KEY AUTOINCREMENT,
    idempotency_key TEXT UNIQUE,
    endpoint        TEXT NOT NULL,
    body            BLOB NOT NULL,
    at              REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS receipts (
    number  INTEGER PRIMARY KEY AUTOINCREMENT,
    at      REAL NOT NULL,
    path    TEXT NOT NULL,
    headers TEXT NOT NULL,
    body    BLOB NOT NULL,
    status  INTEGER NOT NULL,
    outcome TEXT NOT NULL
);
"""


class KeyReusedError(Exception):
    """An idempotency key that came before with another body or at another endpoint."""


@dataclass(frozen=True)
class Receipt:
    """One request: its headers (lower-case names) and body as they came, the status of the work on it, and a word for what became of it."""

    number: int
    at: float
    path: str
    headers: Mapping[str, str]
    body: bytes
    status: int
    outcome: str

    def told(self) -> dict[str, Any]:
        """The receipt as JSON shows it."""
        return {"number": self.number, "at": self.at, "path": self.path, "headers": self.headers, "body": _text(self.body), "status": self.status} | {
            "outcome": self.outcome
        }


@dataclass(frozen=True)
class Applied:
    """One delivery whose effect took place; ``sequence`` is the order in which it did."""

    sequence: int
    idempotency_key: str | None
    endpoint: str
    body: bytes
    at: float

    def told(self) -> dict[str, Any]:
        """The delivery as JSON shows it."""
        return {"sequence": self.sequence, "idempotency_key": self.idempotency_key, "endpoint": self.endpoint, "body": _text(self.body), "at": self.at}


class Store:
    """The file; used by one thread. ``keys`` and ``mode`` are those of a new file: one that exists keeps its own."""

    def __init__(self, path: Path, keys: Mapping[str, str], mode: Mode) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # it holds secrets
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        # what is committed survives a kill of this process; a power cut may take the last of it
        self._connection.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA busy_timeout = 5000; {_DDL}")
        for name, value in (("keys", json.dumps(dict(keys))), ("mode", json.dumps(mode)), ("skew", "0")):
            self._connection.execute("INSERT INTO settings VALUES (?, ?) ON CONFLICT DO NOTHING", [name, value])
        self._settings: dict[str, Any] = {name: json.loads(value) for name, value in self._connection.execute("SELECT name, value FROM settings")}

    @property
    def keys(self) -> Mapping[str, str]:
        """The keys that are valid now: secrets by id, two at most."""
        return dict(self._settings["keys"])

    @property
    def mode(self) -> Mode:
        """How requests are verified."""
        return "strict" if self._settings["mode"] == "strict" else "today"

    @property
    def skew(self) -> float:
        """Seconds that this service's clock is ahead."""
        return float(self._settings["skew"])

    def change(self, name: Literal["keys", "mode", "skew"], value: Any) -> None:
        """Sets one of the above, for ever."""
        self._connection.execute("UPDATE settings SET value = ? WHERE name = ?", [json.dumps(value), name])
        self._settings[name] = value

    def apply(self, endpoint: str, body: bytes, idempotency_key: str | None, at: float) -> bool:
        """Lets a delivery take effect; ``False`` when the very same one has done so before. Without a key each is a new one.

        Raises ``KeyReusedError`` for a key that stands for something else.
        """
        done = self._connection.execute(
            "INSERT INTO applied (idempotency_key, endpoint, body, at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", [idempotency_key, endpoint, body, at]
        )
        if done.rowcount == 1:
            return True
        known = self._connection.execute("SELECT endpoint, body FROM applied WHERE idempotency_key = ?", [idempotency_key]).fetchone()
        if known != (endpoint, body):
            raise KeyReusedError(idempotency_key)
        return False

    def receive(self, request: Request, status: int, outcome: str, at: float) -> None:
        """Remembers a request and what became of it."""
        row = [at, request.path, json.dumps(dict(request.headers)), request.body, status, outcome]
        done = self._connection.execute("INSERT INTO receipts (at, path, headers, body, status, outcome) VALUES (?, ?, ?, ?, ?, ?)", row)
        if (done.lastrowid or 0) % 1_000 == 0:
            self._connection.execute("DELETE FROM receipts WHERE number <= ?", [(done.lastrowid or 0) - KEPT_RECEIPTS])

    def applied(self, after: int = 0, limit: int = -1) -> list[Applied]:
        """Deliveries that took effect, in that order, beyond sequence ``after``."""
        return [Applied(*row) for row in self._connection.execute("SELECT * FROM applied WHERE sequence > ? ORDER BY sequence LIMIT ?", [after, limit])]

    def receipts(self, after: int = 0, limit: int = -1) -> list[Receipt]:
        """Requests in the order in which their work ended, beyond number ``after``."""
        rows = self._connection.execute("SELECT * FROM receipts WHERE number > ? ORDER BY number LIMIT ?", [after, limit])
        return [Receipt(number, at, path, json.loads(headers), body, status, outcome) for number, at, path, headers, body, status, outcome in rows]

    def forget(self) -> None:
        """Empties both lists."""
        self._connection.executescript("DELETE FROM applied; DELETE FROM receipts;")

    def close(self) -> None:
        """Ends the connection."""
        self._connection.close()


def _text(body: bytes) -> str:
    return body.decode(errors="backslashreplace")
