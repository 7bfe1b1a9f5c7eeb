"""The jobs as they are started: flags, state from night to night, the report, too many failures, quarantine."""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from include.config.environments import current_environment
from include.contract import PermanentError, TransientError
from include.jobs.__main__ import main
from include.jobs.maintenance import tables
from include.lake.catalog import ensure_table, open_catalog
from include.lake.names import TableRef
from include.local.platform import Platform
from tests.own_lake import new_lake
from tests.variables import variables

SCHEMA = "ol_warehouse_local_raw"
ROWS = pa.table({"id": pa.array([1], pa.int64())})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake"


@pytest.fixture
def lake(postgres: Platform, folder: Path) -> Iterator[Catalog]:
    with variables(new_lake(postgres, folder)):
        yield open_catalog(current_environment())


def make(lake: Catalog, *names: str, appends: int = 3) -> None:
    for name in names:
        table = ensure_table(lake, TableRef(lake.name, SCHEMA, name), ROWS.schema)
        for _ in range(appends):
            table.append(ROWS)


def aged(folder: Path, days: int = 10) -> None:
    for path in folder.rglob("*"):
        os.utime(path, (time.time() - days * 86400,) * 2)


def job(tmp_path: Path, name: str, *flags: str) -> tuple[int, dict]:
    result = tmp_path / "result.json"
    result.unlink(missing_ok=True)
    root = logging.getLogger()
    handlers = root.handlers[:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("include.jobs.__main__.keep_secrets", lambda: None)  # this process's streams are pytest's
        code = main([name, "--result", str(result), *flags])
    root.handlers[:] = handlers
    return code, json.loads(result.read_text()) if result.exists() else {}


def maintain(tmp_path: Path, *flags: str, key: str = "run") -> tuple[int, dict]:
    return job(tmp_path, "maintain-tables", "--group", "raw", "--state", str(tmp_path / "state"), "--run-key", key, *flags)


def test_a_night_and_the_next(lake: Catalog, folder: Path, tmp_path: Path) -> None:
    make(lake, "raw__xpro__app__postgres__a", "raw__b")
    (folder / "warehouse" / SCHEMA / "left").mkdir()
    (folder / "warehouse" / SCHEMA / "left" / "x.parquet").write_bytes(b"of a table that is gone")
    orphan = next((folder / "warehouse" / SCHEMA).glob("raw__b-*")) / "data" / "orphan.parquet"
    orphan.write_bytes(b"x")
    aged(folder)
    dry, planned = maintain(tmp_path, "--dry-run", key="dry")
    assert (dry, planned["facts"]["totals"]["moved"], orphan.exists()) == (0, 1, True)
    code, result = maintain(tmp_path)
    assert (code, result["facts"]["totals"]["moved"], orphan.exists()) == (0, 1, False)
    assert [row["table"] for row in result["facts"]["rows"]] == ["raw__b"]
    assert result["facts"]["files_of_no_table"] == 1
    again, nothing = maintain(tmp_path, "--known", result["facts"]["state"], key="next")
    assert (again, nothing["facts"]["totals"]["changed"], nothing["facts"]["rows"]) == (0, 0, [])
    code, back = job(tmp_path, "quarantine", "restore", "--table", f"{SCHEMA}.raw__b")
    assert (code, back["facts"]["done"], orphan.read_bytes()) == (0, 1, b"x")


def test_reports_have_their_time_and_the_last_one_stays(lake: Catalog, tmp_path: Path) -> None:
    make(lake, "raw__b", appends=1)
    nights = [maintain(tmp_path, key=f"night {number}")[1]["facts"]["state"] for number in range(3)]
    for path, days in zip(nights, (401, 399, 1), strict=True):
        os.utime(path, (time.time() - days * 86400,) * 2)
    other = tmp_path / "state" / "warehouse" / "x.json.gz"
    other.parent.mkdir()
    other.write_bytes(b"")
    os.utime(other, (0, 0))
    maintain(tmp_path, "--dry-run", key="dry")
    assert Path(nights[0]).exists()
    assert maintain(tmp_path, "--known", nights[2], key="last")[0] == 0
    assert [Path(path).exists() for path in nights] == [False, True, True]
    assert other.exists(), "another group's"


def test_purge_waits_for_its_days(lake: Catalog, folder: Path, tmp_path: Path) -> None:
    make(lake, "raw__b", appends=1)
    hidden = folder / "warehouse" / ".quarantine"
    for day in ("2020-01-01", "2999-01-01"):
        (hidden / day).mkdir(parents=True)
        (hidden / day / "file").write_bytes(b"1")
    assert job(tmp_path, "quarantine", "purge", "--dry-run", "true")[1]["facts"] == {"action": "purge", "files": 1, "bytes": 1, "done": 0}
    assert job(tmp_path, "quarantine", "purge")[1]["facts"]["done"] == 1
    assert [path.parent.name for path in hidden.rglob("file")] == ["2999-01-01"]
    assert job(tmp_path, "quarantine", "restore")[0] == 64


def test_a_full_disk_need_not_wait_for_the_days(lake: Catalog, folder: Path, tmp_path: Path) -> None:
    make(lake, "raw__b", appends=1)
    hidden = folder / "warehouse" / ".quarantine"
    for age in (0, 4):  # days; also when midnight comes in between
        day = (datetime.now(UTC) - timedelta(days=age)).date()
        (hidden / f"{day}").mkdir(parents=True)
        (hidden / f"{day}" / "file").write_bytes(b"1")
    assert job(tmp_path, "quarantine", "purge")[1]["facts"]["done"] == 0
    assert job(tmp_path, "quarantine", "purge", "--days", "2", "--dry-run")[1]["facts"] == {"action": "purge", "files": 1, "bytes": 1, "done": 0}
    assert job(tmp_path, "quarantine", "purge", "--days", "2")[1]["facts"]["done"] == 1
    assert len(list(hidden.rglob("file"))) == 1
    for refused in (["restore", "--table", f"{SCHEMA}.raw__b", "--days", "0"], ["list", "--days", "0"]):
        assert job(tmp_path, "quarantine", *refused)[0] == 64
    for wrong in ("-1", "1.5", "soon"):
        with pytest.raises(SystemExit) as ended:
            job(tmp_path, "quarantine", "purge", "--days", wrong)
        assert ended.value.code == 64
    assert len(list(hidden.rglob("file"))) == 1
    assert job(tmp_path, "quarantine", "purge", "--days", "0")[1]["facts"]["done"] == 1
    assert list(hidden.rglob("file")) == []


def test_too_many_failures_are_named(lake: Catalog, folder: Path, tmp_path: Path) -> None:
    make(lake, *(f"raw__t{number}" for number in range(4)), appends=1)
    victim = lake.load_table((SCHEMA, "raw__t2")).metadata.current_snapshot().manifest_list
    path = folder / victim.removeprefix("local:///")
    whole = path.read_bytes()
    path.write_bytes(b"broken")
    flags = argparse.Namespace(group="raw", tables=[], dry_run="false", state=str(tmp_path / "state"), known="", run_key="x")
    with pytest.raises(PermanentError, match=rf"1 of 4 tables failed, more than 5%:\n{SCHEMA}\.raw__t2: ValueError: .*no manifest"):
        tables.run(flags)
    path.unlink()
    with pytest.raises(TransientError, match=r"raw__t2: FileNotFoundError"):
        tables.run(flags)
    path.write_bytes(whole)
    assert tables.run(flags).facts["totals"]["failed"] == 0


@pytest.mark.parametrize("flags", [("--group", "nothing"), ("--tables", "raw__nothing*")])
def test_wrong_flags(lake: Catalog, tmp_path: Path, flags: tuple[str, ...]) -> None:
    make(lake, "raw__b", appends=1)
    assert maintain(tmp_path, *flags) == (64, {})


def test_an_empty_lake_needs_no_care(lake: Catalog, tmp_path: Path) -> None:
    code, result = maintain(tmp_path, "--tables", "*")
    assert (code, result["facts"]["totals"]["tables"]) == (0, 0)


def test_tables_by_pattern(lake: Catalog, tmp_path: Path) -> None:
    make(lake, "raw__a", "raw__b", appends=1)
    assert maintain(tmp_path, "--tables", "raw__a*")[1]["facts"]["totals"]["tables"] == 1
