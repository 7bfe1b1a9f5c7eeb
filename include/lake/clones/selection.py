"""Which models a pull request changes: asked of dbt by its command line, ``dbt ls --output json``."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from include.config.environments import EnvironmentSettings
from include.config.errors import ConfigError, Problem
from include.config.vocabulary import Layer
from include.lake.clones.names import CloneError
from include.lake.manifest import PROJECT

KEYS = ("unique_id", "alias", "config")
LONGEST = 600.0  # seconds; parsing 700 models anew takes a quarter of a minute


@dataclass(frozen=True)
class Chosen:
    """A model that was selected: where its table is and how dbt makes it (table, incremental, view, ephemeral)."""

    layer: Layer
    table: str
    materialized: str


def choose(environment: EnvironmentSettings, select: Sequence[str], state: Path | None = None, project: Path = PROJECT) -> list[Chosen]:
    """The models that dbt selects, by ``state:…`` against the manifest in the folder ``state``.

    Raises ``ConfigError`` for a folder without a manifest and for ``state:`` without a folder, :class:`CloneError` with dbt's words when dbt refuses.
    """
    _check_state(select, state)
    with tempfile.TemporaryDirectory(prefix="dbt-ls-") as folder:
        command = [_dbt(), "--log-level-file", "none", "--no-use-colors", "--no-send-anonymous-usage-stats", "--quiet", "ls"]
        command += ["--resource-type", "model", "--output", "json", "--output-keys", " ".join(KEYS), "--select", *select]
        command += ["--project-dir", str(project), "--profiles-dir", str(project), "--target", environment.name.value, "--target-path", folder]
        command += ["--log-path", folder, *(("--state", str(state.resolve())) if state else ())]
        try:
            done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False, timeout=LONGEST)
        except subprocess.TimeoutExpired:
            raise CloneError(f"dbt ls --select {' '.join(select)}: no answer within {LONGEST:g} s") from None
    if done.returncode:
        told = (done.stdout.strip() or done.stderr.strip())[-2000:]
        raise CloneError(f"dbt ls --select {' '.join(select)} ended with {done.returncode}:\n{told}")
    return [_chosen(line) for line in done.stdout.splitlines() if line.startswith("{")]


def _dbt() -> str:
    """dbt's program beside this Python. Raises ``ConfigError`` in an environment without it."""
    found = Path(sys.executable).with_name("dbt")
    if not found.exists():
        raise ConfigError((Problem("arguments", "--select", f"no dbt at {found}", "an environment that has dbt: a laptop's, or the image dbt"),))
    return str(found)


def _check_state(select: Sequence[str], state: Path | None) -> None:
    if state is None and any("state:" in part for part in select):
        allowed = "a folder with the base's manifest.json, as its last build left it"
        raise ConfigError((Problem("arguments", "--state", "nothing", allowed, "--state artifacts/qa"),))
    if state is not None and not (state / "manifest.json").is_file():
        found = ", ".join(sorted(path.name for path in state.iterdir())[:10]) if state.is_dir() else "no such folder"
        raise ConfigError((Problem("arguments", "--state", f"{state} ({found or 'empty'})", "a folder with a manifest.json"),))


def _chosen(line: str) -> Chosen:
    data = json.loads(line)
    config = data["config"]
    try:
        layer = Layer(config.get("schema"))
    except ValueError:
        raise CloneError(f"{data['unique_id']}: +schema: found {config.get('schema')!r}; allowed: {', '.join(layer.value for layer in Layer)}") from None
    return Chosen(layer, data["alias"], config["materialized"])
