"""What every job promises: arguments in, structured log lines out, one JSON result, an exit code that says whether to try again.

Exit 0 is done, 64 a permanent failure that no retry can mend, anything else transient. Secrets that the process registered with
:mod:`include.redaction` reach neither its log nor its result.
"""

from __future__ import annotations

import json
import logging
import sys
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from include.atomic import replacing
from include.redaction import redact, redacted

PERMANENT_EXIT = 64
TRANSIENT_EXIT = 75


class PermanentError(Exception):
    """A failure that stays until somebody changes data, code or configuration."""


class TransientError(Exception):
    """A failure that another try may mend: a restarting service, a lost connection, a commit conflict."""


@dataclass(frozen=True)
class TableResult:
    """What a job left behind in one table; becomes the extra of the table's asset event.

    ``rows`` and ``bytes`` are those of the whole table; ``seconds`` is the time spent on it.
    """

    rows: int | None = None
    bytes: int | None = None
    snapshot_id: int | None = None
    seconds: float | None = None
    run_key: str = ""
    extra: dict[str, str | int | float | bool | None] = field(default_factory=dict)


@dataclass(frozen=True)
class JobResult:
    """A job's one JSON result: the tables it answers for, keyed ``catalog.schema.table``, and a few facts for people.

    ``links`` are addresses of what the job left beside the tables, by name; every event of its tables carries them.
    """

    tables: dict[str, TableResult] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(redacted(asdict(self)), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> JobResult:
        """The inverse of :meth:`to_json`. Raises ``ValueError`` for anything else."""
        data = json.loads(text)
        if not isinstance(data, dict) or set(data) != {"tables", "facts", "links"}:
            raise ValueError(f"job result: found {text[:200]!r}; allowed: an object with tables, facts and links")
        return cls(tables={name: TableResult(**table) for name, table in data["tables"].items()}, facts=data["facts"], links=data["links"])


def write_result(path: Path, result: JobResult) -> None:
    """Writes the result so that a reader sees all of it or nothing."""
    with replacing(path) as partial:
        partial.write_text(result.to_json() + "\n", encoding="utf-8")


def read_line(line: str) -> tuple[int, str]:
    """Level and text of a line of a job's log; anything that is not one of its JSON lines is information, as it stands."""
    if line.startswith("{"):
        try:
            data = json.loads(line)
            text = f"{data['event']}\n{data['exception']}" if "exception" in data else str(data["event"])
            return logging.getLevelNamesMapping().get(str(data["level"]).upper(), logging.INFO), text
        except (ValueError, KeyError, TypeError):
            pass
    return logging.INFO, line


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": redact(record.getMessage()),
        }
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)


def log_as_json_lines(level: int = logging.INFO) -> None:
    """Sends the log of this process to standard output, one JSON object a line."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
