"""The peer of P5: a day of tracking logs through DuckDB, a table and a statement for each step, as the platform's forerunner worked.

First step: all files of the day into a table, one level deep, columns united by name; every column altered to text and unwrapped; epochs and
other times written in one form; one file for each source file. Second step: the escapes taken off ``event`` and ``context``, again one file each.
Both columns are made from themselves here: the forerunner made both from ``context``, which is no faster and loses every event.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

UNWRAPPED = ("event", "context")


def run(files: list[Path], target: Path) -> None:
    """Writes ``valid/<name>`` and ``logs/<name>`` for every file, packed like it. Lines that are no JSON are left out in silence."""
    for folder in ("valid", "logs"):
        (target / folder).mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(target / "work.duckdb")) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        _normalise(connection, files, target / "valid")
        _unescape(connection, [target / "valid" / path.name for path in files], target / "logs")


def _normalise(connection: duckdb.DuckDBPyConnection, files: list[Path], target: Path) -> None:
    _load(connection, "raw", files)
    columns = [row[0] for row in connection.execute("DESCRIBE raw").fetchall() if row[0] != "filename"]
    for column in columns:
        name = _quoted(column)
        connection.execute(f"ALTER TABLE raw ALTER COLUMN {name} SET DATA TYPE VARCHAR USING json_extract_string(to_json({name}), '$')")
    connection.execute("UPDATE raw SET time = CAST(to_timestamp(CAST(time AS DOUBLE)) AS VARCHAR) WHERE regexp_full_match(time, '[0-9.]+')")
    connection.execute("UPDATE raw SET time = strftime(CAST(time AS TIMESTAMPTZ), '%Y-%m-%d %H:%M:%S.%f') WHERE try_cast(time AS TIMESTAMPTZ) IS NOT NULL")
    _write(connection, "raw", files, target)


def _unescape(connection: duckdb.DuckDBPyConnection, files: list[Path], target: Path) -> None:
    _load(connection, "valid", files)
    for column in UNWRAPPED:
        connection.execute(f"ALTER TABLE valid ALTER COLUMN {column} SET DATA TYPE VARCHAR")
        connection.execute(f"UPDATE valid SET {column} = trim(replace(CAST({column} AS VARCHAR), '\\\"', '\"'), '\"')")
    _write(connection, "valid", files, target)


def _load(connection: duckdb.DuckDBPyConnection, table: str, files: list[Path]) -> None:
    connection.execute(
        f"""CREATE OR REPLACE TABLE {table} AS
            SELECT * FROM read_ndjson_auto($files, maximum_depth = 1, union_by_name = true, filename = true, ignore_errors = true)""",
        {"files": [str(path) for path in files]},
    )


def _write(connection: duckdb.DuckDBPyConnection, table: str, files: list[Path], target: Path) -> None:
    for path in files:
        connection.execute(
            f"COPY (SELECT * EXCLUDE (filename) FROM {table} WHERE filename = $source) TO {_text(str(target / path.name))} (FORMAT json)",
            {"source": str(path)},
        )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
