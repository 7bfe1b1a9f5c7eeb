"""The commands of the document, run as they stand there, one block after the other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from include.config.environments import current_environment
from include.config.files import ROOT
from include.config.vocabulary import Layer
from include.lake.clones.names import Lake
from include.lake.clones.registry import clones_of
from include.lake.manifest import MANIFEST
from include.local.platform import Platform
from tests.docs.test_documents import blocks
from tests.lake.clones.tables import base_of, new_table, seen, tags_of
from tests.own_lake import new_lake
from tests.variables import variables

PATH = ROOT / "docs" / "howto" / "work-beside-production.md"
PYTHON = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"


def test_every_block_does_what_the_text_says(postgres: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(MANIFEST, tmp_path / "manifest.json")
    monkeypatch.setenv("STATE", str(tmp_path))
    monkeypatch.setenv("PATH", PYTHON)
    with variables(new_lake(postgres, tmp_path / "lake")):
        lake = Lake.of(current_environment())
        new_table(lake, "orders", layer=Layer.MART)
        before = seen(lake, base_of(lake, "orders"))
        said = []
        for block in blocks(PATH, "sh"):
            done = subprocess.run(["bash", "-euc", block], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
            assert done.returncode == 0, f"{block}\n{done.stdout}{done.stderr}"
            said.append(done.stdout)
            assert seen(lake, base_of(lake, "orders")) == before
        created, forgotten, chosen, cloned, dropped = said
        assert "ol_warehouse_local_mart_me" in created
        assert "removed 0 tables, 0 files (0 B), 7 schemas" in forgotten
        assert "no table to clone" in chosen  # nothing was changed since the manifest
        assert "1 cloned, 0 there before" in cloned
        assert "PINNED" in cloned
        assert "removed 1 table, 1 file" in dropped
        assert clones_of(lake) == []
        assert tags_of(lake, base_of(lake, "orders")) == {}
        assert [schema for (schema,) in lake.catalog.list_namespaces() if schema.endswith(("_me", "_pr_1523"))] == []
