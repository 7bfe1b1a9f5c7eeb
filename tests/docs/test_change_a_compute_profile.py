"""The commands of the document, run in a copy of the repository: the golden pod specs show what a larger profile changes, and nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from include.config.files import ROOT
from include.config.vocabulary import Profile
from include.pods.profiles import PROFILES
from tests.docs.test_documents import blocks

PATH = ROOT / "docs" / "howto" / "change-a-compute-profile.md"
PARTS = ("include", "dags", "plugins", "tests", "images", "helm", "airflow.cfg", ".airflowignore", "pyproject.toml")
WRITTEN_MEANWHILE = ("__pycache__", "logs", "parse")  # by other tests
GOLDEN = "-m pytest tests/golden --update-golden"  # what `make golden` runs once the packages are installed
GIT = "git -c user.name=reader -c user.email=reader@example.org -c init.defaultBranch=main"


def test_the_golden_files_show_what_changes(tmp_path: Path) -> None:
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns(*WRITTEN_MEANWHILE))
        else:
            shutil.copy(ROOT / part, tmp_path / part)
    assert f"@$(PYTHON) {GOLDEN}\n" in (ROOT / "Makefile").read_text(encoding="utf-8")
    (block,) = blocks(PATH, "sh")
    assert "\nmake golden\n" in block
    golden = f"{sys.executable} {GOLDEN} -q >golden.log 2>&1 || (cat golden.log; false)"
    commands = f"{GIT} init -q\n{GIT} add -A\n{GIT} commit -qm before\n{block.replace('make golden', golden)}"
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=1200)
    assert done.returncode == 0, done.stdout + done.stderr
    before, after = PROFILES[Profile.M], PROFILES[Profile.L]
    changed = {line.split("|")[0].strip() for line in done.stdout.splitlines() if "|" in line}
    assert "include/factories/warehouse.py" in changed
    assert "tests/golden/pods/warehouse.build.yaml" in changed
    assert all(name.startswith("tests/golden/") for name in changed - {"include/factories/warehouse.py"})
    lines = [line[1:].strip() for line in done.stdout.splitlines() if line[:3] in ("-  ", "+  ")]
    for told in (f"memory: {before.memory}", f"memory: {after.memory}", f"cpu: '{after.cpu}'", f"ephemeral-storage: {after.disk}"):
        assert told in lines, lines
    assert not [line for line in lines if line.startswith(("image:", "env:", "args:", "serviceAccount"))]
