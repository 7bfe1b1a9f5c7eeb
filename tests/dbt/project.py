"""Runs dbt as everybody runs it: as a program, with its own target folder."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from include.config.files import ROOT
from tests.variables import without_platform

PROJECT = ROOT / "include" / "dbt" / "open_learning"
DBT = Path(sys.executable).with_name("dbt")


def command(target_path: Path, *arguments: str, project: Path = PROJECT, profiles: Path = PROJECT) -> list[str]:
    """dbt's command line: a subcommand with its flags, artefacts and logs under ``target_path``."""
    folders = ["--project-dir", str(project), "--profiles-dir", str(profiles), "--target-path", str(target_path), "--log-path", str(target_path / "logs")]
    return [str(DBT), "--no-use-colors", *arguments, *folders]


def run_dbt(
    target_path: Path, *arguments: str, environment: Mapping[str, str] | None = None, project: Path = PROJECT, profiles: Path = PROJECT
) -> subprocess.CompletedProcess[str]:
    """Runs dbt to its end and returns its output, whatever its exit code."""
    return subprocess.run(
        command(target_path, *arguments, project=project, profiles=profiles),
        env=without_platform() if environment is None else dict(environment),
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )


def parse(target_path: Path, target: str = "local", environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The manifest of one target. Fails the test with dbt's output when the project cannot be parsed."""
    done = run_dbt(target_path, "parse", "--target", target, environment=without_platform(**(environment or {})))
    assert done.returncode == 0, done.stdout + done.stderr
    manifest: dict[str, Any] = json.loads((target_path / "manifest.json").read_bytes())
    return manifest
