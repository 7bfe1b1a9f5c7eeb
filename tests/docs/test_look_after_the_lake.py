"""The commands of the document, run as they stand there on a lake with a table that lags and files that nobody can reach."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from include.config.environments import current_environment
from include.config.files import ROOT
from include.config.load import load_maintenance_unit
from include.lake.catalog import ensure_table, open_catalog
from include.lake.maintenance.quarantine import quarantine_of
from include.lake.metadata import pointer
from include.lake.names import TableRef
from include.lake.objects import StoredObject, store_of
from include.local.platform import Platform
from tests.docs.test_documents import blocks
from tests.docs.test_work_beside_production import PYTHON
from tests.lake.conftest import ROWS
from tests.own_lake import new_lake
from tests.variables import variables

PATH = ROOT / "docs" / "howto" / "look-after-the-lake.md"
SCHEMA, TABLE = "ol_warehouse_local_raw", "raw__mitxonline__app__orders"


def test_every_block_does_what_the_text_says(postgres: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE", str(tmp_path / "state"))
    monkeypatch.setenv("TABLE", f"{SCHEMA}.{TABLE}")
    monkeypatch.setenv("PATH", PYTHON)
    with variables(new_lake(postgres, tmp_path / "lake")):
        catalog = open_catalog(current_environment())
        table = ensure_table(catalog, TableRef(catalog.name, SCHEMA, TABLE), ROWS)
        store = store_of(catalog)
        lost = StoredObject(f"{table.location()}/data/lost.parquet", 4, datetime.now(UTC) - timedelta(days=9))
        store.create(lost.location, b"lost")
        old = replace(lost, location=f"{catalog.properties['warehouse']}/{SCHEMA}/gone/old.parquet")
        store.create(old.location, b"old!")
        quarantine_of(catalog).put([lost], datetime.now(UTC).date())
        quarantine_of(catalog).put([old], datetime.now(UTC).date() - timedelta(days=3))
        assert not store.exists(lost.location)
        before, said = pointer(catalog, SCHEMA, TABLE), []
        for block in blocks(PATH, "sh"):
            command = ["bash", "-euc", block.replace("/tmp/", f"{tmp_path}/")]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
            assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
            said.append(done.stdout)
        looked, listed, restored, purged = said
        assert TABLE in looked
        assert "nothing was changed" in looked
        assert "1 files, 4 bytes" in listed
        assert "restore: 1 of 1 files" in restored
        assert "purge: 1 of 1 files" in purged
        assert json.loads((tmp_path / "quarantine.json").read_text(encoding="utf-8"))["facts"]["done"] == 1
        assert store.read(lost.location) == b"lost"
        assert pointer(catalog, SCHEMA, TABLE) == before


def test_the_example_of_a_models_own_rules_is_understood() -> None:
    (text,) = blocks(PATH, "yaml")
    group = load_maintenance_unit().groups["warehouse"]
    assert set(yaml.safe_load(text)["meta"]["iceberg_maintenance"]) <= set(type(group.rules).model_fields)
